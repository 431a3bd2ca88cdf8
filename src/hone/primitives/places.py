"""Where exactly a thing is to go: a position for its origin, given a region, another thing, a side or a position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts, Region
from hone.language.plan import Beside
from hone.primitives.conditions import beside, open_end
from hone.primitives.grasps import Points, lowest_clear_height, opening_yaw, point_cloud, skyline
from hone.primitives.skills import about_vertical, scene_points

Position = Float64[np.ndarray, " 3"]
Place = str | Beside | Position
"""The name of a region, an object or a fixture; a place beside one; or a position (m)."""

GRID_M = 0.01
INSET_M = 0.01
"""Kept from a region's edge: LIBERO asks that the origin of the thing be within the region."""
SPREAD = 0.6
"""How far from a region's middle things stand that share it, of its half size."""
TIGHT_M = 0.02
"""Room between a thing and a region's sides from which on it is simply let down in the middle."""
ELONGATED = 1.5
"""Length over width of what is turned to fit."""
FARTHEST_TURN_RAD = 1.9
"""From how the hand starts; beyond, the wrist comes to its limits."""
LOWER_M = 0.03
"""What a turn of the hand has to win in depth over a drawer."""
ROOM_M = 0.01
"""Between two things in one region."""


@dataclass(frozen=True)
class Share:
    """Of a surface that several things are to stand on: this is the `number`-th of `count`."""

    number: int
    count: int


@dataclass(frozen=True)
class Spot:
    """A position for a thing's origin (m), and how far it is to be turned about the vertical (rad).

    `aside`: it is led away from what it stood next to, so that the way need not be clear of what is behind it.
    """

    position: Position
    turn: float = 0.0
    aside: bool = False


def place_for(facts: Facts, thing: str, place: Place, share: Share | None = None) -> Position:
    """The middle of a region; given a share, the spot nearest to its middle where the thing stands clear of others."""
    if isinstance(place, np.ndarray):
        return place
    if isinstance(place, Beside):
        return beside(facts, thing, place)
    if place not in facts.regions:
        return {**facts.objects, **facts.fixtures}[place].position
    region = facts.regions[place]
    if share is None:
        return region.pose.position
    return _free_spot(facts, thing, region, _middle(facts, thing, region, share))


def _middle(facts: Facts, thing: str, region: Region, share: Share) -> Position:
    """Shares lie side by side along the axis on which the thing is shorter."""
    if share.count == 1:
        return region.pose.position
    own, ground = point_cloud(facts.shapes[thing], facts.objects[thing]), _Ground(region)
    axis = int(np.argmin(np.ptp(own[:, :2] @ ground.axes, axis=0)))
    along = np.linspace(-SPREAD, SPREAD, share.count)[share.number] * ground.half_size[axis]
    return region.pose.position + along * np.append(ground.axes[:, axis], 0.0)


def _free_spot(facts: Facts, thing: str, region: Region, middle: Position) -> Position:
    ground = _Ground(region)
    others = _standing(facts, thing, region)
    if not len(others):
        return middle
    pose = facts.objects[thing]
    own = skyline(point_cloud(facts.shapes[thing], pose))[:, :2] - pose.position[:2]
    reach = np.maximum(ground.half_size - INSET_M, 0.0)
    steps = [np.arange(-np.floor(r / GRID_M), np.floor(r / GRID_M) + 1) * GRID_M for r in reach]
    grid = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 2)
    spots = region.pose.position[:2] + grid @ ground.axes.T
    room = np.array([np.linalg.norm((own + spot)[:, None] - others[None], axis=2).min() for spot in spots])
    best = np.argmax(np.minimum(room, ROOM_M) - 0.01 * np.linalg.norm(spots - middle[:2], axis=1))
    return np.append(spots[best], middle[2])


def _standing(facts: Facts, thing: str, region: Region) -> Float64[np.ndarray, "_ 2"]:
    """What other things cover of a region and its surroundings, seen from above."""
    clouds: list[Points] = [
        point_cloud(facts.shapes[name], pose)
        for name, pose in facts.objects.items()
        if name not in (thing, region.parent)
    ]
    points = skyline(np.concatenate([np.zeros((0, 3)), *clouds]))
    ground = _Ground(region)
    floor = float(region.pose.position[2] - np.abs(region.pose.rotation[2]) @ region.half_size)
    local = (points[:, :2] - region.pose.position[:2]) @ ground.axes
    near = (np.abs(local) < ground.half_size).all(1) & (points[:, 2] > floor)
    return points[near, :2] if near.any() else np.zeros((0, 2))


def spot_for(facts: Facts, thing: str, place: Place, share: Share | None = None) -> Spot:
    """Where to put a thing that is in the hand, and how far to turn it on the way, so that it fits.

    What is long comes to lie along a narrow region's length.
    """
    position = place_for(facts, thing, place, share)
    if not isinstance(place, str) or place not in facts.regions:
        return Spot(position, aside=isinstance(place, np.ndarray))
    if facts.regions[place].joint is not None:
        return _in_drawer(facts, thing, facts.regions[place])
    return _into(facts, thing, facts.regions[place], position) if share is None else Spot(position)


def _into(facts: Facts, thing: str, region: Region, middle: Position) -> Spot:
    """Down into a narrow region: turned, if it is long, and with its own middle over the region's, not its origin."""
    pose, ground = facts.objects[thing], _Ground(region)
    own = (point_cloud(facts.shapes[thing], pose) - pose.position)[:, :2]
    if (np.ptp(own @ ground.axes, axis=0) / 2 <= ground.half_size - TIGHT_M).all():
        return Spot(middle)
    turn = _turn_along(own, ground, opening_yaw(facts.eef.rotation))
    centre = np.append((own.max(0) + own.min(0)) / 2, 0.0)
    return Spot(middle - about_vertical(turn) @ centre, turn)


def _turn_along(own: Float64[np.ndarray, "_ 2"], ground: _Ground, yaw: float) -> float:
    """The least turn that lays a long thing along a region's length, of those the wrist can make."""
    _, _, axes = np.linalg.svd(own - own.mean(0), full_matrices=False)
    length, width = np.ptp(own @ axes.T, axis=0)
    if length < ELONGATED * width:
        return 0.0
    lies = float(np.arctan2(axes[0, 1], axes[0, 0]))
    long_enough = ground.axes[:, ground.half_size > 0.8 * ground.half_size.max()].T
    turns = [np.arctan2(axis[1], axis[0]) - lies + half * np.pi for axis in long_enough for half in (-2, -1, 0, 1, 2)]
    near = [turn for turn in turns if abs(yaw + turn - np.pi / 2) < FARTHEST_TURN_RAD]
    return float(min(near or turns, key=abs))


class _Ground:
    """A region seen from above: `axes` are the columns of its two level directions, `half_size` its extent on each."""

    def __init__(self, region: Region) -> None:
        upright = int(np.argmax(np.abs(region.pose.rotation[2])))
        level = [axis for axis in range(3) if axis != upright]
        self.axes = region.pose.rotation[:2, level]
        self.half_size = region.half_size[level]


def _in_drawer(facts: Facts, thing: str, region: Region) -> Spot:
    """The way of going down with a held thing in which the hand gets lowest: turned, and off the cabinet's front.

    The middle and no turn, unless another wins `LOWER_M`.
    """
    assert region.joint is not None
    joint, yaw = facts.joints[region.joint], opening_yaw(facts.eef.rotation)
    outwards = joint.axis * np.sign(open_end(joint))
    across = float(np.arctan2(outwards[0], -outwards[1])) - yaw
    others = scene_points(facts, without=thing)
    grip = facts.eef.position - facts.objects[thing].position

    def lowest(spot: Spot) -> float:
        hand = spot.position + about_vertical(spot.turn) @ grip
        return lowest_clear_height(others, hand, yaw + spot.turn, facts.gripper_width_m)

    plain = Spot(region.pose.position)
    turns = [across + half * np.pi for half in (-2, -1, 0, 1, 2)]
    spots = [
        Spot(region.pose.position + shift * outwards, turn)
        for turn in turns
        for shift in (0.0, 0.01, 0.02, 0.03)
        if abs(yaw + turn - np.pi / 2) < FARTHEST_TURN_RAD
    ]
    best = min(spots, key=lambda spot: lowest(spot) + 0.001 * abs(spot.turn), default=plain)
    return best if lowest(best) < lowest(plain) - LOWER_M else plain
