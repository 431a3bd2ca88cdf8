"""The seam between rollouts and training: finished trajectories in, one number per trajectory out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float32

from hone.envs.libero.facts import Facts
from hone.types import Status, Task

Scorable = TypeVar("Scorable", contravariant=True)
"""What a reward needs to know of a finished episode."""


@runtime_checkable
class Trajectory(Protocol):
    """What every reward may read of a finished episode; one that needs more says so in its own Protocol."""

    @property
    def success(self) -> bool:
        """LIBERO's rule: the task's condition was true at some step."""
        ...

    @property
    def status(self) -> Status: ...

    @property
    def steps(self) -> int:
        """Control steps taken."""
        ...


@runtime_checkable
class RewardFn(Protocol[Scorable]):
    """Scores `N` finished trajectories at once, so that a learned reward can batch.

    Trajectories with `status == "error"` never reach a reward: the rollout drops and counts them.
    """

    def __call__(self, trajectories: Sequence[Scorable]) -> Float32[np.ndarray, " N"]: ...


@runtime_checkable
class Asked(Protocol):
    """What a witnessed trajectory's request has to say."""

    @property
    def task(self) -> Task: ...

    @property
    def seed(self) -> int: ...


@runtime_checkable
class WitnessedTrajectory(Protocol):
    """A finished episode by what was seen of it. There is no success flag: a reward that takes these cannot read it.

    `facts`: the privileged truth at every look and after the last step, decisions + 1.
    """

    @property
    def facts(self) -> tuple[Facts, ...]: ...

    @property
    def status(self) -> Status:
        """Of which only "error" may be read: the others tell the success flag."""
        ...

    @property
    def steps(self) -> int: ...

    @property
    def executed(self) -> np.ndarray:
        """Control steps run of each decision's chunk, `[D]`."""
        ...

    @property
    def request(self) -> Asked: ...
