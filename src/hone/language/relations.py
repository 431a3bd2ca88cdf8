"""Which things stand in a spatial relation ("on the ramekin", "next to the plate", "on the left"), by geometry.

Sides are those of somebody who faces the robot (see `Beside`): left is -y, front is +x. Lengths in metres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts
from hone.language.lexicon import Kind
from hone.language.names import is_volume, regions_of

DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (0.0, -1.0),
    "right": (0.0, 1.0),
    "front": (1.0, 0.0),
    "back": (-1.0, 0.0),
}
"""From what LIBERO's regions `…_plate_right_region`, `…_stove_front_region` and the like are to what they name."""
LEVEL_M = 0.03
"""Things whose undersides differ less in height stand on one level."""
STANDING_M = 0.10
"""How far above a surface the origin of a thing on it may be (LIBERO's `On`)."""
NEAR_M = 0.15
"""Widest gap between things that are next to each other."""
CLEAR_M = 0.02
"""What is nearest, or farthest to a side, must be so by this much."""
TABLE_AHEAD_M = 0.6
"""From the robot's foot to the middle of the table; off by at most 9 cm in LIBERO's arenas."""

Vector = Float64[np.ndarray, " 3"]


def select(facts: Facts, things: Sequence[str], kind: Kind, anchors: Sequence[str], several: bool) -> list[str]:
    """The things for which the relation to the anchors holds; of the nearness relations only the nearest, unless
    `several` are meant. More than one remains where none is clearly the nearest."""
    if kind in ("left", "right", "front", "back", "middle") and not anchors:
        return _extreme(facts, things, kind)
    if kind in ("on", "top", "in", "from", "under"):
        held = _HOLDS[kind]
        return [thing for thing in things if any(held(facts, thing, anchor) for anchor in anchors if anchor != thing)]
    distances = {thing: _distance(facts, thing, kind, anchors) for thing in things if thing not in anchors}
    near = {thing: distance for thing, distance in distances.items() if np.isfinite(distance)}
    if several or not near:
        return list(near)
    return [thing for thing, distance in near.items() if distance < min(near.values()) + CLEAR_M]


def extent(facts: Facts, name: str) -> tuple[Vector, Vector]:
    """Lowest and highest corner of a thing's collision boxes, or of a region, along the world's axes."""
    if name in facts.regions:
        region = facts.regions[name]
        half = np.abs(region.pose.rotation) @ region.half_size
        return region.pose.position - half, region.pose.position + half
    pose = facts.objects[name] if name in facts.objects else facts.fixtures[name]
    centers = np.array([pose.position + pose.rotation @ box.center for box in facts.shapes[name]])
    halves = np.array([np.abs(pose.rotation @ box.rotation) @ box.half_size for box in facts.shapes[name]])
    return (centers - halves).min(axis=0), (centers + halves).max(axis=0)


def _center(facts: Facts, name: str) -> Vector:
    low, high = extent(facts, name)
    return (low + high) / 2


def _is_within(facts: Facts, thing: str, place: str, above: float) -> bool:
    """Whether the thing's origin is inside the place's extent, which is heightened by `above`."""
    (low, high), position = extent(facts, place), facts.objects[thing].position
    return bool(np.all(position > low - np.array([0, 0, 0.01])) and np.all(position < high + np.array([0, 0, above])))


def _is_in(facts: Facts, thing: str, anchor: str) -> bool:
    """In a region as LIBERO's `In` has it, in one of a thing's, or in a thing that has none: a bowl."""
    if anchor in facts.regions:
        return _is_within(facts, thing, anchor, above=0.0)
    volumes = [region for region in regions_of(facts, anchor) if is_volume(facts, region)]
    return any(_is_in(facts, thing, region) for region in volumes) or (not volumes and _is_on(facts, thing, anchor))


def _is_on(facts: Facts, thing: str, anchor: str) -> bool:
    """On a surface of the anchor, as LIBERO's `On` has it; on an object: above it, and higher than it stands."""
    if anchor in facts.regions:
        return _is_within(facts, thing, anchor, above=0.0 if is_volume(facts, anchor) else STANDING_M)
    if anchor in facts.fixtures:
        return any(_is_on(facts, thing, region) for region in regions_of(facts, anchor) if not is_volume(facts, region))
    (low, high), position = extent(facts, anchor), _center(facts, thing)
    over = np.all(position[:2] > low[:2]) and np.all(position[:2] < high[:2])
    bottom = extent(facts, thing)[0][2]
    return bool(over and low[2] + 0.002 < bottom < high[2] + LEVEL_M)


def _is_under(facts: Facts, thing: str, anchor: str) -> bool:
    """Over the same ground, and lower."""
    (low, high), position = extent(facts, anchor), _center(facts, thing)
    over = np.all(position[:2] > low[:2]) and np.all(position[:2] < high[:2])
    return bool(over and position[2] < (low[2] + high[2]) / 2)


_HOLDS: dict[Kind, Callable[[Facts, str, str], bool]] = {
    "on": _is_on,
    "top": _is_on,
    "in": _is_in,
    "from": lambda facts, thing, anchor: _is_on(facts, thing, anchor) or _is_in(facts, thing, anchor),
    "under": _is_under,
}


def _distance(facts: Facts, thing: str, kind: Kind, anchors: Sequence[str]) -> float:
    """How far the thing is from where the relation points; infinite where the relation does not hold."""
    here = _center(facts, thing)[:2]
    bottom = extent(facts, thing)[0][2]
    if kind == "table":
        grounds = [extent(facts, name)[0][2] for name in facts.objects]
        middle = facts.base.position[:2] + np.array([TABLE_AHEAD_M, 0.0])
        return float(np.linalg.norm(here - middle)) if bottom < min(grounds) + LEVEL_M else np.inf
    if kind == "between":
        if len(anchors) != 2:
            return np.inf
        start, end = (_center(facts, anchor)[:2] for anchor in anchors)
        along = float(np.dot(here - start, end - start) / np.dot(end - start, end - start))
        aside = np.linalg.norm(here - start - along * (end - start))
        between = 0.0 < along < 1.0 and aside < np.linalg.norm(end - start) / 2
        return float(np.linalg.norm(here - (start + end) / 2)) if between else np.inf
    return min((_offset(facts, thing, kind, anchor) for anchor in anchors), default=np.inf)


def _offset(facts: Facts, thing: str, kind: Kind, anchor: str) -> float:
    """Gap between thing and anchor, seen from above, where they stand on one level; for a side, on that side."""
    (low, high), (anchor_low, anchor_high) = extent(facts, thing), extent(facts, anchor)
    gap = np.maximum(0.0, np.maximum(anchor_low - high, low - anchor_high))[:2]
    if abs(low[2] - anchor_low[2]) > LEVEL_M:
        return np.inf
    if kind == "near":
        distance = float(np.linalg.norm(gap))
        return distance if distance < NEAR_M else np.inf
    away = _center(facts, thing)[:2] - _center(facts, anchor)[:2]
    ahead = float(np.dot(away, DIRECTIONS[kind]))
    return float(np.linalg.norm(away)) if ahead > 0.7 * np.linalg.norm(away) else np.inf


def _extreme(facts: Facts, things: Sequence[str], kind: Kind) -> list[str]:
    """The thing farthest to a side, or the middle one of an odd number; a single thing is itself.

    "Middle" counts along the axis on which the things spread most.
    """
    if len(things) < 2:
        return list(things)
    places = np.array([_center(facts, thing)[:2] for thing in things])
    if kind == "middle":
        along = places[:, np.argmax(np.ptp(places, axis=0))]
        middle = things[int(np.argsort(along)[len(things) // 2])]
        return [middle] if len(things) % 2 else list(things)
    along = places @ np.array(DIRECTIONS[kind])
    return [thing for thing, distance in zip(things, along, strict=True) if distance > along.max() - CLEAR_M]
