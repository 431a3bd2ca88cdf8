"""How a thing gets into a place that is closed from above: a microwave, a shelf.

The hand does not fit in, so how the thing is held depends on where it is to go. A `Way` is a grasp (with the hand
pointing down, or leaning forward) and a turn and a tilt on the way, so that at the end the thing is inside, the hand is
not, and neither meets anything while it goes straight in. Ways are found by trying a few leans and turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from hone.envs.libero.facts import Facts, Pose, Region
from hone.primitives.articulated import UP, Rotation, Vector
from hone.primitives.boxes import Boxes
from hone.primitives.grasps import (
    FINGER_HALF_WIDTH_M,
    FINGER_OUTER_M,
    HAND_ABOVE_M,
    HAND_HALF_LENGTH_M,
    HAND_HALF_WIDTH_M,
    PAD_REACH_M,
    TIP_M,
    Grasp,
    GraspSearch,
    Points,
    downward,
    find_grasps,
    nearest_yaw,
    opening_yaw,
    point_cloud,
    unlike,
)
from hone.primitives.skills import (
    about_vertical,
    scene_points,
)

LEANS_RAD = tuple(np.deg2rad((0.0, 60.0, 45.0)))
"""How far from pointing down a hand may lean when it takes something."""
TILTS_RAD = tuple(np.deg2rad((60.0, 75.0, 90.0)))
"""How far it may lean forward afterwards, with what it took pointing down."""
TURNS_RAD = tuple(np.deg2rad((0.0, 45.0, -45.0, 90.0, -90.0)))
FARTHEST_TURN_RAD = 1.9
"""From how the hand starts; beyond, the wrist comes to its limits."""
SIDES_M = np.array([0.0, 0.03, -0.03, 0.06, -0.06])
"""Off the middle of the region."""
GRASPS = 40
"""Of each kind that are looked at."""
DROOP = 2.0
"""Weight, beside a grasp's other costs, of the arm on which a thing swings between the pads."""
ROOM_M = 0.007
HAND_ROOM_M = 0.008
"""Between what moves, the thing or the hand, and what stands."""
OVER_FLOOR_M = (0.025, 0.010)
"""How high above the floor it goes in: the first that leaves room above."""
SET_DOWN_M = 0.004
"""How high above it it is let go."""
LEAST_INSIDE_M = 0.015
"""How far behind the region's edge the thing's origin has to come."""
WELL_INSIDE_M = 0.025
OUTSIDE_M = 0.045
"""Between a thing's foremost point and the region, where it begins to go straight in."""
WRIST_M = 0.05
"""Half the width of what follows the hand."""
NEAR_M = 0.40
"""From the region: what stands farther off is not met on the last straight piece."""


@dataclass(frozen=True)
class Spot:
    """Where a thing fits, all in metres: its origin, how far it goes in straight, how far behind the region's edge its
    origin comes, and how much lower it is set down."""

    goal: Vector
    run: float
    inside: float
    lower: float


@dataclass(frozen=True)
class Way:
    """`grasp` and `release` are poses of the grip site; between them the thing goes to `spot`, straight along `inwards`
    at last. `taken` is the grasp in a frame that leans by `lean` (rad)."""

    taken: Grasp
    lean: float
    grasp: Pose
    release: Pose
    inwards: Vector
    spot: Spot


def find_way(facts: Facts, thing: str, region_name: str, tried: Sequence[Grasp]) -> Way | None:
    """The way in with the least turning that ends well inside, or else the one that ends deepest; None if none."""
    search = _Search(facts, thing, facts.regions[region_name])
    best: Way | None = None
    for way in search.ways(tried):
        if way.spot.inside >= WELL_INSIDE_M:
            return way
        if best is None or way.spot.inside > best.spot.inside:
            best = way
    return best


class _Search:
    """What does not change while ways are tried."""

    def __init__(self, facts: Facts, thing: str, region: Region) -> None:
        self._facts, self._thing, self._region = facts, thing, region
        self._pose = facts.objects[thing]
        self._cloud = point_cloud(facts.shapes[thing], self._pose)
        self._coarse = point_cloud(facts.shapes[thing], self._pose, spacing=0.02) - self._pose.position
        self._scene = scene_points(facts, without=thing)
        things = {**facts.objects, **facts.fixtures, **facts.parts}
        del things[thing]
        self._others = Boxes.of(things, facts).near(region.pose.position, NEAR_M)
        self._known: dict[tuple[float, ...], list[Spot]] = {}
        self._ground = min(
            float(point_cloud(facts.shapes[name], pose)[:, 2].min()) for name, pose in facts.objects.items()
        )
        self._inwards = way_in(facts, region)
        self._half = float(np.abs(self._inwards @ region.pose.rotation) @ region.half_size)
        self._floor = self._floor_height()

    def ways(self, tried: Sequence[Grasp]) -> Iterator[Way]:
        """Upright, taken from above or by a leaning hand; then taken from above and tilted."""
        down = self._grasps(0.0, 0.0, tried)
        for turn, lean in product(TURNS_RAD, LEANS_RAD):
            if self._spots(about_vertical(turn)):
                for taken, grasp in self._grasps(lean, turn, tried) if lean else down:
                    if abs(taken.yaw + turn - np.pi / 2) < FARTHEST_TURN_RAD:
                        yield from self._goes_in(taken, grasp, about_vertical(turn) @ grasp.rotation, lean)
        for tilt in TILTS_RAD:
            for taken, grasp in down:
                for end in self._tilted(grasp, tilt):
                    yield from self._goes_in(taken, grasp, end, 0.0)

    def _grasps(self, lean: float, turn: float, tried: Sequence[Grasp]) -> list[tuple[Grasp, Pose]]:
        """Grasps by a hand that leans towards what will be `inwards` after the turn."""
        forward = about_vertical(-turn) @ self._inwards
        upright = about(np.cross(forward, UP), lean).T  # turns a leaning hand's world so that the hand points down
        others = np.concatenate([self._scene, self._table()])
        found = find_grasps(
            self._cloud @ upright.T,
            upright @ self._pose.position,
            others @ upright.T,
            np.pi / 2 if lean else opening_yaw(self._facts.eef.rotation),
            upright @ self._facts.base.position,
            upright @ self._pose.position,
            GraspSearch(stretch=0.0),
        )
        taken: list[Grasp] = []
        for grasp in unlike(found, tried):
            if len(taken) == GRASPS:
                break
            if list(unlike([grasp], taken, distance=0.02, turn=0.5)):
                taken.append(grasp)
        poses = [Pose(upright.T @ grasp.position, upright.T @ grasp.rotation) for grasp in taken]
        weights = [grasp.cost + DROOP * self._lever(pose) for grasp, pose in zip(taken, poses, strict=True)]
        order = np.argsort(weights, kind="stable")
        return [(taken[index], poses[index]) for index in order]

    def _lever(self, grasp: Pose) -> float:
        """Arm of the thing's weight about the axis on which the pads let it swing (m)."""
        away = self._cloud.mean(0) - grasp.position
        return abs(float(grasp.rotation[:, 0] @ np.cross(away, UP)))

    def _tilted(self, grasp: Pose, tilt: float) -> list[Rotation]:
        """The hand tilted forward, opening along or across the way in."""
        along = float(np.arctan2(self._inwards[1], self._inwards[0]))
        now = opening_yaw(grasp.rotation)
        yaws = [nearest_yaw(along + side, now) + half for side in (0.0, np.pi / 2) for half in (0.0, np.pi, -np.pi)]
        yaws = sorted(yaws, key=lambda yaw: abs(yaw - now))
        forward = about(np.cross(self._inwards, UP), tilt)
        return [forward @ downward(yaw) for yaw in yaws if abs(yaw - np.pi / 2) < FARTHEST_TURN_RAD]

    def _goes_in(self, taken: Grasp, grasp: Pose, end: Rotation, lean: float) -> Iterator[Way]:
        """The deepest of the thing's spots in which the hand is clear of everything, all the way in."""
        turned = end @ grasp.rotation.T
        grip = turned @ (grasp.position - self._pose.position)
        hand = _HAND @ end.T + grip
        spots = self._spots(turned)
        outermost = [spot for spot in spots if spot.inside == spots[-1].inside]
        if not any(self._clear(hand + spot.goal, HAND_ROOM_M) for spot in outermost):
            return
        for spot in spots:
            path = [spot.goal - spot.lower * UP, *_path(spot, self._inwards)]
            if all(self._clear(hand + place, HAND_ROOM_M) for place in path):
                yield Way(taken, lean, grasp, Pose(spot.goal + grip, end), self._inwards, spot)
                return

    def _spots(self, turned: Rotation) -> list[Spot]:
        """Where the thing, turned so, is clear of everything all the way in, deepest first."""
        key = tuple(np.round(turned.ravel(), 2))
        if key not in self._known:
            self._known[key] = list(self._find_spots(turned))
        return self._known[key]

    def _find_spots(self, turned: Rotation) -> Iterator[Spot]:
        own = self._coarse @ turned.T
        middle, sideways = self._region.pose.position, np.cross(UP, self._inwards)
        bottom = self._floor - float(own[:, 2].min())
        if abs(bottom - middle[2]) > self._region.half_size[2]:
            return
        centre = (own.min(0) + own.max(0)) / 2
        across = float(np.abs(sideways @ self._region.pose.rotation) @ self._region.half_size) - LEAST_INSIDE_M
        sides = [side for side in SIDES_M - float(centre @ sideways) if abs(side) < across]
        deepest = min(-float(centre @ self._inwards), self._half - LEAST_INSIDE_M)
        for depth in np.arange(deepest, -self._half + LEAST_INSIDE_M, -0.015):
            run = float(depth + self._half + (own @ self._inwards).max() + OUTSIDE_M)
            for side, over in product(sides, OVER_FLOOR_M):
                goal = middle + depth * self._inwards + side * sideways
                goal[2] = bottom + over
                spot = Spot(goal, run, float(depth + self._half), over - SET_DOWN_M)
                if all(self._clear(own + place, ROOM_M) for place in _path(spot, self._inwards)):
                    yield spot

    def _clear(self, points: Points, room: float) -> bool:
        return bool((points[:, 2] > self._ground + 0.002).all() and not self._others.contain(points, room).any())

    def _floor_height(self) -> float:
        """What a thing in the region stands on."""
        points, middle = self._scene, self._region.pose.position
        under = (np.linalg.norm((points - middle)[:, :2], axis=1) < 0.03) & (points[:, 2] < middle[2])
        return float(points[under, 2].max(initial=self._ground))

    def _table(self) -> Points:
        """Points of the table about the thing."""
        grid = np.arange(-0.25, 0.251, 0.01)
        flat = self._pose.position[:2] + np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
        return np.column_stack([flat, np.full(len(flat), self._cloud[:, 2].min() - 0.002)])


def _path(spot: Spot, inwards: Vector) -> list[Vector]:
    return [spot.goal - back * inwards for back in np.linspace(0.0, spot.run, 5)]


def way_in(facts: Facts, region: Region) -> Vector:
    """The level direction (a unit vector) into a region from its open side: where nothing of its parent stands."""
    assert region.parent is not None
    boxes = Boxes.of({region.parent: facts.fixtures[region.parent]}, facts)
    steps = np.arange(0.0, 1.3, 0.05)[:, None]
    met = {}
    for axis in range(3):
        direction = region.pose.rotation[:, axis]
        if abs(direction[2]) > 0.5:
            continue
        for outwards in (direction, -direction):
            line = region.pose.position + steps * region.half_size[axis] * outwards
            met[tuple(-outwards)] = int(boxes.contain(line, 0.01).sum())
    return np.array(min(met, key=lambda direction: met[direction]))


def about(axis: Vector, angle: float) -> Rotation:
    """Rodrigues' formula; `axis` is a unit vector."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def _hand_cloud() -> Points:
    """Fingers (closed about something), hand and wrist, in the gripper's frame."""
    finger = FINGER_OUTER_M - PAD_REACH_M
    spans = (
        ((-finger - 0.01, finger + 0.01), (-FINGER_HALF_WIDTH_M, FINGER_HALF_WIDTH_M), (-HAND_ABOVE_M, TIP_M)),
        (
            (-HAND_HALF_LENGTH_M, HAND_HALF_LENGTH_M),
            (-HAND_HALF_WIDTH_M, HAND_HALF_WIDTH_M),
            (-HAND_ABOVE_M - 0.10, -HAND_ABOVE_M),
        ),
        ((-WRIST_M, WRIST_M), (-WRIST_M, WRIST_M), (-HAND_ABOVE_M - 0.20, -HAND_ABOVE_M - 0.10)),
    )
    clouds = []
    for span in spans:
        axes = [np.linspace(low, high, max(2, round((high - low) / 0.025) + 1)) for low, high in span]
        clouds.append(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3))
    return np.concatenate(clouds)


_HAND = _hand_cloud()
