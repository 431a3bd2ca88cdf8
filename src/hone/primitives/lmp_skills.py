"""The verbs of language movement primitives on the simulated arm: reach, carry, release, push.

Each is a `Skill` whose hand follows one `lmp` trajectory from where it is: its goal comes from the grasp sampler or the
target, its shape from a `Proposer`. The authors' robot runs after a point that moves by the clock; here, as in
`skills.py`, no clock drives the hand: it aims at a point a little ahead on the path and stops where the gripper's row
opens or closes the hand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts, Pose
from hone.primitives import pushing
from hone.primitives.grasps import (
    HAND_ABOVE_M,
    TIP_M,
    Grasp,
    Points,
    downward,
    nearest_yaw,
    opening_yaw,
    point_cloud,
    skyline,
)
from hone.primitives.lmp import CLOSED_ABOVE, LmpConfig, LmpParameters, State, Trajectory
from hone.primitives.lmp_proposers import Cylinder, Movement, Proposer
from hone.primitives.skills import (
    CLOSE,
    EMPTY_WIDTH_M,
    OPEN,
    Command,
    Reach,
    Skill,
    Standstill,
    close_fingers,
    is_lost,
    offset_in_hand,
    reach_action,
    release,
    scene_points,
)

AHEAD_M = 0.035
"""How far ahead of the hand it aims: with the arm's speed gain of 6.12 per second, 0.21 m/s."""
ARRIVED_M = 0.005
NEAR_M = 0.025
"""A hand that stands still this near to where the path ends has met what it came for."""
DROP_M = 0.05
"""Height of a carried thing's lowest point over what it is let go above."""
RIM_M = 0.06
"""How far around the carried thing that is looked for: a container's rim counts."""
OPEN_STEPS = 6
MOST_STEPS = 160
FINGERS, HAND = Cylinder(0.05, -TIP_M), Cylinder(0.08, HAND_ABOVE_M)
"""Rounder than the real hand, which is 13 and 21 cm long and 2 and 7 cm wide."""

Note = Callable[[Movement, LmpParameters], None]
"""Is told of every movement and the weights it got."""


def _unheard(movement: Movement, parameters: LmpParameters) -> None:
    pass


def reach(
    facts: Facts, grasp: Grasp, propose: Proposer, config: LmpConfig | None = None, note: Note = _unheard
) -> Skill:
    """Go to a grasp and close the hand when the gripper's row says so. True if it then holds something."""
    movement = Movement(
        start=_state(facts.eef, closed=False),
        goal=_goal(grasp.position, grasp.yaw, facts, closed=True),
        cylinders=(FINGERS, HAND),
        columns=skyline(scene_points(facts)),
        config=config or LmpConfig(),
    )
    facts, arrived = yield from _perform(facts, movement, propose, note)
    return facts, arrived and facts.gripper_width_m > EMPTY_WIDTH_M


def carry(
    facts: Facts,
    name: str,
    over: Float64[np.ndarray, " 3"],
    propose: Proposer,
    config: LmpConfig | None = None,
    note: Note = _unheard,
) -> Skill:
    """Bring the thing's origin over a place, `DROP_M` above what is there. False if it is lost on the way."""
    thing, others = facts.objects[name], scene_points(facts, without=name)
    cloud = point_cloud(facts.shapes[name], thing) - facts.eef.position
    cargo = Cylinder(float(np.linalg.norm(cloud[:, :2], axis=1).max()), float(cloud[:, 2].min()))
    goal = facts.eef.position + over - thing.position
    goal[2] = _top(others, goal, cargo.radius + RIM_M, facts.table_m) + DROP_M - cargo.bottom
    grip = offset_in_hand(facts, name)
    movement = Movement(
        start=_state(facts.eef, closed=True),
        goal=_goal(goal, opening_yaw(facts.eef.rotation), facts, closed=True),
        cylinders=(cargo, FINGERS, HAND),
        columns=skyline(others),
        config=config or LmpConfig(),
    )

    return (yield from _perform(facts, movement, propose, note, lambda facts: is_lost(facts, name, grip)))


def push(
    facts: Facts,
    name: str,
    goal: Float64[np.ndarray, " 3"],
    propose: Proposer,
    config: LmpConfig | None = None,
    note: Note = _unheard,
) -> Skill:
    """Come onto the thing with closed fingers, and drag it to where it is to go (`pushing.py`).

    The second movement has no weights: they would lead the fingers off the thing. True if it then is there.
    """

    def come(facts: Facts, position: Float64[np.ndarray, " 3"], yaw: float) -> Skill:
        movement = Movement(
            start=_state(facts.eef, closed=True),
            goal=_goal(position, yaw, facts, closed=True),
            cylinders=(FINGERS, HAND),
            columns=skyline(scene_points(facts)),
            config=config or LmpConfig(),
        )
        return (yield from _perform(facts, movement, propose, note))

    return (yield from pushing.push(facts, name, goal, come))


def transfer(
    facts: Facts,
    grasp: Grasp,
    name: str,
    over: Float64[np.ndarray, " 3"],
    propose: Proposer,
    config: LmpConfig | None = None,
    note: Note = _unheard,
) -> Skill:
    """Reach, carry, release: one attempt."""
    facts, held = yield from reach(facts, grasp, propose, config, note)
    if not held:
        return facts, False
    facts, carried = yield from carry(facts, name, over, propose, config, note)
    if not carried:
        return facts, False
    return (yield from release(facts, opening_yaw(facts.eef.rotation)))


def _perform(
    facts: Facts,
    movement: Movement,
    propose: Proposer,
    note: Note,
    unless: Callable[[Facts], bool] = lambda facts: False,
) -> Skill:
    parameters = propose(movement)
    note(movement, parameters)
    return (yield from follow(facts, movement.path(parameters), unless))


def follow(facts: Facts, path: Trajectory, unless: Callable[[Facts], bool] = lambda facts: False) -> Skill:
    """Lead the hand along `path`; False as soon as `unless` holds, or where the hand stands still before the end.

    The hand waits at the rows where the path opens or closes it, until the fingers have done so.
    """
    closed = path[:, 4] > CLOSED_ABOVE
    stops = [*np.flatnonzero(np.diff(closed.astype(int))), len(path) - 1]
    gripper, row = CLOSE if closed[0] else OPEN, 0
    for stop in stops:
        standstill = Standstill(facts.eef.position)
        for _ in range(MOST_STEPS):
            while row < stop and np.linalg.norm(path[row, :3] - facts.eef.position) < AHEAD_M:
                row += 1
            left = float(np.linalg.norm(path[row, :3] - facts.eef.position))
            if row == stop and left < ARRIVED_M:
                break
            if unless(facts):
                return facts, False
            if standstill(facts.eef.position):
                break
            facts = yield Command(reach_action(facts.eef, _aim(path[row]), gripper))
        if stop < len(path) - 1:
            gripper = -gripper
            if gripper == CLOSE:
                facts = yield from close_fingers(facts, _aim(path[row]))
            else:
                for _ in range(OPEN_STEPS):
                    facts = yield Command(reach_action(facts.eef, _aim(path[row]), OPEN))
    return facts, bool(np.linalg.norm(path[-1, :3] - facts.eef.position) < NEAR_M)


def _aim(point: State) -> Reach:
    """Straight to a point of the path: a `Reach` whose funnel is a point."""
    return Reach(point[:3], downward(float(point[3])), float(point[2]))


def _state(eef: Pose, closed: bool) -> State:
    return np.array([*eef.position, opening_yaw(eef.rotation), float(closed)])


def _goal(position: Float64[np.ndarray, " 3"], yaw: float, facts: Facts, closed: bool) -> State:
    return np.array([*position, nearest_yaw(yaw, opening_yaw(facts.eef.rotation)), float(closed)])


def _top(points: Points, place: Float64[np.ndarray, " 3"], radius: float, table_m: float) -> float:
    """Height of the highest point within `radius` of a place; the table's where there is none."""
    under = np.linalg.norm(points[:, :2] - place[:2], axis=1) < radius
    return float(points[under, 2].max(initial=table_m))
