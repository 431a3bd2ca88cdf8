"""Where exactly a thing is to go: a position for its origin, given a region, another thing, a side or a position."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts, Region
from hone.language.plan import Beside
from hone.primitives.conditions import beside
from hone.primitives.grasps import Points, opening_yaw, point_cloud, skyline

Position = Float64[np.ndarray, " 3"]
Place = str | Beside | Position
"""The name of a region, an object or a fixture; a place beside one; or a position (m)."""

GRID_M = 0.01
INSET_M = 0.01
"""Kept from a region's edge: LIBERO asks that the origin of the thing be within the region."""
ROOM_M = 0.01
"""Between two things in one region."""


def place_for(facts: Facts, thing: str, place: Place) -> Position:
    """The middle of a region, or the spot in it nearest to its middle where the thing stands clear of the others."""
    if isinstance(place, np.ndarray):
        return place
    if isinstance(place, Beside):
        return beside(facts, thing, place)
    if place not in facts.regions:
        return {**facts.objects, **facts.fixtures}[place].position
    return _free_spot(facts, thing, facts.regions[place])


def _free_spot(facts: Facts, thing: str, region: Region) -> Position:
    middle = region.pose.position
    floor = middle[2] - region.half_size[2]
    others = _standing(facts, thing, region, floor)
    if not len(others):
        return middle
    pose = facts.objects[thing]
    own = skyline(point_cloud(facts.shapes[thing], pose))[:, :2] - pose.position[:2]
    reach = np.maximum(region.half_size[:2] - INSET_M, 0.0)
    steps = [np.arange(-np.floor(r / GRID_M), np.floor(r / GRID_M) + 1) * GRID_M for r in reach]
    offsets = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 2) @ region.pose.rotation[:2, :2].T
    room = np.array([np.linalg.norm((own + middle[:2] + o)[:, None] - others[None], axis=2).min() for o in offsets])
    best = np.argmax(np.minimum(room, ROOM_M) - 0.01 * np.linalg.norm(offsets, axis=1))
    return np.append(middle[:2] + offsets[best], middle[2])


def _standing(facts: Facts, thing: str, region: Region, floor: float) -> Float64[np.ndarray, "_ 2"]:
    """What other things cover of a region and its surroundings, seen from above."""
    clouds: list[Points] = [
        point_cloud(facts.shapes[name], pose)
        for name, pose in facts.objects.items()
        if name not in (thing, region.parent)
    ]
    points = skyline(np.concatenate([np.zeros((0, 3)), *clouds]))
    local = (points - region.pose.position) @ region.pose.rotation
    near = (np.abs(local[:, :2]) < region.half_size[:2]).all(1) & (points[:, 2] > floor)
    return points[near, :2] if near.any() else np.zeros((0, 2))


def turn_for(facts: Facts, thing: str, place: Place) -> float:
    """How far to turn a held thing about the vertical (rad), so that what is long lies along a narrow region's length.

    Zero where it fits as it is. Of two equal turns the one is taken that leaves the hand nearer to how it starts.
    """
    if not isinstance(place, str) or place not in facts.regions:
        return 0.0
    region, pose = facts.regions[place], facts.objects[thing]
    own = (point_cloud(facts.shapes[thing], pose) - pose.position) @ region.pose.rotation
    extent = (own.max(0) - own.min(0))[:2] / 2
    if (extent <= region.half_size[:2] + ROOM_M).all():
        return 0.0
    flat = own[:, :2] - own[:, :2].mean(0)
    _, _, axes = np.linalg.svd(flat, full_matrices=False)
    lies = float(np.arctan2(axes[0, 1], axes[0, 0]))
    wanted = 0.0 if region.half_size[0] >= region.half_size[1] else np.pi / 2
    turn = (wanted - lies + np.pi / 2) % np.pi - np.pi / 2
    yaw = opening_yaw(facts.eef.rotation)
    return min((turn, turn - np.pi, turn + np.pi), key=lambda t: abs(yaw + t - np.pi / 2))
