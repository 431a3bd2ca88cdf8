"""Perturbed pictures: camera, light, surfaces, colours, distractors. Only the model that is drawn from changes, and
only while it is drawn from; physics never sees any of it.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float32, Float64

from hone.envs.libero.perturb_state import rectangle, support, surface_below
from hone.envs.libero.scene import Scene

ORBIT_DEG, LIFT_DEG, ZOOM = (5.0, 12.0, 25.0), (3.0, 7.0, 12.0), (0.04, 0.08, 0.15)
LOOK_AHEAD_M = 1.05
"""Distance from LIBERO's main camera to the middle of what it shows."""
BRIGHTNESS, LIGHT_TINT, LIGHT_TILT_DEG = (1.3, 1.7, 2.3), (0.05, 0.1, 0.2), (10.0, 25.0, 45.0)
SURFACE_TINT = (0.2, 0.4, 0.7)
HUE, SHADE = (0.04, 0.12, 0.35), (0.15, 0.3, 0.45)
NUM_DISTRACTORS = (2, 4, 6)
"""Largest size at each level; what is drawn lies between half of it and all of it."""
COLOUR_WORDS = frozenset(["black", "white", "red", "yellow", "blue", "green", "brown", "orange"])

Edit = Callable[[mujoco.MjModel], None]
_FIELDS = ("cam_pos", "cam_quat", "light_pos", "light_dir", "light_diffuse", "light_specular", "geom_rgba",
           "geom_matid", "mat_rgba")  # fmt: skip
_HEADLIGHT = ("ambient", "diffuse", "specular")


@dataclass(frozen=True)
class Shape:
    """A coloured box or cylinder lying in the picture. Sizes are half sizes (m)."""

    type: int
    position: Float64[np.ndarray, " 3"]
    size: Float64[np.ndarray, " 3"]
    rgba: Float32[np.ndarray, " 4"]


@dataclass(frozen=True)
class Look:
    """How a scene is drawn in one episode: `edits` of the drawn model, and `shapes` added to the picture."""

    edits: tuple[Edit, ...] = ()
    shapes: tuple[Shape, ...] = ()

    @contextmanager
    def worn_by(self, model: mujoco.MjModel) -> Iterator[None]:
        """Inside, the model looks like this; afterwards as before."""
        if not self.edits:
            yield
            return
        arrays = [getattr(model, name) for name in _FIELDS] + [getattr(model.vis.headlight, n) for n in _HEADLIGHT]
        kept = [array.copy() for array in arrays]
        try:
            for edit in self.edits:
                edit(model)
            yield
        finally:
            for array, before in zip(arrays, kept, strict=True):
                array[:] = before

    def add_to(self, picture: mujoco.MjvScene) -> None:
        """Add the shapes to an updated `MjvScene`."""
        for shape in self.shapes:
            geom = picture.geoms[picture.ngeom]
            mujoco.mjv_initGeom(geom, shape.type, shape.size, shape.position, np.eye(3).ravel(), shape.rgba)
            picture.ngeom += 1


PLAIN = Look()


def camera(scene: Scene, level: int, generator: np.random.Generator) -> Edit:
    """The main camera orbits the point it looks at, up or down, nearer or farther."""
    orbit = np.radians(_size(ORBIT_DEG, level, generator))
    lift = np.radians(_size(LIFT_DEG, level, generator))
    zoom = 1.0 + _size(ZOOM, level, generator)

    def edit(model: mujoco.MjModel) -> None:
        index = model.camera("agentview").id
        axes = _matrix(model.cam_quat[index])  # columns: right, up, backward
        middle = model.cam_pos[index] - LOOK_AHEAD_M * axes[:, 2]
        turn = _rotation(np.array([0.0, 0.0, 1.0]), orbit) @ _rotation(axes[:, 0], lift)
        model.cam_pos[index] = middle + turn @ (model.cam_pos[index] - middle) * zoom
        mujoco.mju_mat2Quat(model.cam_quat[index], (turn @ axes).ravel())

    return edit


def light(scene: Scene, level: int, generator: np.random.Generator) -> Edit:
    """All lights stronger or weaker by one factor, with one tint; each from another direction."""
    brightness = np.exp(_size(tuple(np.log(BRIGHTNESS)), level, generator))
    tint = 1.0 + generator.uniform(-1, 1, 3) * LIGHT_TINT[level - 1]
    tilt, about = np.radians(_size(LIGHT_TILT_DEG, level, generator)), generator.uniform(0, 2 * np.pi)
    turn = _rotation(np.array([np.cos(about), np.sin(about), 0.0]), tilt)

    def edit(model: mujoco.MjModel) -> None:
        head = model.vis.headlight
        for colour in (model.light_diffuse, model.light_specular, head.ambient, head.diffuse, head.specular):
            colour[:] = colour * brightness * tint
        model.light_dir[:] = model.light_dir @ turn.T

    return edit


def background(scene: Scene, level: int, generator: np.random.Generator) -> Edit:
    """Floor, walls and table: tinted; at level 2 wearing each other's material; at level 3 in plain colours."""
    seed = int(generator.integers(2**62))

    def edit(model: mujoco.MjModel) -> None:
        draw = np.random.default_rng(seed)
        names = [model.body(body).name for body in model.geom_bodyid]
        own = [f"{name}_" for name in (*scene.objects, *scene.fixtures)]
        keep = ("robot0", "gripper0", "mount0", *own)
        geoms = np.array([g for g, name in enumerate(names) if model.geom_group[g] == 1 and not name.startswith(keep)])
        materials = np.unique(model.geom_matid[geoms])
        for material in materials[materials >= 0]:
            model.mat_rgba[material, :3] *= 1.0 - draw.uniform(0, SURFACE_TINT[level - 1], 3)
        if level == 2:
            others = np.roll(materials, 1 + draw.integers(max(1, len(materials) - 1)))
            model.geom_matid[geoms] = others[np.searchsorted(materials, model.geom_matid[geoms])]
        elif level == 3:
            for material in materials:
                worn = geoms[model.geom_matid[geoms] == material]
                model.geom_rgba[worn, :3] = draw.uniform(0.15, 0.95, 3)
            model.geom_matid[geoms] = -1

    return edit


def colours(scene: Scene, level: int, generator: np.random.Generator) -> Edit:
    """Things in other shades and hues. Grey stays grey, and a thing with a colour in its name keeps its colour."""
    things = [name for name in (*scene.objects, *scene.fixtures) if not COLOUR_WORDS & set(name.split("_"))]
    shifts = {name: _size(HUE, level, generator) for name in things}
    tints = {name: 1.0 - generator.uniform(0, SHADE[level - 1], 3) for name in things}

    def edit(model: mujoco.MjModel) -> None:
        for name in things:
            root = model.body_rootid[model.body(f"{name}_main").id]
            geoms = np.flatnonzero((model.body_rootid[model.geom_bodyid] == root) & (model.geom_group == 1))
            materials = np.unique(model.geom_matid[geoms])
            rows = [model.geom_rgba[g] for g in geoms] + [model.mat_rgba[m] for m in materials if m >= 0]
            for rgba in rows:
                hue, saturation, value = colorsys.rgb_to_hsv(*map(float, rgba[:3]))
                rgba[:3] = np.array(colorsys.hsv_to_rgb((hue + shifts[name]) % 1.0, saturation, value)) * tints[name]

    return edit


LOOKS: dict[str, Callable[[Scene, int, np.random.Generator], Edit]] = {
    "camera": camera,
    "light": light,
    "background": background,
    "colours": colours,
}


def distractors(
    scene: Scene, state: Float64[np.ndarray, " S"], level: int, generator: np.random.Generator
) -> tuple[Shape, ...]:
    """Boxes and cylinders on the free parts of the surface that most things stand on, 3 cm and more from all of them.

    They are not solid: an arm that reaches there goes through.
    """
    data = mujoco.MjData(scene.model)
    data.qpos[:] = state[1 : 1 + scene.model.nq]
    mujoco.mj_forward(scene.model, data)
    boxes = [rectangle(scene, data, name) for name in (*scene.objects, *scene.fixtures)]
    below = [support(scene, data, (name,)) for name in scene.objects]
    ground, height = max(below, key=lambda found: sum(found[0] == geom for geom, _ in below))
    middle = np.mean([(low + high)[:2] / 2 for low, high in boxes], axis=0)
    shapes: list[Shape] = []
    for _ in range(200):
        if len(shapes) == NUM_DISTRACTORS[level - 1]:
            break
        half = generator.uniform(0.015, 0.04, 3)
        spot = middle + generator.uniform(-0.3, 0.3, 2)
        radius = float(np.hypot(half[0], half[1])) + 0.03
        apart = all(np.any((spot < low[:2] - radius) | (spot > high[:2] + radius)) for low, high in boxes)
        if apart and surface_below(scene, data, np.append(spot, height + 0.1))[0] == ground:
            kind = [mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER][generator.integers(2)]
            if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:  # radius, nothing, half height
                half = np.array([half[0], half[0], half[2]])
            position = np.append(spot, height + half[2])
            rgba = np.append(generator.uniform(0.1, 0.95, 3), 1.0).astype(np.float32)
            shapes.append(Shape(int(kind), position, half, rgba))
            boxes.append((position - half, position + half))
    return tuple(shapes)


def _size(largest: tuple[float, ...], level: int, generator: np.random.Generator) -> float:
    """A number of either sign between half the level's largest size and all of it."""
    return float(largest[level - 1] * generator.uniform(0.5, 1.0) * generator.choice([-1.0, 1.0]))


def _rotation(axis: Any, angle: float) -> Float64[np.ndarray, "3 3"]:
    quat = np.zeros(4)
    mujoco.mju_axisAngle2Quat(quat, np.asarray(axis, float), angle)
    return _matrix(quat)


def _matrix(quat_wxyz: Any) -> Float64[np.ndarray, "3 3"]:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(quat_wxyz, float))
    return matrix.reshape(3, 3)
