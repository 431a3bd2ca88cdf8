"""Coarse geometry for hints: upright boxes around things, and how high the hand has to be to pass over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts, Pose
from hone.primitives.boxes import Boxes
from hone.primitives.grasps import (
    FINGER_HALF_WIDTH_M,
    FINGER_OUTER_M,
    HAND_ABOVE_M,
    HAND_HALF_LENGTH_M,
    HAND_HALF_WIDTH_M,
    PAD_REACH_M,
    SWEPT_M,
    TIP_M,
    Points,
    corners,
)

CORRIDOR_M = 0.10
"""Half width of the strip along a path in which things count as passed over."""
REACH_M = 0.25
"""Farther away nothing is in the way."""
MARGIN_M = 0.004


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


def in_the_way(boxes: Boxes, hands: Sequence[Pose]) -> Iterator[int]:
    """For the open hand at each of some poses near each other: how many points of it, and of where it comes down from,
    are inside one of the boxes. One pose after the other, when it is asked for."""
    near = boxes.near(hands[0].position, REACH_M)
    for hand in hands:
        points = OPEN_HAND @ hand.rotation.T + hand.position
        yield int(near.contain(points, MARGIN_M).sum())


def _open_hand() -> Points:
    """Both fingers and the underside of the hand, and where they come from, in the gripper's frame (z points down)."""
    across, along = (-FINGER_HALF_WIDTH_M, 0.0, FINGER_HALF_WIDTH_M), np.linspace(PAD_REACH_M, FINGER_OUTER_M, 5)
    fingers = np.array(list(product((*-along, *along), across, np.linspace(-SWEPT_M, TIP_M, 6))))
    length = np.linspace(-HAND_HALF_LENGTH_M, HAND_HALF_LENGTH_M, 15)
    width = np.linspace(-HAND_HALF_WIDTH_M, HAND_HALF_WIDTH_M, 5)
    hand = np.array(list(product(length, width, (-HAND_ABOVE_M - SWEPT_M, -HAND_ABOVE_M))))
    return np.concatenate([fingers, hand])


OPEN_HAND = _open_hand()
