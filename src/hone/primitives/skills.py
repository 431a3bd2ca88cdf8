"""Movements as coroutines: each yields a command per control step, is sent the facts that followed, and returns.

The law that moves the hand has no clock: a command depends on where the hand is and on what it has to do next, not on
how long it has been doing it. So a demonstration says the same thing wherever it passes the same state twice, and noise
that pushes the robot off its path is answered by the correction a clone should learn (DART, arXiv:1703.09327).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts, Pose
from hone.primitives.grasps import (
    TIP_M,
    Grasp,
    Points,
    downward,
    lowest_clear_height,
    opening_yaw,
    point_cloud,
    skyline,
)

OPEN, CLOSE = -1.0, 1.0

POSITION_SCALE_M = 0.05
ROTATION_SCALE_RAD = 0.5
SPEED_GAIN = 6.12
"""OSC_POSE pulls towards a goal set relative to the hand, critically damped with kp = 150: a steady offset of 1 m is a
speed of kp / kd = 150 / (2 sqrt 150) m/s."""
MAX_SPEED_M_S = 0.28
MAX_TURN_RAD_S = 1.6


@dataclass(frozen=True)
class Command:
    """One control step. `freedom` (0 to 1) is the share of injected noise it bears: none with fingers about a thing."""

    action: Float64[np.ndarray, " A"]
    freedom: float = 0.0


CLEARANCE_M = 0.05
"""Least distance of fingertips or cargo above what they pass over."""
CORRIDOR_M = 0.12
"""Half width of the strip along a path in which things count as passed over."""
STALLED_STEPS = 30
STALLED_M = 0.005
SLIPPED_M = 0.04
"""A thing that moved this far in the hand is not held."""
EMPTY_WIDTH_M = 0.002
"""Fingers closed to this width hold nothing (a bowl's rim is 2.6 mm thick)."""

Skill = Generator[Command, Facts, tuple[Facts, bool]]
"""Yields commands, receives facts; returns the last facts and whether it did what it should."""


class Standstill:
    """Asked once a control step; true when the hand has not left a place for `STALLED_STEPS` of them."""

    def __init__(self, position: Float64[np.ndarray, " 3"]) -> None:
        self._place, self._steps = position, 0

    def __call__(self, position: Float64[np.ndarray, " 3"]) -> bool:
        if np.linalg.norm(position - self._place) > STALLED_M:
            self._place, self._steps = position, 0
        self._steps += 1
        return self._steps == STALLED_STEPS


@dataclass(frozen=True)
class Reach:
    """Bring the grip site to `position` and `rotation`, from above.

    Away from it the hand is at `travel` (world height, m); it comes down in a funnel: to `position` plus `hover` when
    it is `near` (m, horizontally), and all the way when it is within `inner`.
    """

    position: Float64[np.ndarray, " 3"]
    rotation: Float64[np.ndarray, "3 3"]
    travel: float
    hover: float = 0.0
    outer: float = 0.08
    near: float = 0.015
    inner: float = 0.005


def reach_action(eef: Pose, reach: Reach, gripper: float) -> Float64[np.ndarray, " 7"]:
    """The command of a `Reach` at this pose: towards where the funnel is lowest, at a limited speed.

    A hand below the funnel rises first and moves sideways only as it gets there. A wrong rotation widens the distance
    that counts, so the hand does not come down before it is turned.
    """
    turn = rotation_vector(reach.rotation @ eef.rotation.T)
    aside = reach.position[:2] - eef.position[:2]
    distance = float(np.linalg.norm(aside))
    counted = max(distance, 0.1 * float(np.linalg.norm(turn)) - 0.01)
    lowest = reach.position[2]
    travel, hover = max(reach.travel, lowest), lowest + reach.hover
    height = float(np.interp(counted, (reach.inner, reach.near, reach.outer), (lowest, min(hover, travel), travel)))
    rise = height - eef.position[2]
    sideways = float(np.clip(1.0 - (rise - 0.02) / 0.06, 0.0, 1.0))
    delta = np.append(aside * sideways, rise)
    action = np.concatenate(
        [
            _limited(delta, MAX_SPEED_M_S / SPEED_GAIN) / POSITION_SCALE_M,
            _limited(turn, MAX_TURN_RAD_S / SPEED_GAIN) / ROTATION_SCALE_RAD,
            [gripper],
        ]
    )
    return np.clip(action, -1.0, 1.0)


def _limited(vector: np.ndarray, limit: float) -> np.ndarray:
    norm = float(np.linalg.norm(vector))
    return vector if norm <= limit else vector * (limit / norm)


def rotation_vector(rotation: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, " 3"]:
    """Axis times angle (rad, 0 to pi) of a rotation; away from half turns, which no skill makes."""
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = float(np.linalg.norm(axis)) / 2, (float(np.trace(rotation)) - 1) / 2
    if sine < 1e-9:
        return axis / 2
    return axis / (2 * sine) * np.arctan2(sine, cosine)


def move(
    facts: Facts,
    target: Callable[[Facts], Reach],
    gripper: float,
    *,
    tolerance: float = 0.005,
    turn_tolerance: float = 0.08,
    max_steps: int = 160,
    unless: Callable[[Facts], bool] = lambda facts: False,
) -> Skill:
    """Follow a `Reach` (which may depend on the facts) until within `tolerance` (m) and `turn_tolerance` (rad).

    Fails after `max_steps`, as soon as `unless` holds, or when the hand stands still (something is in its way).
    """
    standstill = Standstill(facts.eef.position)
    for _ in range(max_steps):
        reach = target(facts)
        offset = float(np.linalg.norm(reach.position - facts.eef.position))
        turn = float(np.linalg.norm(rotation_vector(reach.rotation @ facts.eef.rotation.T)))
        if offset < tolerance and turn < turn_tolerance:
            return facts, True
        if standstill(facts.eef.position) or unless(facts):
            return facts, False
        freedom = float(np.clip((offset - 0.02) / 0.10, 0.0, 1.0))
        facts = yield Command(reach_action(facts.eef, reach, gripper), freedom)
    return facts, False


def pick(facts: Facts, grasp: Grasp) -> Skill:
    """Come down on `grasp` with open fingers and close them about the thing. The next movement lifts it."""
    heights = skyline(scene_points(facts))
    hover = grasp.top - grasp.position[2] + TIP_M + 0.01

    def to_grasp(facts: Facts) -> Reach:
        passed = highest_between(heights, facts.eef.position, grasp.position)
        return Reach(grasp.position, grasp.rotation, passed + CLEARANCE_M + TIP_M, hover)

    facts, arrived = yield from move(facts, to_grasp, OPEN)
    if not arrived:
        return facts, False
    facts = yield from close_fingers(facts, to_grasp(facts))
    return facts, facts.gripper_width_m > EMPTY_WIDTH_M


def close_fingers(facts: Facts, reach: Reach, max_steps: int = 14) -> Generator[Command, Facts, Facts]:
    """Close in place until the width no longer changes."""
    steady = 0
    for step in range(max_steps):
        width = facts.gripper_width_m
        facts = yield Command(reach_action(facts.eef, reach, CLOSE))
        steady = steady + 1 if step >= 2 and abs(facts.gripper_width_m - width) < 5e-4 else 0
        if steady == 2:
            break
    return facts


def place(
    facts: Facts, name: str, goal: Float64[np.ndarray, " 3"], turn: float = 0.0, only_ahead: bool = False
) -> Skill:
    """Carry the thing in the hand until its origin is over `goal`, lower it, let go and rise a little.

    On the way it is turned by `turn` (rad) about the vertical. `only_ahead`: not over what is behind it.

    Fails if the thing is lost on the way. It is let go just above its support, or as low as the hand gets: a basket's
    rim stops the hand before a small thing touches the basket's floor, and it drops the rest.
    """
    grip = offset_in_hand(facts, name)
    yaw = opening_yaw(facts.eef.rotation) + turn
    others = scene_points(facts, without=name)
    shape = point_cloud(facts.shapes[name], Pose(np.zeros(3), np.eye(3)))
    support = _support(others, shape @ (about_vertical(turn) @ facts.objects[name].rotation).T, goal)
    heights = skyline(others)

    def over_target(facts: Facts) -> Reach:
        thing = facts.objects[name]
        bottom = thing.position[2] + float((shape @ thing.rotation.T)[:, 2].min())
        hang = facts.eef.position[2] - bottom
        position = facts.eef.position + goal - thing.position
        lowest = lowest_clear_height(others, position, yaw, facts.gripper_width_m)
        position[2] = max(support + 0.004 + hang, lowest)
        passed = highest_between(heights, facts.eef.position, position, only_ahead=only_ahead)
        travel = max(passed + CLEARANCE_M + hang, float(position[2]))
        return Reach(position, downward(yaw), travel, hover=travel - position[2], near=0.025, inner=0.01)

    facts, arrived = yield from move(
        facts, over_target, CLOSE, tolerance=0.010, unless=lambda facts: is_lost(facts, name, grip)
    )
    if not arrived:
        return facts, False
    return (yield from release(facts, yaw))


def about_vertical(angle: float) -> Float64[np.ndarray, "3 3"]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def release(facts: Facts, yaw: float, open_steps: int = 4, rise: float = 0.06) -> Skill:
    """Open the fingers in place, then rise."""
    here = facts.eef.position.copy()
    stay = Reach(here, downward(yaw), here[2])
    for _ in range(open_steps):
        facts = yield Command(reach_action(facts.eef, stay, OPEN))
    above = Reach(here + np.array([0.0, 0.0, rise]), downward(yaw), here[2] + rise)
    return (yield from move(facts, lambda _: above, OPEN, tolerance=0.02, max_steps=20))


def scene_points(facts: Facts, without: str | None = None) -> Points:
    """Points of everything there is but the robot, the table and the thing named."""
    things = {**facts.objects, **facts.fixtures, **facts.parts}
    return np.concatenate(
        [np.zeros((0, 3))] + [point_cloud(facts.shapes[name], pose) for name, pose in things.items() if name != without]
    )


def is_lost(facts: Facts, name: str, grip: Float64[np.ndarray, " 3"]) -> bool:
    """The thing has moved in the hand from where it was (`offset_in_hand`), or the hand is empty."""
    slipped = float(np.linalg.norm(offset_in_hand(facts, name) - grip)) > SLIPPED_M
    return slipped or facts.gripper_width_m < EMPTY_WIDTH_M


def offset_in_hand(facts: Facts, name: str) -> Float64[np.ndarray, " 3"]:
    """The thing's origin in the frame of the gripper."""
    return facts.eef.rotation.T @ (facts.objects[name].position - facts.eef.position)


def highest_between(
    points: Points,
    start: Float64[np.ndarray, " 3"],
    end: Float64[np.ndarray, " 3"],
    half_width: float = CORRIDOR_M,
    only_ahead: bool = False,
) -> float:
    """Height of the highest point near the straight path from `start` to `end`, seen from above; -inf if none.

    `only_ahead` leaves out what lies behind the start.
    """
    along = end[:2] - start[:2]
    squared = float(along @ along)
    share = (points[:, :2] - start[:2]) @ along / max(squared, 1e-9)
    distance = np.linalg.norm(points[:, :2] - start[:2] - np.clip(share, 0.0, 1.0)[:, None] * along, axis=1)
    near = distance < half_width
    return float(points[near & (share > 0.0) if only_ahead else near, 2].max(initial=-np.inf))


def _support(others: Points, shape: Points, goal: Float64[np.ndarray, " 3"]) -> float:
    """Height of what a thing of this (turned) shape stands on with its origin over `goal`; the goal's if nothing."""
    foot = shape[shape[:, 2] < shape[:, 2].min() + 0.01, :2] + goal[:2]
    under = ((others[:, :2] > foot.min(0)) & (others[:, :2] < foot.max(0))).all(1)
    return float(others[under, 2].max(initial=-np.inf)) if under.any() else float(goal[2])
