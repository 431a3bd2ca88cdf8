"""Drag a flat thing that no gripper can take (a plate) over the table with pressed-down fingers."""

from __future__ import annotations

from collections.abc import Generator

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

STROKES = 8
AHEAD_M = 0.026
"""The fingers press this far from the thing's middle, on the side it is to go to: from there they pull it along."""
PRESS_M = 0.03
LEAD_M = 0.05
SLIPPED_M = 0.02
ARRIVED_M = 0.015


def push(facts: Facts, name: str, goal: Float64[np.ndarray, " 3"]) -> Skill:
    """Drag `name` until its origin is over `goal`; press down anew whenever the fingers slip."""
    for _ in range(STROKES):
        if _left(facts, name, goal) < ARRIVED_M:
            return facts, True
        facts = yield from _stroke(facts, name, goal)
    return facts, _left(facts, name, goal) < ARRIVED_M


def _left(facts: Facts, name: str, goal: Float64[np.ndarray, " 3"]) -> float:
    return float(np.linalg.norm(goal[:2] - facts.objects[name].position[:2]))


def _stroke(facts: Facts, name: str, goal: Float64[np.ndarray, " 3"]) -> Generator[Command, Facts, Facts]:
    """Press down and drag until the thing is there or left behind, then rise."""
    thing = facts.objects[name]
    along = (goal[:2] - thing.position[:2]) / _left(facts, name, goal)
    seat = thing.position[:2] + AHEAD_M * along
    cloud = point_cloud(facts.shapes[name], thing)
    under = np.linalg.norm(cloud[:, :2] - seat, axis=1) < 0.01
    floor = float(cloud[under, 2].max(initial=thing.position[2]))
    rotation = downward(nearest_yaw(np.pi / 2, opening_yaw(facts.eef.rotation)))
    above = np.append(seat, floor + TIP_M + 0.03)
    passed = highest_between(skyline(scene_points(facts)), facts.eef.position, above)
    come = Reach(above, rotation, passed + CLEARANCE_M + TIP_M)
    facts, arrived = yield from move(facts, lambda _: come, CLOSE, tolerance=0.01)
    if not arrived:
        return facts
    pressed = floor + TIP_M - PRESS_M
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
