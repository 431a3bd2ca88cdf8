"""Where a hand may take a thing, for hints: about its middle, by its rim, or by a part of it.

Coarse on purpose: boxes for things, a dozen places on a rim, and the first that leaves the open hand room. The search
for a grasp that holds (`hone.primitives.grasps`) is the expert's, not the hinter's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts, Pose
from hone.exploration.geometry import Bounds, bounds, in_the_way
from hone.primitives.boxes import Boxes
from hone.primitives.grasps import downward, opening_yaw

OPENING_M = 0.07
"""Widest thing that is taken about its middle."""
WIDEST_M = 0.08
"""Between the fingers of an open hand."""
STEP_RAD = np.pi / 6
"""Between two places on a rim, and between two turns of the hand, that are looked at."""
RATHER_LEFT_RAD = 0.1
"""Of two places on a rim the left one is taken, unless the right one needs this much less of a turn."""
RISES_M = np.arange(0.0, 0.2, 0.02)
"""By which a place for the hand is lifted until nothing is in its way."""
DEPTH_M = 0.025
"""How far below a thing's top it is taken."""
LOWEST_M = 0.014
"""Least height of the grip site over what a thing stands on."""
ROOM_M = 0.016
"""How far from the middle of its place a thing may be put down, and fingers may come down along a thing."""
TIGHT_M = 0.008
"""The same, where something stands at the fingers."""
END_M = 0.018
"""How near to an end of a thing the middle of the fingers may come."""
SPARE_M = 0.003
"""What is kept of the room between a thing and the open fingers."""

Approach = Literal["plain", "right", "left", "deeper", "higher"]
APPROACHES: tuple[Approach, ...] = ("plain", "right", "left", "deeper", "higher")
"""Hypotheses about how to take a thing: by its middle (or where its rim is freest, on the left if it is free
there), its right or its left side, deeper, higher."""


@dataclass(frozen=True)
class Hold:
    """Where a thing may be taken: the grip site there, how far to turn for it (rad), its side of the thing, and
    how far aside of there the fingers still come down around it (m)."""

    place: Float64[np.ndarray, " 3"]
    turn: float
    side: Literal["left", "right"]
    room: float


def grip_on(facts: Facts, thing: str, box: Bounds, approach: Approach) -> Hold:
    """Where to take a thing, by the `box` around it: the first place that leaves the open hand room, or most room."""
    yaw = opening_yaw(facts.eef.rotation)
    across = int(abs(np.cos(yaw)) < abs(np.sin(yaw)))  # the level axis along which the fingers open
    size = box.high - box.low
    aim = (box.low + box.high) / 2
    depth = {"deeper": 2 * DEPTH_M, "higher": DEPTH_M / 2}.get(approach, DEPTH_M)
    aim[2] = max(box.high[2] - depth, box.low[2] + LOWEST_M)
    narrow = next((axis for axis in (across, 1 - across) if size[axis] <= OPENING_M), None)
    if narrow is not None:
        aim[1] += {"left": -0.01, "right": 0.01}.get(approach, 0.0)
        holds = middles_of(aim, size, narrow, yaw)
    else:
        rims = rims_about(aim, float(size[:2].min()) / 2 - 0.004, yaw)
        own = Boxes.of({thing: facts.objects[thing]}, facts)
        hollow = [rim for rim, met in zip(rims, in_the_way(own, hands(rims, yaw)), strict=True) if met == 0]
        holds = hollow or ridges_of(facts, thing, depth, yaw) or rims
        if approach in ("left", "right"):
            holds = [hold for hold in holds if hold.side == approach] or holds
    return least_in_the_way(facts, holds, yaw)


def middles_of(aim: Float64[np.ndarray, " 3"], size: Float64[np.ndarray, " 3"], narrow: int, yaw: float) -> list[Hold]:
    """Across the `narrow` level axis of an upright box of some size (m): about its middle, or nearer to an end."""
    turn, room = _half_turn(narrow * np.pi / 2 - yaw), _room(float(size[narrow]))
    to_end = max(size[1 - narrow] / 2 - END_M, 0.0)
    along = np.eye(3)[1 - narrow]
    return [Hold(aim + share * to_end * along, turn, "left", room) for share in (0.0, 1.0, -1.0)]


def rims_about(middle: Float64[np.ndarray, " 3"], radius: float, yaw: float) -> list[Hold]:
    """Places on a rim for fingers that now open along `yaw`: the least turned ones first, of those the left ones."""
    rims = []
    for angle in np.arange(0.0, 2 * np.pi, STEP_RAD):
        direction = np.array([np.cos(angle), np.sin(angle), 0.0])
        side = "right" if angle < np.pi else "left"
        rims.append(Hold(middle + radius * direction, _half_turn(angle - yaw), side, ROOM_M))
    return sorted(rims, key=lambda rim: abs(rim.turn) + RATHER_LEFT_RAD * (rim.side == "right"))


def ridges_of(facts: Facts, thing: str, depth: float, yaw: float) -> list[Hold]:
    """The boxes that a thing is made of, `depth` (m) below the top of each, wherever fingers that now open along `yaw`
    and then turn fit around it alone: a handle, a lid. The least turned ones first, of those the narrowest."""
    box = bounds(facts, thing)
    pose, found = facts.objects[thing], []
    for part in facts.shapes[thing]:
        axes = pose.rotation @ part.rotation * part.half_size
        middle = pose.position + pose.rotation @ part.center
        middle[2] = max(middle[2] + np.abs(axes[2]).sum() - depth, box.low[2] + LOWEST_M)
        side = "right" if middle[1] > (box.low[1] + box.high[1]) / 2 else "left"
        for turn in np.arange(-np.pi / 2, np.pi / 2, STEP_RAD):
            opening = np.array([np.cos(yaw + turn), np.sin(yaw + turn), 0.0])
            width = float(2 * np.abs(opening @ axes).sum())
            if width <= OPENING_M:
                found.append((abs(turn), width, Hold(middle, float(turn), side, _room(width))))
    return [hold for _, _, hold in sorted(found, key=lambda entry: entry[:2])]


def hands(holds: Sequence[Hold], yaw: float) -> list[Pose]:
    """Of the grip site there, for fingers that now open along `yaw`."""
    return [Pose(hold.place, downward(yaw + hold.turn)) for hold in holds]


def least_in_the_way(facts: Facts, holds: Sequence[Hold], yaw: float) -> Hold:
    """The first place where nothing is in the way of the open hand, else the one with least, and little room there."""
    standing = Boxes.of({**facts.objects, **facts.fixtures, **facts.parts}, facts)
    best: tuple[Hold, int] | None = None
    for hold, met in zip(holds, in_the_way(standing, hands(holds, yaw)), strict=True):
        if met == 0:
            return hold
        if best is None or met < best[1]:
            best = hold, met
    assert best is not None
    return replace(best[0], room=min(best[0].room, TIGHT_M))


def least_rise(facts: Facts, place: Float64[np.ndarray, " 3"], without: str) -> float:
    """How much higher (m) the grip site has to be for the open hand to have room there, at most the last of `RISES_M`,
    whatever becomes of one thing."""
    standing = {**facts.objects, **facts.fixtures, **facts.parts}
    del standing[without]
    higher = [Pose(place + np.array([0.0, 0.0, rise]), facts.eef.rotation) for rise in RISES_M]
    met = in_the_way(Boxes.of(standing, facts), higher)
    return next((float(rise) for rise, points in zip(RISES_M, met, strict=True) if points == 0), float(RISES_M[-1]))


def _room(width: float) -> float:
    """How far beside its middle open fingers still come down around a thing of this width (m)."""
    return min(max((WIDEST_M - width) / 2 - SPARE_M, SPARE_M), ROOM_M)


def _half_turn(angle: float) -> float:
    """The least of the turns (rad) that come to the same, as far as two fingers go."""
    return float((angle + np.pi / 2) % np.pi - np.pi / 2)
