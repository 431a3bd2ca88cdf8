"""The reward that cannot be hacked: did the task's own success condition become true?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from hone.rewards.base import Trajectory


class SuccessReward:
    """1 for a success, 0 for a failure. Sparse, binary, and equal to what evaluation measures."""

    def __call__(self, trajectories: Sequence[Trajectory]) -> Float32[np.ndarray, " N"]:
        faults = [i for i, trajectory in enumerate(trajectories) if trajectory.status == "error"]
        if faults:
            raise ValueError(
                f"trajectories {faults} ended in a fault of the machinery (status 'error'); "
                "they say nothing about the policy: drop and count them before scoring"
            )
        return np.array([float(trajectory.success) for trajectory in trajectories], dtype=np.float32)
