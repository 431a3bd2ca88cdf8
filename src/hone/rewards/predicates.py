"""The vocabulary of reward programs: what can be asked of a scene, and how far it is from being so.

`PREDICATES` say yes or no; `DISTANCES` say how much is left (metres, radians of a knob, or the share of a joint's way),
falling to zero. Both read the facts now and those of the episode's start, and never the simulator's goal or success
check. What a thing rests on or in follows LIBERO's rules.

Departure from `primitives/conditions.py`: what lies still may have been put to sleep by the simulator, and then has no
contacts at all; a thing that touches nothing therefore counts as resting where it is.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Box, Facts, Joint, Pose
from hone.language.plan import Beside, Side
from hone.primitives import conditions
from hone.primitives.grasps import corners
from hone.rewards.terms import Term, Word

FINGERS_OPEN_M = 0.08
AT_THE_FINGERS_M = 0.012
"""What is between the fingers is this near to the point between their tips; the tips reach as far beyond it."""
CLOSED_AROUND_M = 0.075
"""Fingers this near to each other are no longer wide open."""
AT_THE_HAND_M = 0.03
OPEN_SHARE = {"slide": 0.875, "hinge": 0.621}
"""Of the way to a joint's open end, as `conditions.is_open` has it."""
KNOB_ON_RAD = 0.5
BELOW_M = 0.01
LENGTH_M, SHARE, FINGERS_M = 0.02, 0.05, 0.02
"""Least lengths that progress is measured on, so that noise on a way that is nearly done is not taken for progress."""

Point = Float64[np.ndarray, " 3"]


def holds(term: Term, facts: Facts, start: Facts) -> bool:
    """Whether a predicate is true now."""
    return bool(PREDICATES[term.name].rule(facts, start, **term.args))


def left(term: Term, facts: Facts, start: Facts) -> float:
    """How much of a distance is left now."""
    return float(DISTANCES[term.name].rule(facts, start, **term.args))


# ---------------------------------------------------------------------------------------------------------- predicates


def hand_near(facts: Facts, start: Facts, what: str, within_m: float) -> bool:
    """The point between the fingertips is within `within_m` of the surface of `what`."""
    return hand_to(facts, start, what) <= within_m


def hand_at(facts: Facts, start: Facts, thing: str, x_m: float, y_m: float, z_m: float, within_m: float) -> bool:
    """The point between the fingertips is within `within_m` of a grasp point, given in the frame of `thing`."""
    return hand_to_point(facts, start, thing, x_m, y_m, z_m) <= within_m


def touched(facts: Facts, start: Facts, thing: str) -> bool:
    """The robot touches `thing`."""
    return not conditions.released(facts, thing)


def gripped(facts: Facts, start: Facts, thing: str) -> bool:
    """The fingers hold `thing`: it touches the robot, lies between the fingertips, and they are not wide open."""
    between = hand_to(facts, start, thing) <= AT_THE_FINGERS_M
    return between and touched(facts, start, thing) and facts.gripper_width_m < CLOSED_AROUND_M


def lifted(facts: Facts, start: Facts, thing: str, by_m: float) -> bool:
    """The robot holds `thing` at least `by_m` higher than it was at the start."""
    return rise(facts, start, thing, by_m) == 0.0 and touched(facts, start, thing)


def clear_of(facts: Facts, start: Facts, thing: str, place: str, by_m: float) -> bool:
    """The lowest point of `thing` is at least `by_m` above the top of `place`."""
    return rise_over(facts, start, thing, place, by_m) == 0.0


def above(facts: Facts, start: Facts, thing: str, place: str, within_m: float) -> bool:
    """`thing` is over `place` (or already in it), at most `within_m` outside its outline."""
    low = -facts.regions[place].half_size[2] - BELOW_M if place in facts.regions else 0.0
    return bool(across(facts, start, thing, place) <= within_m and _height(facts, thing, place) >= low)


def inside(facts: Facts, start: Facts, thing: str, place: str) -> bool:
    """`thing` is in `place`: in a region's volume (LIBERO's In: its box along the world's axes), or on a thing."""
    if place not in facts.regions:
        return on(facts, start, thing, place)
    region = facts.regions[place]
    half = np.abs(region.pose.rotation @ region.half_size)
    offset = facts.objects[thing].position - region.pose.position
    return bool(np.all(offset < half) and np.all(offset > -half - np.array([0.0, 0.0, BELOW_M])))


def on(facts: Facts, start: Facts, thing: str, place: str) -> bool:
    """`thing` rests on `place`: on a region's upper face, or on the middle of a thing (LIBERO's On)."""
    if place not in facts.regions:
        over = across(facts, start, thing, place) == 0.0 and _height(facts, thing, place) >= 0.0
        return over and _rests(facts, thing, place)
    region = facts.regions[place]
    local = region.pose.rotation @ (facts.objects[thing].position - region.pose.position)
    level = region.half_size[2] - 0.005 < local[2] < region.half_size[2] + conditions.ABOVE_REGION_M
    return bool(level and np.all(np.abs(local[:2]) < region.half_size[:2])) and _rests(facts, thing, region.parent)


def beside(facts: Facts, start: Facts, thing: str, anchor: str, side: Side, within_m: float) -> bool:
    """`thing` stands at the `side` of `anchor`, at most `within_m` off."""
    return beside_gap(facts, start, thing, anchor, side) <= within_m


def released(facts: Facts, start: Facts, thing: str) -> bool:
    """The robot does not touch `thing`."""
    return conditions.released(facts, thing)


def moved_joint(facts: Facts, start: Facts, joint: str, share: float) -> bool:
    """`joint` has moved by `share` of its way since the start."""
    return abs(_opened(_joint(facts, joint)) - _opened(_joint(start, joint))) >= share


def opened(facts: Facts, start: Facts, joint: str) -> bool:
    """`joint` is open."""
    return conditions.is_open(_joint(facts, joint))


def closed(facts: Facts, start: Facts, joint: str) -> bool:
    """`joint` is shut."""
    return conditions.is_closed(_joint(facts, joint))


def turned_on(facts: Facts, start: Facts, joint: str) -> bool:
    """`joint` is on."""
    return conditions.is_on(_joint(facts, joint))


def turned_off(facts: Facts, start: Facts, joint: str) -> bool:
    """`joint` is off."""
    return not conditions.is_on(_joint(facts, joint))


PREDICATES: dict[str, Word] = {
    "hand_near": Word(("what", "within_m"), hand_near),
    "hand_at": Word(("thing", "x_m", "y_m", "z_m", "within_m"), hand_at),
    "touched": Word(("thing",), touched),
    "gripped": Word(("thing",), gripped),
    "lifted": Word(("thing", "by_m"), lifted),
    "clear_of": Word(("thing", "place", "by_m"), clear_of),
    "above": Word(("thing", "place", "within_m"), above),
    "inside": Word(("thing", "place"), inside),
    "on": Word(("thing", "place"), on),
    "beside": Word(("thing", "anchor", "side", "within_m"), beside),
    "released": Word(("thing",), released),
    "moved_joint": Word(("joint", "share"), moved_joint),
    "opened": Word(("joint",), opened),
    "closed": Word(("joint",), closed),
    "turned_on": Word(("joint",), turned_on),
    "turned_off": Word(("joint",), turned_off),
}


# ----------------------------------------------------------------------------------------------------------- distances


def hand_to(facts: Facts, start: Facts, what: str) -> float:
    """From the point between the fingertips to the surface of `what`; 0 inside."""
    if what in facts.objects:
        return surface_distance(facts.shapes[what], facts.objects[what], facts.eef.position)
    part = _joint(facts, what).part
    return surface_distance(facts.shapes[part], facts.parts[part], facts.eef.position)


def hand_to_point(facts: Facts, start: Facts, thing: str, x_m: float, y_m: float, z_m: float) -> float:
    """From the point between the fingertips to a grasp point, given in the frame of `thing`."""
    pose = facts.objects[thing]
    return float(np.linalg.norm(pose.position + pose.rotation @ np.array([x_m, y_m, z_m]) - facts.eef.position))


def fingers_to(facts: Facts, start: Facts, thing: str) -> float:
    """How far the fingers still have to close while the hand is at `thing`; all of their way while it is not."""
    at_it = hand_to(facts, start, thing) <= AT_THE_HAND_M
    return facts.gripper_width_m if at_it else FINGERS_OPEN_M


def rise(facts: Facts, start: Facts, thing: str, by_m: float) -> float:
    """How far `thing` is from having risen by `by_m` since the start."""
    risen = facts.objects[thing].position[2] - start.objects[thing].position[2]
    return float(np.clip(by_m - risen, 0.0, by_m))


def rise_over(facts: Facts, start: Facts, thing: str, place: str, by_m: float) -> float:
    """How far the lowest point of `thing` is from `by_m` above the top of `place`."""
    lowest = corners(facts.shapes[thing], facts.objects[thing])[:, 2].min()
    return max(_top(facts, place) + by_m - float(lowest), 0.0)


def across(facts: Facts, start: Facts, thing: str, place: str) -> float:
    """From `thing` to the outline of `place`, seen from above; a thing's outline is LIBERO's 3 cm around its middle."""
    position = facts.objects[thing].position
    if place in facts.regions:
        region = facts.regions[place]
        local = region.pose.rotation.T @ (position - region.pose.position)
        return float(np.linalg.norm(np.maximum(np.abs(local[:2]) - region.half_size[:2], 0.0)))
    apart = np.linalg.norm(position[:2] - _place(facts, place).position[:2])
    return float(max(apart - conditions.ON_RADIUS_M, 0.0))


def gap(facts: Facts, start: Facts, thing: str, place: str) -> float:
    """From `thing` to `place`, across and up or down."""
    return across(facts, start, thing, place) + abs(_height(facts, thing, place))


def beside_gap(facts: Facts, start: Facts, thing: str, anchor: str, side: Side) -> float:
    """From `thing` to the `side` of `anchor`, seen from above."""
    there = conditions.beside(facts, thing, Beside(anchor, side))
    return float(np.linalg.norm((facts.objects[thing].position - there)[:2]))


def to_open(facts: Facts, start: Facts, joint: str) -> float:
    """Share of the way of `joint` that is left until it is open."""
    moved = _joint(facts, joint)
    return max(OPEN_SHARE[moved.kind] - _opened(moved), 0.0)


def to_closed(facts: Facts, start: Facts, joint: str) -> float:
    """Share of the way of `joint` that is left until it is shut."""
    return max(_opened(_joint(facts, joint)), 0.0)


def to_on(facts: Facts, start: Facts, joint: str) -> float:
    """Radians by which `joint` has to turn until it is on."""
    return max(KNOB_ON_RAD - _joint(facts, joint).position, 0.0)


def to_off(facts: Facts, start: Facts, joint: str) -> float:
    """Radians by which `joint` has to turn until it is off."""
    return max(_joint(facts, joint).position - KNOB_ON_RAD, 0.0)


DISTANCES: dict[str, Word] = {
    "hand_to": Word(("what",), hand_to, LENGTH_M),
    "hand_to_point": Word(("thing", "x_m", "y_m", "z_m"), hand_to_point, LENGTH_M),
    "fingers_to": Word(("thing",), fingers_to, FINGERS_M),
    "rise": Word(("thing", "by_m"), rise, LENGTH_M),
    "rise_over": Word(("thing", "place", "by_m"), rise_over, LENGTH_M),
    "across": Word(("thing", "place"), across, LENGTH_M),
    "gap": Word(("thing", "place"), gap, LENGTH_M),
    "beside_gap": Word(("thing", "anchor", "side"), beside_gap, LENGTH_M),
    "to_open": Word(("joint",), to_open, SHARE),
    "to_closed": Word(("joint",), to_closed, SHARE),
    "to_on": Word(("joint",), to_on, SHARE),
    "to_off": Word(("joint",), to_off, SHARE),
}


# ------------------------------------------------------------------------------------------------------------ geometry


def surface_distance(boxes: Iterable[Box], pose: Pose, point: Point) -> float:
    """Distance (m) from a world point to the nearest of the boxes of a thing at `pose`; 0 inside."""
    local = pose.rotation.T @ (point - pose.position)
    outside = (np.abs(box.rotation.T @ (local - box.center)) - box.half_size for box in boxes)
    return float(min((np.linalg.norm(np.maximum(away, 0.0)) for away in outside), default=np.inf))


def _height(facts: Facts, thing: str, place: str) -> float:
    return float(facts.objects[thing].position[2] - _place(facts, place).position[2])


def _top(facts: Facts, place: str) -> float:
    """Height of the top of a thing, or of what a region is part of."""
    solid = facts.regions[place].parent if place in facts.regions else place
    assert solid is not None, "a place that is part of nothing is not in the vocabulary"
    return float(corners(facts.shapes[solid], _place(facts, solid))[:, 2].max())


def _place(facts: Facts, place: str) -> Pose:
    return facts.regions[place].pose if place in facts.regions else {**facts.objects, **facts.fixtures}[place]


def _rests(facts: Facts, thing: str, support: str | None) -> bool:
    touching = {other for pair in facts.contacts if thing in pair for other in pair - {thing}}
    return support is None or support in touching or not touching


def _joint(facts: Facts, joint: str) -> Joint:
    return facts.joints[conditions.joint_of(facts, joint)]


def _opened(joint: Joint) -> float:
    """Share of the way to its open end; negative when pushed past shut."""
    return joint.position / conditions.open_end(joint)
