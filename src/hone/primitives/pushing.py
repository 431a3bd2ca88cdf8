"""Drag a flat thing that no gripper can take (a plate) over the table with closed fingers that press on it a little.

Fingers and plate stick no better than plate and table, so pressing harder does not help: it tilts the plate under the
fingers. A few newtons are enough, and far below what the safety limits allow.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts
from hone.primitives.grasps import TIP_M, downward, nearest_yaw, opening_yaw, point_cloud, skyline
from hone.primitives.skills import (
    CLEARANCE_M,
    CLOSE,
    Command,
    Reach,
    Skill,
    highest_between,
    move,
    reach_action,
    scene_points,
)

Vector = Float64[np.ndarray, " 3"]
Come = Callable[[Facts, Vector, float], Skill]
"""Brings the grip site of a hand with closed fingers to a position (m), pointing down, with a yaw (rad)."""

STROKES = 8
AHEAD_M = 0.026
"""The fingers press this far from the thing's middle, on the side it is to go to: from there they pull it along."""
ABOVE_M = 0.03
PRESS_M = 0.008
LEAD_M = 0.05
SLIPPED_M = 0.02
ARRIVED_M = 0.015


def come_over(facts: Facts, position: Vector, yaw: float) -> Skill:
    """Over everything on the way, then down."""
    passed = highest_between(skyline(scene_points(facts)), facts.eef.position, position)
    down = Reach(position, downward(yaw), passed + CLEARANCE_M + TIP_M)
    return (yield from move(facts, lambda _: down, CLOSE, tolerance=0.01))


def push(facts: Facts, name: str, goal: Vector, come: Come = come_over) -> Skill:
    """Drag `name` until its origin is over `goal`; press down anew whenever the fingers slip."""
    for _ in range(STROKES):
        if _left(facts, name, goal) < ARRIVED_M:
            return facts, True
        facts = yield from _stroke(facts, name, goal, come)
    return facts, _left(facts, name, goal) < ARRIVED_M


def _left(facts: Facts, name: str, goal: Vector) -> float:
    return float(np.linalg.norm(goal[:2] - facts.objects[name].position[:2]))


def _stroke(facts: Facts, name: str, goal: Vector, come: Come) -> Generator[Command, Facts, Facts]:
    """Press down and drag until the thing is there or left behind, then rise."""
    thing = facts.objects[name]
    along = (goal[:2] - thing.position[:2]) / _left(facts, name, goal)
    seat = thing.position[:2] + AHEAD_M * along
    cloud = point_cloud(facts.shapes[name], thing)
    under = np.linalg.norm(cloud[:, :2] - seat, axis=1) < 0.01
    floor = float(cloud[under, 2].max(initial=thing.position[2]))
    yaw = nearest_yaw(np.pi / 2, opening_yaw(facts.eef.rotation))
    facts, arrived = yield from come(facts, np.append(seat, floor + TIP_M + ABOVE_M), yaw)
    if not arrived:
        return facts
    rotation, pressed = downward(yaw), floor + TIP_M - PRESS_M
    for _ in range(12):
        facts = yield Command(reach_action(facts.eef, Reach(np.append(seat, pressed), rotation, pressed), CLOSE))
    offset = facts.objects[name].position[:2] - facts.eef.position[:2]
    for _ in range(120):
        slipped = np.linalg.norm(facts.objects[name].position[:2] - facts.eef.position[:2] - offset)
        if _left(facts, name, goal) < ARRIVED_M or slipped > SLIPPED_M:
            break
        ahead = goal[:2] - facts.objects[name].position[:2]
        aim = facts.eef.position[:2] + LEAD_M * ahead / np.linalg.norm(ahead)
        facts = yield Command(reach_action(facts.eef, Reach(np.append(aim, pressed), rotation, pressed), CLOSE))
    here = facts.eef.position
    rise = Reach(np.append(here[:2], floor + 0.08), rotation, floor + 0.08)
    facts, _ = yield from move(facts, lambda _: rise, CLOSE, tolerance=0.02, max_steps=40)
    return facts
