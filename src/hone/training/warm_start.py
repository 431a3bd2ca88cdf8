"""What earlier runs learned goes into the policy before practice, what practice learned into the memory after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from hone.evaluation.run_folder import RunFolder, read_rows
from hone.memory.deltas import add_to, weighted_mean
from hone.memory.experience import Memory
from hone.memory.retrieval import Retrieval
from hone.policies.learned import LearnedPolicy
from hone.types import Task


def warm_start(
    memory: Memory, policy: LearnedPolicy, tasks: Sequence[Task], retrieval: Retrieval, generator: torch.Generator
) -> None:
    """Add to the policy the mean of what memory has for each of the tasks (Agentic-VLA, eqs. 8-9, for several)."""
    recalls = [memory.recall(policy, task.instruction, retrieval, generator) for task in tasks]
    found = [recall.delta for recall in recalls if recall is not None]
    if found:
        add_to(policy, weighted_mean(found, [1.0 / len(found)] * len(found)))


def remember(
    memory: Memory, run: RunFolder, policy: LearnedPolicy, base: Mapping[str, torch.Tensor], tasks: Sequence[Task]
) -> None:
    """Keep what practice added to the starting policy, for each task with its success on validation placements."""
    last = read_rows(run.evaluations)[-1]
    for task in tasks:
        success = last["per_task"][task.name]["success_rate"]
        memory.remember(policy, base, task, success=success, iterations=last["iteration"])
