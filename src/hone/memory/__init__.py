"""What was learned: weight deltas of earlier adaptations (`Memory`) and attempts in words (`EpisodeMemory`)."""

from __future__ import annotations

from hone.memory.deltas import weights_of
from hone.memory.episodes import Attempt, EpisodeMemory
from hone.memory.experience import Memory, Recall
from hone.memory.retrieval import Retrieval

__all__ = ["Attempt", "EpisodeMemory", "Memory", "Recall", "Retrieval", "weights_of"]
