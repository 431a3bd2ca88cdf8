"""Boxes in the world, to ask which points are inside one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from hone.envs.libero.facts import Facts, Pose
from hone.primitives.grasps import Points


@dataclass(frozen=True)
class Boxes:
    """Rotations, centres (m) and half sizes (m) in the world frame."""

    rotations: Float64[np.ndarray, "b 3 3"]
    centres: Float64[np.ndarray, "b 3"]
    halves: Float64[np.ndarray, "b 3"]

    @classmethod
    def of(cls, poses: Mapping[str, Pose], facts: Facts) -> Boxes:
        """Those of the shapes of things that stand at some poses."""
        boxes = [(pose, box) for name, pose in poses.items() for box in facts.shapes[name]]
        return cls(
            np.array([pose.rotation @ box.rotation for pose, box in boxes]).reshape(-1, 3, 3),
            np.array([pose.position + pose.rotation @ box.center for pose, box in boxes]).reshape(-1, 3),
            np.array([box.half_size for _, box in boxes]).reshape(-1, 3),
        )

    def near(self, place: Float64[np.ndarray, " 3"], distance: float) -> Boxes:
        """Those that come within `distance` (m) of a place."""
        kept = np.linalg.norm(self.centres - place, axis=1) - np.linalg.norm(self.halves, axis=1) < distance
        return Boxes(self.rotations[kept], self.centres[kept], self.halves[kept])

    def contain(self, points: Points, margin: float) -> Bool[np.ndarray, " n"]:
        """Whether each point is inside one, or within about `margin` (m) of it."""
        local = (points - self.centres[:, None]) @ self.rotations
        return np.any((np.abs(local) < self.halves[:, None] + margin).all(2), axis=0)
