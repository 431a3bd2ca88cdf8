"""Perturbed starts: things moved about, the arm turned. What comes out is a valid start, or another is drawn.

Valid: nothing touches that did not touch before, each thing has under it what it had before, and the goal is not
reached from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float64

from hone.envs.libero.scene import Scene
from hone.errors import HoneError

OBJECT_OFFSETS_M = (0.02, 0.04, 0.08)
ARM_TURNS_RAD = (0.05, 0.1, 0.2)
"""Largest size at each level; what is drawn lies between half of it and all of it."""
GAP_M = 0.005
"""Least distance in the plane between the bounding rectangles of things that were apart."""
PROBE_M = 0.06
"""From how far above a thing's lowest point its support is looked for: LIBERO's states have things sunk in
by up to 4 cm (measured), from where physics pushes them out."""
DRAWS = 50
PLACE_WORDS = frozenset(["between", "next", "center", "left", "right", "front", "back", "middle"])
"""With one of these in the instruction, where things stand to each other says which is meant: they move together."""


@dataclass(frozen=True)
class _Group:
    """Things that stand on or in each other, moved as one. `low`, `high`: their bounding rectangle in the plane."""

    things: tuple[str, ...]
    low: Float64[np.ndarray, " 2"]
    high: Float64[np.ndarray, " 2"]

    def near(self, other: _Group, shift: Float64[np.ndarray, " 2"], gap: float) -> bool:
        """Whether this group, shifted, comes within `gap` of the other."""
        return bool(np.all(self.low + shift < other.high + gap) and np.all(other.low < self.high + shift + gap))

    def shifted(self, shift: Float64[np.ndarray, " 2"]) -> _Group:
        return _Group(self.things, self.low + shift, self.high + shift)

    def joined(self, other: _Group) -> _Group:
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return _Group(self.things + other.things, low, high)


def moved_objects(
    scene: Scene, state: Float64[np.ndarray, " S"], level: int, generator: np.random.Generator
) -> Float64[np.ndarray, " S"]:
    """Shift every thing in the plane, what stands on or in it along with it.

    What stands on or in a fixture stays, and so does a thing for which no free place is found in `DRAWS` draws.
    """
    model, data = scene.model, _at(scene, state)
    fixtures = [_rectangle(scene, data, name) for name in scene.fixtures]
    groups = _groups([_rectangle(scene, data, name) for name in scene.objects])
    loose = [group for group in groups if not any(group.near(fixture, np.zeros(2), 0.0) for fixture in fixtures)]
    if PLACE_WORDS & set(scene.task.instruction.split()):
        obstacles, units = [g for g in groups if g not in loose], [tuple(loose)] if loose else []
    else:
        obstacles, units = groups, [(group,) for group in loose]
    obstacles = obstacles + fixtures
    for _ in range(DRAWS):
        result, standing = state.copy(), list(obstacles)
        for unit in units:
            standing = [group for group in standing if group not in unit]
            shift = _free_shift(scene, data, unit, standing, level, generator)
            standing += [group.shifted(shift) for group in unit]
            for name in (name for group in unit for name in group.things):
                address = 1 + model.joint(f"{name}_joint0").qposadr[0]
                result[address : address + 2] += shift
        if _is_valid(scene, state, result):
            return result
    raise HoneError(f"found no valid places for the things of '{scene.task.name}' at perturbation objects:{level}.")


def turned_arm(
    scene: Scene, state: Float64[np.ndarray, " S"], level: int, generator: np.random.Generator
) -> Float64[np.ndarray, " S"]:
    """Turn the seven joints of the arm, each by its own amount, within their limits."""
    joints = [scene.model.joint(f"robot0_joint{i}") for i in range(1, 8)]
    addresses = np.array([1 + joint.qposadr[0] for joint in joints])
    limits = np.array([joint.range for joint in joints])
    for _ in range(DRAWS):
        direction = generator.normal(size=7)
        size = ARM_TURNS_RAD[level - 1] * generator.uniform(0.5, 1.0)
        result = state.copy()
        result[addresses] += size * np.sqrt(7) * direction / np.linalg.norm(direction)
        inside = np.all((result[addresses] > limits[:, 0]) & (result[addresses] < limits[:, 1]))
        if inside and _is_valid(scene, state, result):
            return result
    raise HoneError(f"found no free pose of the arm in '{scene.task.name}' at perturbation arm:{level}.")


def rectangle(
    scene: Scene, data: mujoco.MjData, name: str
) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]]:
    """Lower and upper corner (m, world frame) of the box around a thing's collision shapes."""
    model = scene.model
    root = model.body_rootid[model.body(f"{name}_main").id]
    solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    geoms = np.flatnonzero(solid & (model.body_rootid[model.geom_bodyid] == root))
    rotation = data.geom_xmat[geoms].reshape(-1, 3, 3)
    center = data.geom_xpos[geoms] + np.einsum("gij,gj->gi", rotation, model.geom_aabb[geoms, :3])
    half = np.einsum("gij,gj->gi", np.abs(rotation), model.geom_aabb[geoms, 3:])
    return (center - half).min(0), (center + half).max(0)


def _rectangle(scene: Scene, data: mujoco.MjData, name: str) -> _Group:
    low, high = rectangle(scene, data, name)
    return _Group((name,), low[:2], high[:2])


def _groups(single: list[_Group]) -> list[_Group]:
    """Join what overlaps in the plane, until nothing does."""
    groups: list[_Group] = []
    for group in single:
        while touching := [other for other in groups if group.near(other, np.zeros(2), 0.0)]:
            for other in touching:
                groups = [g for g in groups if g is not other]
                group = group.joined(other)
        groups.append(group)
    return groups


def _free_shift(
    scene: Scene,
    data: mujoco.MjData,
    unit: tuple[_Group, ...],
    standing: list[_Group],
    level: int,
    generator: np.random.Generator,
) -> Float64[np.ndarray, " 2"]:
    """A shift after which the unit is clear of what stands and has the same support; zero where none is found."""
    for _ in range(DRAWS):
        angle, size = generator.uniform(0, 2 * np.pi), OBJECT_OFFSETS_M[level - 1] * generator.uniform(0.5, 1.0)
        shift = size * np.array([np.cos(angle), np.sin(angle)])
        clear = not any(group.near(other, shift, GAP_M) for group in unit for other in standing)
        if clear and all(_supported(scene, data, group, shift) for group in unit):
            return shift
    return np.zeros(2)


def _supported(scene: Scene, data: mujoco.MjData, group: _Group, shift: Float64[np.ndarray, " 2"]) -> bool:
    """Whether the surface below the shifted corners is the one that the group stands on now."""
    geom, height = support(scene, data, group.things)
    corners = [(x, y) for x in (group.low[0], group.high[0]) for y in (group.low[1], group.high[1])]
    starts = [np.array([x + shift[0], y + shift[1], height + PROBE_M]) for x, y in corners]
    below = [surface_below(scene, data, start, group.things) for start in starts]
    return geom >= 0 and all(g == geom and abs(h - height) < 2e-3 for g, h in below)


def support(scene: Scene, data: mujoco.MjData, things: tuple[str, ...]) -> tuple[int, float]:
    """The geom that the lowest of these things stands on or is dropped on, and its height (m)."""
    low, high = min((rectangle(scene, data, name) for name in things), key=lambda corners: corners[0][2])
    return surface_below(scene, data, np.append((low[:2] + high[:2]) / 2, low[2] + PROBE_M), things)


def surface_below(
    scene: Scene, data: mujoco.MjData, point: Float64[np.ndarray, " 3"], ignored: tuple[str, ...] = ()
) -> tuple[int, float]:
    """The geom straight below a point and its height (m), as if the `ignored` were not there; (-1, nan) for none."""
    model = scene.model
    roots = {model.body_rootid[model.body(f"{name}_main").id] for name in ignored}
    point, down, geom = point.copy(), np.array([0.0, 0.0, -1.0]), np.array([-1], np.int32)
    while True:
        distance = mujoco.mj_ray(model, data, point, down, None, 1, -1, geom)
        if geom[0] < 0:
            return -1, float("nan")
        point[2] -= distance
        if model.body_rootid[model.geom_bodyid[geom[0]]] not in roots:
            return int(geom[0]), float(point[2])
        point[2] -= 1e-4


def _at(scene: Scene, state: Float64[np.ndarray, " S"]) -> mujoco.MjData:
    data = mujoco.MjData(scene.model)
    data.qpos[:] = state[1 : 1 + scene.model.nq]
    mujoco.mj_forward(scene.model, data)
    return data


def _is_valid(scene: Scene, before: Float64[np.ndarray, " S"], after: Float64[np.ndarray, " S"]) -> bool:
    old, new = _at(scene, before), _at(scene, after)
    reached = scene.goal.bind(scene.model).evaluate(scene.model, new)
    return not reached and touching(scene, new) <= touching(scene, old)


def touching(scene: Scene, data: mujoco.MjData) -> set[tuple[int, int]]:
    """Pairs of root bodies that touch."""
    model = scene.model
    roots = np.sort(model.body_rootid[model.geom_bodyid[data.contact.geom[: data.ncon]]], axis=-1)
    return {(int(a), int(b)) for a, b in roots}
