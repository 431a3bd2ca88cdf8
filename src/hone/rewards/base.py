"""The seam between rollouts and training: finished trajectories in, one number per trajectory out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from hone.types import Status


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
class RewardFn(Protocol):
    """Scores `N` finished trajectories at once, so that a learned reward can batch.

    Trajectories with `status == "error"` never reach a reward: the rollout drops and counts them.
    """

    def __call__(self, trajectories: Sequence[Trajectory]) -> Float32[np.ndarray, " N"]: ...
