"""Where a parallel gripper can take hold of a thing from above: candidates, collision checks, a cost.

Every collision shape is sampled to a cloud of points. A candidate is a place, a yaw and a depth; it is feasible if no
point lies where fingers and hand have to be, and good if the pads meet enough of the thing, near its middle, squarely.
The choice is deterministic: the same scene gives the same grasp, so demonstrations of a task look alike.

Gripper frame (columns of the grip site's rotation): x = finger opening, y = sideways, z = approach (down).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float64

from hone.envs.libero.facts import Box, Pose

Points = Float64[np.ndarray, "_ 3"]

TIP_M = 0.012
"""How far the fingertips reach beyond the grip site."""
PAD_REACH_M = 0.036
"""Half the opening that can be used."""
PAD_HALF_WIDTH_M = 0.010
PAD_HALF_HEIGHT_M = 0.010
FINGER_OUTER_M = 0.064
FINGER_HALF_WIDTH_M = 0.011
HAND_HALF_LENGTH_M = 0.105
HAND_HALF_WIDTH_M = 0.034
HAND_ABOVE_M = 0.045
"""The hand starts this far above the grip site."""
SWEPT_M = 0.10
"""Fingers and hand must be free this far up, since they come down from there."""


@dataclass(frozen=True)
class Grasp:
    """A grasp from above. `position` is that of the grip site, `yaw` the world direction of the opening axis.

    `offset` is the place relative to the thing's origin and `top` the height of the thing there; `cost` is in metres.
    """

    position: Float64[np.ndarray, " 3"]
    yaw: float
    width: float
    offset: Float64[np.ndarray, " 3"]
    top: float
    cost: float

    @property
    def rotation(self) -> Float64[np.ndarray, "3 3"]:
        return downward(self.yaw)


@dataclass(frozen=True)
class GraspSearch:
    """Resolution and weights of the search. Metres and radians; a weight turns its term to metres."""

    grid: float = 0.009
    yaws: int = 12
    depths: tuple[float, ...] = (0.020, 0.030, 0.012, 0.005)
    """How far below the thing's local top the pads close; where two are equally good the first is taken."""
    margin: float = 0.004
    table_clearance: float = 0.014
    """Least height of the grip site above what the thing stands on."""
    off_pad: float = 0.005
    """Farthest that the first touch may be from the middle of a pad, sideways."""
    off_centre: float = 3.0
    turn: float = 0.06
    """Per radian of yaw away from the gripper's own: prefers not to turn."""
    depth: float = 0.4
    thin_width: float = 1.5
    """On the width of a wall under 3 cm: prefers to pinch a rim squarely."""
    wide_width: float = 0.1
    side: float = 0.1
    """Along world +y: of two mirrored grasps (a bowl's rims) always the same is taken."""
    stretch: float = 3.0
    """On the hand's distance from the base beyond `arm_reach`, when it picks or when it places: there the arm is nearly
    straight and can hardly be led."""
    arm_reach: float = 0.75


CORNER_SIGNS = np.array(list(product((-1.0, 1.0), repeat=3)))


def point_cloud(boxes: Sequence[Box], pose: Pose, spacing: float = 0.006) -> Points:
    """Points of a grid through each box, faces included, in the world frame."""
    clouds = [np.zeros((0, 3))]
    for box in boxes:
        axes = [np.linspace(-h, h, max(2, int(np.ceil(2 * h / spacing)) + 1)) for h in box.half_size]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        clouds.append(grid @ box.rotation.T + box.center)
    return np.concatenate(clouds) @ pose.rotation.T + pose.position


def corners(boxes: Sequence[Box], pose: Pose) -> Points:
    """Corners of each box in the world frame, eight after eight: enough for how far a thing extends."""
    half_sizes = np.array([box.half_size for box in boxes]).reshape(-1, 1, 3)
    rotations = np.array([box.rotation for box in boxes]).reshape(-1, 3, 3)
    centers = np.array([box.center for box in boxes]).reshape(-1, 1, 3)
    local = (CORNER_SIGNS * half_sizes) @ rotations.transpose(0, 2, 1) + centers
    return local.reshape(-1, 3) @ pose.rotation.T + pose.position


def skyline(points: Points, cell: float = 0.01) -> Points:
    """The highest point of every `cell` of a cloud, seen from above."""
    columns = np.round(points[:, :2] / cell).astype(int)
    order = np.lexsort((-points[:, 2], columns[:, 1], columns[:, 0]))
    _, first = np.unique(columns[order], axis=0, return_index=True)
    return points[order][first]


def downward(yaw: float) -> Float64[np.ndarray, "3 3"]:
    """Rotation of a gripper that points straight down and opens along world direction `yaw`."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, sine, 0.0], [sine, -cosine, 0.0], [0.0, 0.0, -1.0]])


def opening_yaw(rotation: Float64[np.ndarray, "3 3"]) -> float:
    """World direction in which a gripper of this rotation opens, between -pi and pi."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def nearest_yaw(yaw: float, reference: float) -> float:
    """The same grasp, a half turn away if that is nearer to `reference`: the two fingers are alike."""
    return reference + (yaw - reference + np.pi / 2) % np.pi - np.pi / 2


def find_grasps(
    thing: Points,
    origin: Float64[np.ndarray, " 3"],
    obstacles: Points,
    current_yaw: float,
    base: Float64[np.ndarray, " 3"],
    goal: Float64[np.ndarray, " 3"],
    search: GraspSearch | None = None,
) -> Iterator[Grasp]:
    """Every feasible grasp of `thing` (a cloud, with its body's `origin`) from above, best first.

    `base` is where the robot stands, `goal` where the thing's origin is to go. Whether something else is in the way is
    looked at only as far as grasps are taken, since that is most of the work.
    """
    search = search or GraspSearch()
    support = thing[:, 2].min()
    # On the grid of yaws: the noise of the arm's start does not tip the choice.
    current_yaw = round(current_yaw * search.yaws / np.pi) * np.pi / search.yaws
    reach = HAND_HALF_LENGTH_M + np.ptp(thing[:, :2], axis=0).max()
    middle = (thing.min(0) + thing.max(0)) / 2
    near = np.linalg.norm(obstacles[:, :2] - middle[:2], axis=1) < reach + 0.02
    # What is wholly below the lowest grip cannot be hit; it is most of a table top.
    obstacles = obstacles[near & (obstacles[:, 2] > support - 0.005)]
    grasps: list[Grasp] = []
    for step in range(search.yaws):
        yaw = nearest_yaw(step * np.pi / search.yaws, current_yaw)
        grasps += _grasps_at_yaw(thing, origin, yaw, current_yaw, base, goal, support, search)
    for grasp in sorted(grasps, key=lambda grasp: round(grasp.cost, 5)):
        frame = downward(grasp.yaw)[:2, :2]
        others = np.column_stack([obstacles[:, :2] @ frame, obstacles[:, 2]])
        offset = others[None] - np.append(grasp.position[:2] @ frame, grasp.position[2])
        if not _blocked(*_beneath(offset, search.margin), offset[..., 2], search.margin)[0]:
            yield grasp


def _grasps_at_yaw(
    thing: Points,
    origin: Float64[np.ndarray, " 3"],
    yaw: float,
    current_yaw: float,
    base: Float64[np.ndarray, " 3"],
    goal: Float64[np.ndarray, " 3"],
    support: float,
    search: GraspSearch,
) -> list[Grasp]:
    """The grasps at one yaw for which the thing itself leaves room."""
    frame = downward(yaw)[:2, :2]  # columns: opening and sideways direction
    local = np.column_stack([thing[:, :2] @ frame, thing[:, 2]])
    low, high = local[:, :2].min(0), local[:, :2].max(0)
    counts = np.floor((high - low) / 2 / search.grid).astype(int)
    axes = [
        m + search.grid * np.arange(-n, n + 1) for m, n in zip((low + high) / 2, counts, strict=True)
    ]  # symmetric about the middle, which is itself a candidate
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)

    # Slide each candidate along the opening axis until the thing is in the middle between the pads, as closing would.
    column = _column(local, places)
    places = places[column.any(1)]
    top = _highest(local, column[column.any(1)])
    between = _between_pads(local, places, np.maximum(top - search.depths[0], support + search.table_clearance))
    places, top = places[between.any(1)], top[between.any(1)]
    places = places + np.column_stack([_middle(local, places, between[between.any(1)]), np.zeros(len(places))])
    column = _column(local, places)
    places, column = places[column.any(1)], column[column.any(1)]
    top = _highest(local, column)
    fingers, hand = _beneath(local[None, :, :2] - places[:, None], search.margin)

    best = (local.min(0) + local.max(0)) / 2
    grasps = []
    for depth in search.depths:
        height = np.maximum(top - depth, support + search.table_clearance)
        above = local[None, :, 2] - height[:, None]
        between = column & (np.abs(above) < PAD_HALF_HEIGHT_M)
        kept = np.flatnonzero(between.sum(1) >= 3)
        kept = kept[~_blocked(fingers[kept], hand[kept], above[kept], search.margin)]
        first, last, touched = _touched(local, places[kept], between[kept])
        # Where the pads first touch: beside the pads' middle the thing turns or slips out (a rim, tangentially).
        square = touched.max(1, initial=0.0) <= search.off_pad
        kept, first, last, touched = kept[square], first[square], last[square], touched[square]
        width = last - first
        off_centre = np.abs(last + first) / 2 + touched.sum(1)
        position = np.column_stack([places[kept] @ frame.T, height[kept]])
        cost = (
            search.off_centre * off_centre
            + np.linalg.norm(places[kept] - best[:2], axis=1)
            + search.turn * abs(yaw - current_yaw)
            - search.depth * np.minimum(top[kept] - height[kept], 0.02)
            + width * np.where(width < 0.03, search.thin_width, search.wide_width)
            + search.side * (position[:, 1] - origin[1])
            + search.stretch * np.maximum(0.0, _farthest(base, position, goal + position - origin) - search.arm_reach)
        )
        grasps += [
            Grasp(position[i], yaw, float(width[i]), position[i] - origin, float(top[kept[i]]), float(cost[i]))
            for i in range(len(kept))
        ]
    return grasps


def _touched(
    local: Points, places: Float64[np.ndarray, "g 2"], between: Bool[np.ndarray, "g n"]
) -> tuple[Float64[np.ndarray, " g"], Float64[np.ndarray, " g"], Float64[np.ndarray, "g 2"]]:
    """Along the opening axis, the first and the last point between the pads; how far from the pads' middle, sideways,
    each pad touches first."""
    across = local[None, :, 0] - places[:, None, 0]
    beside = local[None, :, 1] - places[:, None, 1]
    last = np.where(between, across, -np.inf).max(1, initial=-np.inf)
    first = np.where(between, across, np.inf).min(1, initial=np.inf)
    sides = []
    for met in (across > last[:, None] - 0.003, across < first[:, None] + 0.003):
        count = np.maximum((met & between).sum(1), 1)
        sides.append(np.abs(np.where(met & between, beside, 0.0).sum(1) / count))
    return first, last, np.stack(sides, axis=1)


def _farthest(base: Float64[np.ndarray, " 3"], *places: Float64[np.ndarray, "g 3"]) -> Float64[np.ndarray, " g"]:
    return np.max([np.linalg.norm(place[:, :2] - base[:2], axis=1) for place in places], axis=0)


def _column(local: Points, places: Float64[np.ndarray, "g 2"]) -> Bool[np.ndarray, "g n"]:
    """Points that lie between the open pads of each candidate, at any height."""
    within = np.abs(local[None, :, 0] - places[:, None, 0]) < PAD_REACH_M
    return within & (np.abs(local[None, :, 1] - places[:, None, 1]) < PAD_HALF_WIDTH_M)


def _highest(local: Points, column: Bool[np.ndarray, "g n"]) -> Float64[np.ndarray, " g"]:
    return np.where(column, local[None, :, 2], -np.inf).max(1, initial=-np.inf)


def _between_pads(
    local: Points, places: Float64[np.ndarray, "g 2"], height: Float64[np.ndarray, " g"]
) -> Bool[np.ndarray, "g n"]:
    """Points that closing pads would meet."""
    return _column(local, places) & (np.abs(local[None, :, 2] - height[:, None]) < PAD_HALF_HEIGHT_M)


def _middle(
    local: Points, places: Float64[np.ndarray, "g 2"], between: Bool[np.ndarray, "g n"]
) -> Float64[np.ndarray, " g"]:
    """How far, along the opening axis, the middle of the points between the pads is from each candidate."""
    across = local[None, :, 0] - places[:, None, 0]
    return (np.where(between, across, -np.inf).max(1) + np.where(between, across, np.inf).min(1)) / 2


def _beneath(
    offset: Float64[np.ndarray, "g n D"], margin: float
) -> tuple[Bool[np.ndarray, "g n"], Bool[np.ndarray, "g n"]]:
    """Points that the open fingers and the hand are above or below; `offset` is from the grip, in its frame."""
    across, beside = np.abs(offset[..., 0]), np.abs(offset[..., 1])
    fingers = (across > PAD_REACH_M) & (across < FINGER_OUTER_M + margin) & (beside < FINGER_HALF_WIDTH_M + margin)
    hand = (across < HAND_HALF_LENGTH_M + margin) & (beside < HAND_HALF_WIDTH_M + margin)
    return fingers, hand


def _blocked(
    fingers: Bool[np.ndarray, "g n"], hand: Bool[np.ndarray, "g n"], above: Float64[np.ndarray, "g n"], margin: float
) -> Bool[np.ndarray, " g"]:
    """Whether some point is where the open fingers or the hand are or come from. `above`: its height over the grip."""
    fingers = fingers & (above > -TIP_M - margin) & (above < SWEPT_M)
    hand = hand & (above > HAND_ABOVE_M - margin) & (above < HAND_ABOVE_M + SWEPT_M)
    return np.any(fingers | hand, axis=1)


def lowest_clear_height(
    points: Points, position: Float64[np.ndarray, " 3"], yaw: float, opening: float, margin: float = 0.01
) -> float:
    """Least height of the grip site over `position` at which neither hand nor fingers are in `points`.

    `opening` is the distance between the pads (m). -inf where nothing is in the way.
    """
    offset = np.abs((points[:, :2] - position[:2]) @ downward(yaw)[:2, :2])
    hand = (offset[:, 0] < HAND_HALF_LENGTH_M) & (offset[:, 1] < HAND_HALF_WIDTH_M)
    fingers = (offset[:, 0] < opening / 2 + FINGER_OUTER_M - PAD_REACH_M) & (offset[:, 1] < FINGER_HALF_WIDTH_M)
    height = points[:, 2] + margin
    return float(
        max((height[hand] - HAND_ABOVE_M).max(initial=-np.inf), (height[fingers] + TIP_M).max(initial=-np.inf))
    )


def unlike(
    grasps: Iterable[Grasp], tried: Sequence[Grasp], distance: float = 0.01, turn: float = 0.3
) -> Iterator[Grasp]:
    """The grasps that differ from every one already tried by `distance` (m) or `turn` (rad); order kept."""
    return (
        grasp
        for grasp in grasps
        if all(
            np.linalg.norm(grasp.offset - other.offset) > distance
            or abs(nearest_yaw(grasp.yaw, other.yaw) - other.yaw) > turn
            for other in tried
        )
    )
