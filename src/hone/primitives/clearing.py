"""What a drawer, the hand that pulls it, or a pushed thing would meet on its way, and where else that could stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts
from hone.primitives.articulated import BEFORE_HANDLE_M, HIGHEST_ON_HANDLE_M, opening_direction, outermost
from hone.primitives.conditions import open_end
from hone.primitives.grasps import HAND_HALF_LENGTH_M, HAND_HALF_WIDTH_M, point_cloud, skyline
from hone.primitives.skills import scene_points

ROOM_M = 0.02
"""Least distance from such a path at which a thing may stay."""
FARTHEST_M = 0.75
"""From the robot's foot: where a thing may be put aside."""
NEAREST_M = 0.45
"""Nearer to the foot the folded arm is slow to get where it should: such places only for want of others."""
Flat = Float64[np.ndarray, "_ 2"]


def in_the_way(facts: Facts, joint: str, later: Sequence[str] = ()) -> list[str]:
    """Things that stand high enough to be hit, and those to be moved `later` that would be under the open drawer."""
    drawer, hand = drawer_path(facts, joint)
    part = facts.joints[joint].part
    underside = float(point_cloud(facts.shapes[part], facts.parts[part])[:, 2].min())
    knuckles = float(_handle(facts, joint)[2]) + HIGHEST_ON_HANDLE_M - HAND_HALF_LENGTH_M
    hit = []
    for name, pose in facts.objects.items():
        cloud = point_cloud(facts.shapes[name], pose)
        radius, top = float(np.linalg.norm((cloud - pose.position)[:, :2], axis=1).max()), float(cloud[:, 2].max())
        drawer_meets = _distance(drawer, pose.position) < radius + ROOM_M
        hand_meets = _distance(hand, pose.position) < radius
        if name in later:
            meets = drawer_meets or hand_meets
        else:
            meets = (drawer_meets and top > underside) or (hand_meets and top > knuckles)
        if meets and not _inside(facts, joint, pose.position):
            hit.append(name)
    return hit


def before(facts: Facts, thing: str, goal: Float64[np.ndarray, " 3"]) -> list[str]:
    """Things that a pushed one would take along instead of brushing aside: the middle of its path meets theirs."""
    here = facts.objects[thing].position[:2]
    cloud = point_cloud(facts.shapes[thing], facts.objects[thing])[:, :2] - here
    radius = float(np.linalg.norm(cloud, axis=1).max())
    line = here + np.linspace(0.0, 1.0, 50)[:, None] * (goal[:2] - here)
    floor = facts.objects[thing].position[2] - ROOM_M
    return [
        name
        for name, pose in facts.objects.items()
        if name != thing and pose.position[2] > floor and _distance(line, pose.position) < radius
    ]


def push_path(facts: Facts, thing: str, goal: Float64[np.ndarray, " 3"]) -> Flat:
    """Where the pushed thing will be, seen from above."""
    pose = facts.objects[thing]
    own = skyline(point_cloud(facts.shapes[thing], pose))[:, :2]
    return (own + np.linspace(0.0, 1.0, 20)[:, None, None] * (goal - pose.position)[:2]).reshape(-1, 2)


def free_place(facts: Facts, thing: str, path: Flat) -> Float64[np.ndarray, " 3"] | None:
    """The nearest place on the same level, well within reach, that `path` and other things leave free."""
    here = facts.objects[thing].position
    own = point_cloud(facts.shapes[thing], facts.objects[thing])[:, :2] - here[:2]
    radius = float(np.linalg.norm(own, axis=1).max())
    others = scene_points(facts, without=thing)
    taken = np.concatenate([path, others[others[:, 2] > here[2] - ROOM_M, :2]])
    grid = np.arange(-0.30, 0.301, 0.02)
    places = here[:2] + np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    from_foot = np.linalg.norm(places - facts.base.position[:2], axis=1)
    worth = np.linalg.norm(places - here[:2], axis=1) + 2.0 * np.maximum(NEAREST_M - from_foot, 0.0)
    places = places[from_foot < FARTHEST_M][np.argsort(worth[from_foot < FARTHEST_M])]
    for spot in places:
        if np.linalg.norm(taken - spot, axis=1).min() > radius + ROOM_M:
            return np.append(spot, here[2])
    return None


def drawer_path(facts: Facts, joint: str) -> tuple[Flat, Flat]:
    """Where the opening drawer and the hand that pulls it will be, seen from above."""
    part, way = facts.joints[joint].part, opening_direction(facts.joints[joint])[:2]
    travel = np.arange(0.0, abs(open_end(facts.joints[joint])) + BEFORE_HANDLE_M, 0.01)[:, None, None]
    drawer = skyline(point_cloud(facts.shapes[part], facts.parts[part]))[:, :2]
    across = np.linspace(-HAND_HALF_WIDTH_M, HAND_HALF_WIDTH_M, 7)[:, None] * np.array([-way[1], way[0]])
    hand = _handle(facts, joint)[:2] + across
    return (drawer + travel * way).reshape(-1, 2), (hand + travel * way).reshape(-1, 2)


def _handle(facts: Facts, joint: str) -> Float64[np.ndarray, " 3"]:
    return outermost(facts, facts.joints[joint].part, opening_direction(facts.joints[joint]))[0]


def _distance(swept: Flat, position: Float64[np.ndarray, " 3"]) -> float:
    return float(np.linalg.norm(swept - position[:2], axis=1).min())


def _inside(facts: Facts, joint: str, position: Float64[np.ndarray, " 3"]) -> bool:
    """In the drawer, and so carried along."""
    for region in facts.regions.values():
        local = region.pose.rotation.T @ (position - region.pose.position)
        if region.joint == joint and (np.abs(local) < region.half_size + 0.02).all():
            return True
    return False
