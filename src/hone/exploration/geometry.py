"""Coarse geometry for hints: upright boxes around things, and how high the hand has to be to pass over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts
from hone.primitives.grasps import corners

CORRIDOR_M = 0.10
"""Half width of the strip along a path in which things count as passed over."""


@dataclass(frozen=True)
class Bounds:
    """The upright box around a thing: lowest and highest coordinates in the world frame (m)."""

    low: Float64[np.ndarray, " 3"]
    high: Float64[np.ndarray, " 3"]


def bounds(facts: Facts, thing: str) -> Bounds:
    points = corners(facts.shapes[thing], {**facts.objects, **facts.fixtures, **facts.parts}[thing])
    return Bounds(points.min(0), points.max(0))


def highest_on_the_way(
    facts: Facts,
    start: Float64[np.ndarray, " 3"],
    end: Float64[np.ndarray, " 3"],
    near_m: float = CORRIDOR_M,
    without: str | None = None,
) -> float:
    """Height (m) of the highest shape whose box, seen from above, is within `near_m` of the way from `start` to `end`.

    The lower of the two ends where there is nothing.
    """
    highest = float(min(start[2], end[2]))
    steps = np.linspace(start[:2], end[:2], 8)
    for name, pose in {**facts.objects, **facts.fixtures, **facts.parts}.items():
        if name == without or not facts.shapes[name]:
            continue
        boxes = corners(facts.shapes[name], pose).reshape(-1, 8, 3)
        low, high = boxes.min(1), boxes.max(1)
        outside = np.maximum(np.maximum(low[:, None, :2] - steps, steps - high[:, None, :2]), 0.0)
        near = np.linalg.norm(outside, axis=2).min(1) < near_m
        highest = max(highest, float(high[near, 2].max(initial=-np.inf)))
    return highest
