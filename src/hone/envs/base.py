"""The seam between a robot simulator and everything else: `N` independent slots, stepped by chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from hone.errors import HoneError
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


@dataclass(frozen=True)
class EnvironmentConfig(ABC):
    """How an environment is run: plain picklable data that knows its tasks, builds the slots, and says of itself what a
    result must say. The loop, the evaluation and the command line know a simulator by this alone.
    """

    has_facts: ClassVar[bool]
    """Whether it knows the truth about its scenes, which plans, hints and written rewards are made of."""

    @property
    @abstractmethod
    def spec(self) -> Spec: ...

    @property
    @abstractmethod
    def suite(self) -> str:
        """The suite whose tasks are meant where none is named."""

    @property
    @abstractmethod
    def asset_label(self) -> str:
        """What the scenes are made of, and in which version."""

    @property
    def has_pictures(self) -> bool:
        """Whether it can be filmed."""
        return True

    @property
    @abstractmethod
    def pictured_spec(self) -> Spec:
        """The spec with the cameras that `Environment.render` draws, whether a policy sees them or not."""

    @abstractmethod
    def tasks(self, suite: str, indices: Sequence[int] = ()) -> tuple[Task, ...]:
        """The tasks of a suite with these numbers; all of them where none is given."""

    @abstractmethod
    def cap(self, suite: str) -> int:
        """Control steps that an episode may take."""

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """The fields of a protocol card that are the environment's to fill in."""

    @abstractmethod
    def check(self) -> None:
        """Raise `HoneError` for settings that cannot be built, before anything is written."""

    @abstractmethod
    def prepare(self, tasks: Sequence[Task], placements: Sequence[Placement] = (Placement("sampled", 0),)) -> None:
        """What is done once, before workers start."""

    @abstractmethod
    def build(self, num_slots: int) -> Environment: ...

    @abstractmethod
    def seen_by(self, policy: Spec) -> EnvironmentConfig:
        """This environment, giving the images, state or facts that a policy of this spec needs, and nothing else."""

    @abstractmethod
    def for_practice(self, step_cap: int, stop_at_success: bool) -> EnvironmentConfig:
        """As it is run in training: as fast as it goes, in shorter episodes."""

    @abstractmethod
    def for_demonstrations(self) -> EnvironmentConfig:
        """As it is run while demonstrations are recorded."""

    def require_facts(self, what: str) -> None:
        """Raise for `what`, which needs facts, in an environment that has none."""
        if not self.has_facts:
            raise HoneError(
                f"{what} needs the facts of a scene (poses, contacts, goals), and {self.suite} tells none. "
                "Success or a critic can be its reward, without hints and without plans from words."
            )
