"""The seam between a robot simulator and everything else: `N` independent slots, stepped by chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from hone.specs import Spec
from hone.types import Observation, Placement, Task

Snapshot = Any
"""Everything the future of a slot depends on. Opaque; valid within the environment that made it."""


@dataclass(frozen=True)
class StepResult:
    """What happened in the `n` slots of one `step` call.

    `steps` counts the control steps really taken: a slot stops at its step cap, when it diverges, and at success unless
    it is told to go on. `succeeded`: the task's success condition was true after one of these steps. `terminated`: it
    was, and ended the episode. `truncated`: the step cap was reached. `diverged`: the simulation produced numbers that
    are not finite, or was given such actions.
    """

    steps: Int32[np.ndarray, " n"]
    succeeded: Bool[np.ndarray, " n"]
    terminated: Bool[np.ndarray, " n"]
    truncated: Bool[np.ndarray, " n"]
    diverged: Bool[np.ndarray, " n"]

    @property
    def done(self) -> Bool[np.ndarray, " n"]:
        return self.terminated | self.truncated | self.diverged


@runtime_checkable
class Environment(Protocol):
    """`num_slots` independent episodes. Stepping and looking are separate: images are drawn only when asked for."""

    spec: Spec
    num_slots: int

    def reset(self, slots: Sequence[int], tasks: Sequence[Task], placements: Sequence[Placement]) -> None:
        """Start an episode in each slot, ready for the policy's first look (waiting steps already taken)."""
        ...

    def step(
        self, slots: Sequence[int], chunks: Float32[np.ndarray, "n H A"], *, stop_at_success: bool | None = None
    ) -> StepResult:
        """Run up to H control steps in each slot without returning to Python; at success it stops, or goes on, as said
        or, where nothing is said, as the environment was built."""
        ...

    def observe(self, slots: Sequence[int]) -> Observation:
        """What a policy sees now: proprioception, instruction, and images or state tokens as `spec` declares."""
        ...

    def render(self, slots: Sequence[int], size: int | None = None) -> UInt8[np.ndarray, "n C H W 3"]:
        """Draw every camera of each slot, at the spec's image size unless told otherwise."""
        ...

    def hold(self, slots: Sequence[int], steps: int) -> list[bool]:
        """Let go and stand still for `steps` control steps, also after the episode's end; does success outlast it?"""
        ...

    def snapshot(self, slots: Sequence[int]) -> list[Snapshot]: ...

    def restore(self, slots: Sequence[int], snapshots: Sequence[Snapshot]) -> None:
        """Put slots back; the same actions then give the same future bit for bit."""
        ...

    def facts(self, slots: Sequence[int]) -> list[Any]:
        """Typed truth about each scene (privileged)."""
        ...

    def close(self) -> None: ...
