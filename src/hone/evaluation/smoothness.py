"""How smoothly a policy acts, and whether it jerks where one chunk ends and the next begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hone.policies.base import Candidate, Candidates, Features, LogProb, Policy, PolicyState, Reporting
from hone.types import Observation

MOTION = 6
"""The leading action dimensions that move the hand: a step of position and of rotation. The gripper only switches."""


@dataclass(frozen=True)
class Jerk:
    """Mean size of the second difference of the actions, in action units; `None` where there was no such place."""

    seam: float | None
    """Over three actions in a row of which not all are of one chunk."""
    inside: float | None
    """Over three actions of one chunk."""


def jerk(chunks: Float[np.ndarray, "D H A"]) -> Jerk:
    """Of the chunks that followed each other, each executed whole.

    Actions are steps of the hand's pose, so velocities at a fixed rate; `a_{t+1} - 2 a_t + a_{t-1}` is then the jerk of
    the commanded path, up to the rate squared. Its size is the Euclidean norm over the motion dimensions.
    """
    decisions, length = chunks.shape[:2]
    actions = chunks[..., :MOTION].reshape(decisions * length, -1)
    sizes = np.linalg.norm(np.diff(actions, n=2, axis=0), axis=-1)
    first = np.arange(len(sizes))
    seam = first // length != (first + 2) // length
    return Jerk(*(float(sizes[where].mean()) if where.any() else None for where in (seam, ~seam)))


@dataclass(frozen=True)
class Watched:
    """A row's state: that of the policy watched, and the chunks it executed."""

    inner: Any
    chunks: tuple[Float[Tensor, "H A"], ...] = ()

    def report(self) -> dict[str, Any]:
        """What the inner state reports, and the jerk. Of the last chunk all is counted, executed or not."""
        told = self.inner.report() if isinstance(self.inner, Reporting) else {}
        measured = jerk(torch.stack(self.chunks).numpy()) if self.chunks else Jerk(None, None)
        return {**told, "jerk_seam": measured.seam, "jerk_inside": measured.inside}


class WatchedPolicy:
    """A policy as it is, whose episodes also report how smooth they were. The first candidate is the one executed."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.spec = policy.spec
        self.chunk_length = policy.chunk_length

    def encode(self, observation: Observation) -> Features:
        return self.policy.encode(observation)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        return self.policy.log_prob(features, candidate)

    def initial_state(self, num_rows: int) -> PolicyState:
        inner = self.policy.initial_state(num_rows)
        return [Watched(None if inner is None else inner[row]) for row in range(num_rows)]

    def propose(
        self, features: Features, state: PolicyState, k: int, generators: Sequence[torch.Generator] | None
    ) -> tuple[Candidates, PolicyState]:
        watched: list[Watched] = state or [Watched(None) for _ in range(len(features))]
        inner = [row.inner for row in watched]
        memoryless = all(row is None for row in inner)
        candidates, following = self.policy.propose(features, None if memoryless else inner, k, generators)
        chunks = candidates.chunks[:, 0].detach().cpu()
        return candidates, [
            Watched(None if following is None else following[row], (*watched[row].chunks, chunks[row]))
            for row in range(len(features))
        ]
