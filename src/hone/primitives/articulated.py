"""Movements of what is hinged or slides: open and close a drawer, turn a knob.

Coroutines as in skills.py. Each reads from the facts where the part's joint is and which way it goes, so one skill
serves every cabinet. "Open" is the end of a joint's range far from zero, as in all of LIBERO's fixtures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Box, Facts, Joint
from hone.primitives.conditions import is_open, open_end
from hone.primitives.grasps import (
    HAND_HALF_LENGTH_M,
    HAND_HALF_WIDTH_M,
    TIP_M,
    downward,
    nearest_yaw,
    opening_yaw,
    point_cloud,
    skyline,
)
from hone.primitives.skills import (
    CLEARANCE_M,
    CLOSE,
    OPEN,
    Command,
    Reach,
    Skill,
    Standstill,
    about_vertical,
    close_fingers,
    highest_between,
    move,
    reach_action,
    release,
    scene_points,
)

Vector = Float64[np.ndarray, " 3"]
Rotation = Float64[np.ndarray, "3 3"]

UP = np.array([0.0, 0.0, 1.0])
HAND_RADIUS_M = 0.11
"""What a hand that does not point down may reach below the grip site."""
BEFORE_HANDLE_M = 0.13
HIGHEST_ON_HANDLE_M = 0.022
"""Off its middle the open fingers still reach around a handle 15 mm thick."""
DRAG_LEAD_M = 0.04
"""How far ahead of the hand the goal of a dragged or pushed part is set."""
PUSH_LEAN_DEG = (52.0, 30.0)
"""How far a hand that pushes leans back: where the drawer is shut, and where it is open."""
TURN_LEAD_RAD = 0.5
TURNED_ON_RAD = 0.65
TURNED_OFF_RAD = -0.001
"""Beyond LIBERO's thresholds: on from 0.5, off below 0."""


def opening_direction(joint: Joint) -> Vector:
    return joint.axis * np.sign(open_end(joint))


def _corners(box: Box, facts: Facts, part: str) -> Float64[np.ndarray, "8 3"]:
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    pose = facts.parts[part]
    return ((signs * box.half_size) @ box.rotation.T + box.center) @ pose.rotation.T + pose.position


def outermost(facts: Facts, part: str, direction: Vector) -> tuple[Vector, Float64[np.ndarray, "8 3"]]:
    """Centre and corners of the part's box that reaches farthest along `direction`: a handle, a knob's ridge."""
    boxes = [_corners(box, facts, part) for box in facts.shapes[part]]
    corners = max(boxes, key=lambda box: float((box @ direction).max()))
    return corners.mean(0), corners


def _level(approach: Vector, like: Rotation) -> Rotation:
    """A hand that points along the horizontal `approach` and opens vertically, whichever way up is nearer to `like`."""
    choices = []
    for opening in (UP, -UP):
        choices.append(np.column_stack([opening, np.cross(approach, opening), approach]))
    return max(choices, key=lambda rotation: float(np.trace(rotation.T @ like)))


def come_to(facts: Facts, position: Vector, rotation: Rotation, gripper: float) -> Skill:
    """Over everything on the way, then down to `position`."""
    passed = highest_between(skyline(scene_points(facts)), facts.eef.position, position)
    above = Reach(position, rotation, passed + CLEARANCE_M + HAND_RADIUS_M)
    return (yield from move(facts, lambda _: above, gripper, tolerance=0.012, turn_tolerance=0.1, max_steps=240))


def straight(facts: Facts, position: Vector, rotation: Rotation, gripper: float, tolerance: float = 0.006) -> Skill:
    line = Reach(position, rotation, position[2])
    return (yield from move(facts, lambda _: line, gripper, tolerance=tolerance, max_steps=120))


def drag(
    facts: Facts,
    goal: Callable[[Facts], tuple[Vector, Rotation]],
    done: Callable[[Facts], bool],
    gripper: float,
    max_steps: int = 120,
) -> Skill:
    """Pull or push towards a goal that moves ahead of the part, until `done` or until nothing moves any more."""
    standstill = Standstill(facts.eef.position)
    for _ in range(max_steps):
        if done(facts):
            return facts, True
        if standstill(facts.eef.position):
            break
        position, rotation = goal(facts)
        facts = yield Command(reach_action(facts.eef, Reach(position, rotation, position[2]), gripper))
    return facts, done(facts)


def open_drawer(facts: Facts, name: str) -> Skill:
    """Take the handle with a level hand, pull until the joint `name` is open, let go, draw back."""
    joint = facts.joints[name]
    pull = opening_direction(joint)
    handle, _ = outermost(facts, joint.part, pull)
    handle[2] += _room_needed(facts, handle, handle + BEFORE_HANDLE_M * pull)
    rotation = _level(-pull, facts.eef.rotation)
    facts, arrived = yield from come_to(facts, handle + BEFORE_HANDLE_M * pull, rotation, OPEN)
    if not arrived:
        return facts, False
    facts, arrived = yield from straight(facts, handle, rotation, OPEN, tolerance=0.010)
    if not arrived:
        return facts, False
    facts = yield from close_fingers(facts, Reach(handle, rotation, handle[2]))

    def onwards(facts: Facts) -> tuple[Vector, Rotation]:
        along = float((facts.eef.position - handle) @ pull) + DRAG_LEAD_M
        return handle + along * pull, rotation

    facts, _ = yield from drag(facts, onwards, lambda facts: _wide_open(facts.joints[name]), CLOSE)
    facts, _ = yield from let_go(facts, rotation, pull)
    return facts, is_open(facts.joints[name])


def _wide_open(joint: Joint) -> bool:
    """So far that a thing laid in may push it back a little."""
    return abs(joint.position) > 0.94 * abs(open_end(joint))


def _room_needed(facts: Facts, handle: Vector, before: Vector) -> float:
    """How far above the handle's middle a level hand must take it, to clear what lies in front (m)."""
    things = np.concatenate([point_cloud(facts.shapes[name], pose) for name, pose in facts.objects.items()])
    top = highest_between(things, handle, before, half_width=HAND_HALF_WIDTH_M)
    return float(np.clip(top + HAND_HALF_LENGTH_M + 0.004 - handle[2], 0.0, HIGHEST_ON_HANDLE_M))


def let_go(facts: Facts, rotation: Rotation, away: Vector, steps: int = 4, distance: float = 0.10) -> Skill:
    """Open the fingers in place, then draw back by `distance` (m) in the direction `away`."""
    here = facts.eef.position.copy()
    for _ in range(steps):
        facts = yield Command(reach_action(facts.eef, Reach(here, rotation, here[2]), OPEN))
    return (yield from straight(facts, here + distance * away, rotation, OPEN, tolerance=0.03))


def close_drawer(facts: Facts, name: str) -> Skill:
    """Push the handle with the tips of closed fingers until the joint is past zero.

    The hand leans back more and more: at first something may stand behind it, at last the drawer above is in its way.
    """
    joint = facts.joints[name]
    push = -opening_direction(joint)
    handle, _ = outermost(facts, joint.part, -push)

    def leaning(facts: Facts) -> Rotation:
        still_open = abs(facts.joints[name].position) / abs(open_end(joint))
        lean = np.deg2rad(np.interp(still_open, (0.0, 1.0), PUSH_LEAN_DEG))
        approach = np.cos(lean) * -UP + np.sin(lean) * push
        sideways = np.cross(push, UP)
        choices = [np.column_stack([s * sideways, np.cross(approach, s * sideways), approach]) for s in (1.0, -1.0)]
        return max(choices, key=lambda rotation: float(np.trace(rotation.T @ facts.eef.rotation)))

    def tips_at(point: Vector, rotation: Rotation) -> Vector:
        return point - TIP_M * rotation[:, 2]

    rotation = leaning(facts)
    facts, arrived = yield from come_to(facts, tips_at(handle - 0.06 * push, rotation), rotation, CLOSE)
    if not arrived:
        return facts, False

    def onwards(facts: Facts) -> tuple[Vector, Rotation]:
        rotation = leaning(facts)
        along = float((facts.eef.position - tips_at(handle, rotation)) @ push) + DRAG_LEAD_M
        return tips_at(handle + along * push, rotation), rotation

    facts, closed = yield from drag(facts, onwards, lambda facts: _pressed_shut(facts.joints[name]), CLOSE)
    away = facts.eef.position - 0.08 * push
    facts, _ = yield from straight(facts, away, facts.eef.rotation, CLOSE, tolerance=0.03)
    return facts, closed


def _pressed_shut(joint: Joint) -> bool:
    """Past zero, away from the open end: LIBERO's condition for a closed drawer."""
    return bool(joint.position * np.sign(open_end(joint)) < -0.001)


def turn_knob(facts: Facts, name: str, on: bool = True) -> Skill:
    """Grasp the knob's ridge from above and turn it about its axis until the stove is on, or off."""
    joint = facts.joints[name]
    _, corners = outermost(facts, joint.part, UP)
    centre = np.append(corners[:, :2].mean(0), corners[:, 2].max() - 0.012)
    across = _short_axis(corners)
    yaw = nearest_yaw(float(np.arctan2(across[1], across[0])), opening_yaw(facts.eef.rotation))
    facts, arrived = yield from come_to(facts, centre + 0.06 * UP, downward(yaw), OPEN)
    if not arrived:
        return facts, False
    facts, arrived = yield from straight(facts, centre, downward(yaw), OPEN)
    if not arrived:
        return facts, False
    facts = yield from close_fingers(facts, Reach(centre, downward(yaw), centre[2]))
    start, arm = facts.joints[name].position, facts.eef.position - joint.anchor

    def onwards(facts: Facts) -> tuple[Vector, Rotation]:
        angle = facts.joints[name].position - start + (TURN_LEAD_RAD if on else -TURN_LEAD_RAD)
        turn = about_vertical(angle)
        return joint.anchor + turn @ arm, turn @ downward(yaw)

    def turned(facts: Facts) -> bool:
        position = facts.joints[name].position
        return position > TURNED_ON_RAD if on else position < TURNED_OFF_RAD

    facts, done = yield from drag(facts, onwards, turned, CLOSE)
    facts, _ = yield from release(facts, opening_yaw(facts.eef.rotation))
    return facts, done


def _short_axis(corners: Float64[np.ndarray, "8 3"]) -> Vector:
    """The horizontal direction in which a box is narrower."""
    flat = corners[:, :2] - corners[:, :2].mean(0)
    _, _, axes = np.linalg.svd(flat)
    return np.append(axes[1], 0.0)
