"""Into a place that is closed from above, through its open side (`ways.py` finds how)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hone.envs.libero.facts import Facts, Pose
from hone.primitives.articulated import UP, Rotation, Vector, come_to, let_go, straight
from hone.primitives.conditions import stands_at
from hone.primitives.grasps import point_cloud, skyline
from hone.primitives.skills import (
    CLEARANCE_M,
    CLOSE,
    EMPTY_WIDTH_M,
    OPEN,
    SLIPPED_M,
    Reach,
    Skill,
    close_fingers,
    highest_between,
    move,
    offset_in_hand,
    pick,
    rotation_vector,
    scene_points,
)
from hone.primitives.ways import Way, about

MOST_LEVELLED_RAD = 0.4
"""Farthest that the hand turns to make a thing stand that swung between the pads."""
BEFORE_GRASP_M = 0.10
LIFT_M = 0.10


def insert(facts: Facts, thing: str, region_name: str, way: Way) -> Skill:
    """Take the thing, bring it before the opening, go straight in, let go and draw back."""
    standing = way.release.rotation @ way.grasp.rotation.T @ facts.objects[thing].rotation
    if way.lean == 0.0:
        facts, grasped = yield from pick(facts, way.taken)
    else:
        facts, grasped = yield from _pick_leaning(facts, way.grasp)
    if not grasped:
        return facts, False
    grip = offset_in_hand(facts, thing)
    lifted = facts.eef.position + LIFT_M * UP
    high = Reach(lifted, way.grasp.rotation, float(lifted[2]))

    def lost(facts: Facts) -> bool:
        """It may swing between the pads, but not slide."""
        slid = abs(np.linalg.norm(offset_in_hand(facts, thing)) - np.linalg.norm(grip)) > SLIPPED_M
        return bool(slid) or facts.gripper_width_m < EMPTY_WIDTH_M

    facts, arrived = yield from move(facts, lambda _: high, CLOSE, tolerance=0.03, turn_tolerance=0.3, unless=lost)
    if not arrived:
        return facts, False
    grip = offset_in_hand(facts, thing)
    heights = skyline(scene_points(facts, without=thing))
    hang = facts.eef.position[2] - float(point_cloud(facts.shapes[thing], facts.objects[thing])[:, 2].min())

    def within(facts: Facts, offset: Vector) -> Reach:
        """Where the hand has to be for the thing's origin to be off its goal by `offset`, and the thing to stand."""
        rotation = _levelled(facts, thing, standing, way.release.rotation)
        position = way.spot.goal + offset - rotation @ offset_in_hand(facts, thing)
        return Reach(position, rotation, float(position[2]))

    def before(facts: Facts) -> Reach:
        outside = within(facts, -way.spot.run * way.inwards)
        passed = highest_between(heights, facts.eef.position, outside.position)
        return replace(outside, travel=passed + CLEARANCE_M + hang, hover=0.03, outer=0.06)

    facts, arrived = yield from move(facts, before, CLOSE, tolerance=0.012, max_steps=240, unless=lost)
    if not arrived:
        return facts, False
    for offset in (np.zeros(3), -way.spot.lower * UP):
        inside = within(facts, offset)
        facts, _ = yield from straight(facts, inside.position, inside.rotation, CLOSE)
    rotation = facts.eef.rotation
    facts, _ = yield from let_go(facts, rotation, -rotation[:, 2], distance=0.05)
    back = facts.eef.position - 0.10 * way.inwards
    facts, _ = yield from straight(facts, back, rotation, OPEN, tolerance=0.03)
    return facts, stands_at(facts, thing, region_name)


def _levelled(facts: Facts, thing: str, standing: Rotation, hand: Rotation) -> Rotation:
    """The rotation of the hand that makes the thing stand, since it swings between the pads; near `hand`."""
    swung = facts.eef.rotation.T @ facts.objects[thing].rotation
    vector = rotation_vector(standing @ swung.T @ hand.T)
    angle = float(np.linalg.norm(vector))
    return hand if angle < 1e-6 else about(vector / angle, min(angle, MOST_LEVELLED_RAD)) @ hand


def _pick_leaning(facts: Facts, grasp: Pose) -> Skill:
    """Come from above to where the hand points at the grasp, go straight there, close."""
    before = grasp.position - BEFORE_GRASP_M * grasp.rotation[:, 2]
    facts, arrived = yield from come_to(facts, before, grasp.rotation, OPEN)
    if not arrived:
        return facts, False
    facts, arrived = yield from straight(facts, grasp.position, grasp.rotation, OPEN)
    if not arrived:
        return facts, False
    facts = yield from close_fingers(facts, Reach(grasp.position, grasp.rotation, grasp.position[2]))
    return facts, facts.gripper_width_m > EMPTY_WIDTH_M
