"""Facts in words: a compact, deterministic description of a scene for a language model, and of what changed in it.

Lengths are centimetres, angles degrees, both seen from the robot's foot: x points away from the robot, y to the right
of somebody who faces it, z up. What would give the answer away is left out: the goal and whether it is reached, the
task's name, the objects of interest, and regions that belong to no thing. Those are where the task file puts things
at the start or wants them at the end, and are named for it ("floor_target_object_region" holds the object asked for).
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Box, Facts, Joint, Pose
from hone.language.plan import Beside, Subgoal, Target

FRAME = (
    "Lengths are in cm and angles in degrees, seen from the robot's foot: x points away from the robot, y to the right "
    "of somebody who faces the robot, z up."
)
MOVED_CM = 1.0
TURNED_SHARE = 0.02
"""A joint counts as moved when it went this share of its range."""
_CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))


def describe(facts: Facts) -> str:
    """Everything a planner may know, one line per thing, in the order of the names."""
    lines = [FRAME, hand_words(facts), "Objects, which can be moved:"]
    lines += [_thing_line(facts, name, pose) for name, pose in sorted(facts.objects.items())] or ["- none"]
    lines.append("Fixtures, which cannot:")
    lines += [_thing_line(facts, name, pose) for name, pose in sorted(facts.fixtures.items())] or ["- none"]
    lines.append("Places in or on them:")
    lines += [_place_line(facts, name) for name in places(facts)] or ["- none"]
    lines.append("Joints:")
    lines += [_joint_line(name, joint) for name, joint in sorted(facts.joints.items())] or ["- none"]
    lines.append("Relations:")
    lines += [f"- {relation}" for relation in relations(facts)] or ["- none"]
    return "\n".join(lines)


def places(facts: Facts) -> list[str]:
    """Names of the regions that are part of a thing."""
    return sorted(name for name, region in facts.regions.items() if region.parent is not None)


def relations(facts: Facts) -> list[str]:
    """What lies on, in or against what, and what the hand touches, as sentences in a fixed order."""
    poses = facts.objects | facts.fixtures
    found = []
    for pair in sorted(sorted(pair) for pair in facts.contacts):
        if "robot" in pair:
            other = pair[1 - pair.index("robot")]
            found.append(f"the hand touches {other if other in poses else 'the table'}")
        elif all(name in poses for name in pair):
            lower, upper = sorted(pair, key=lambda name: float(poses[name].position[2]))
            verb = "rests on" if upper in facts.objects and _is_above(facts, upper, lower) else "touches"
            found.append(f"{upper} {verb} {lower}")
    for place in places(facts):
        region = facts.regions[place]
        for name, pose in sorted(facts.objects.items()):
            inside = region.pose.rotation.T @ (pose.position - region.pose.position)
            if name != region.parent and np.all(np.abs(inside) <= region.half_size):
                found.append(f"{name} is in {place}")
    return found


def hand_words(facts: Facts) -> str:
    width = _cm(facts.gripper_width_m)
    return f"The hand is at {point_words(facts, facts.eef.position)}, its fingers are {width} cm apart."


def middle(facts: Facts, name: str) -> Float64[np.ndarray, " 3"]:
    """World position (m) of the middle of a thing's shapes or of a region."""
    if name in facts.regions:
        return facts.regions[name].pose.position
    pose = (facts.objects | facts.fixtures)[name]
    if not facts.shapes.get(name):
        return pose.position
    low, high = _extent(facts.shapes[name], pose, np.eye(3))
    return pose.position + (low + high) / 2


def point_words(facts: Facts, position: Float64[np.ndarray, " 3"]) -> str:
    """A world position (m) as a description gives it."""
    return _triple(_frame(facts).T @ (position - facts.base.position))


def offset_words(facts: Facts, offset: Float64[np.ndarray, " 3"]) -> str:
    """A difference of world positions (m) as a description gives it."""
    return _triple(_frame(facts).T @ offset)


def explain_failure(before: Facts, after: Facts, subgoal: Subgoal) -> str:
    """What an attempt at `subgoal` changed, measured on the scene before and after it. Does not look at the goal."""
    lines = [f"The attempt to {subgoal_words(subgoal)} did not succeed. What changed:", *changes(before, after)]
    lines.append(hand_words(after))
    if (gap := _gap(after, subgoal)) is not None:
        lines.append(gap)
    return "\n".join(lines)


def changes(before: Facts, after: Facts) -> list[str]:
    """What moved, and what lies on, in or against what now and did not before; one line each."""
    lines = []
    for name, pose in sorted(after.objects.items()):
        moved = _frame(after).T @ (pose.position - before.objects[name].position)
        if 100 * float(np.linalg.norm(moved)) > MOVED_CM:
            lines.append(f"- {name} moved by {_triple(moved)} to {point_words(after, pose.position)}")
    for name, joint in sorted(after.joints.items()):
        low, high = joint.range
        if abs(joint.position - before.joints[name].position) > TURNED_SHARE * (high - low):
            lines.append(f"- {name} went from {_position(before.joints[name])} to {_position(joint)}")
    then, now = relations(before), relations(after)
    lines += [f"- no longer: {relation}" for relation in then if relation not in now]
    lines += [f"- now: {relation}" for relation in now if relation not in then]
    return lines or ["- nothing but the hand"]


def subgoal_words(subgoal: Subgoal) -> str:
    target = "" if subgoal.target is None else f" (target: {target_words(subgoal.target)})"
    return f"{subgoal.verb} {subgoal.thing}{target}"


def target_words(target: Target) -> str:
    return f"the {target.side} of {target.anchor}" if isinstance(target, Beside) else target


def _gap(facts: Facts, subgoal: Subgoal) -> str | None:
    """How far the thing is from where it was to go; for a pick, how far the hand is from the thing."""
    if subgoal.thing not in facts.objects:
        return None
    thing = middle(facts, subgoal.thing)
    if subgoal.target is None:
        return f"From the hand to {subgoal.thing} it is {offset_words(facts, thing - facts.eef.position)}."
    target = subgoal.target.anchor if isinstance(subgoal.target, Beside) else subgoal.target
    return f"From {subgoal.thing} to {target} it is {offset_words(facts, middle(facts, target) - thing)}."


def _thing_line(facts: Facts, name: str, pose: Pose) -> str:
    line = f"- {name}: middle at {point_words(facts, middle(facts, name))}"
    yaw = _yaw(_frame(facts).T @ pose.rotation)
    if facts.shapes.get(name):
        low, high = _extent(facts.shapes[name], pose, _frame(facts) @ _about_z(yaw))
        line += f", size {_triple(high - low, ' x ')}, turned {round(math.degrees(yaw)) % 180}"
    return line


def _place_line(facts: Facts, name: str) -> str:
    region = facts.regions[name]
    size = 2 * np.abs(_frame(facts).T @ region.pose.rotation) @ region.half_size
    line = (
        f"- {name}: part of {region.parent}, at {point_words(facts, region.pose.position)}, size {_triple(size, ' x ')}"
    )
    return line if region.joint is None else f"{line}, moved by {region.joint}"


def _joint_line(name: str, joint: Joint) -> str:
    low, high = (_position(joint, value) for value in joint.range)
    return f"- {name}: {joint.kind} of {joint.fixture}, at {_position(joint)}, from {low} to {high}"


def _position(joint: Joint, value: float | None = None) -> str:
    value = joint.position if value is None else value
    return f"{_cm(value)} cm" if joint.kind == "slide" else f"{round(math.degrees(value))} degrees"


def _is_above(facts: Facts, upper: str, lower: str) -> bool:
    """The upper thing's centre lies over the lower one's outline."""
    pose = (facts.objects | facts.fixtures)[lower]
    if not facts.shapes.get(lower):
        return False
    low, high = _extent(facts.shapes[lower], pose, np.eye(3))
    offset = (facts.objects[upper].position - pose.position)[:2]
    return bool(np.all((low[:2] <= offset) & (offset <= high[:2])))


def _extent(
    boxes: tuple[Box, ...], pose: Pose, axes: Float64[np.ndarray, "3 3"]
) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]]:
    """Lowest and highest coordinates (m) of a thing's shapes along the columns of `axes`, from its own origin."""
    corners = np.concatenate([box.center + (_CORNERS * box.half_size) @ box.rotation.T for box in boxes])
    along = corners @ pose.rotation.T @ axes
    return along.min(axis=0), along.max(axis=0)


def _yaw(rotation: Float64[np.ndarray, "3 3"]) -> float:
    """Angle about z (rad) of the thing's x axis, or of its y axis where x stands upright."""
    x, y = rotation[:2, 0], rotation[:2, 1]
    level = x if np.linalg.norm(x) >= 0.7 else y
    return math.atan2(level[1], level[0])


def _about_z(angle: float) -> Float64[np.ndarray, "3 3"]:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _frame(facts: Facts) -> Float64[np.ndarray, "3 3"]:
    return facts.base.rotation


def _triple(vector_m: Float64[np.ndarray, " 3"], between: str = ", ") -> str:
    return f"({between.join(_cm(value) for value in vector_m)})"


def _cm(metres: float) -> str:
    """Centimetres to the millimetre, never "-0.0"."""
    return f"{round(100 * float(metres), 1) + 0.0:.1f}"
