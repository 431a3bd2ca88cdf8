"""Privileged object poses as numbers, for policies and values that read the state instead of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np
from jaxtyping import Float32

from hone.envs.libero.scene import Scene

StateTokens = Literal["none", "objects_v1", "objects_v2"]
TOKEN_SHAPES: dict[StateTokens, tuple[int, int]] = {"objects_v1": (10, 11), "objects_v2": (12, 12)}
"""Rows and columns of each layout. What is beyond the last row is left out."""


@dataclass(frozen=True)
class _Frame:
    """Where a row's pose is read: a body, or a site. `place` among the objects of interest is 0 for none of them."""

    place: int
    index: int
    is_site: bool = False
    joint: int | None = None


class TokenReader:
    """Reads the tokens of one scene: position (3, m), rotation as the first two columns of its matrix (6), place among
    the task's objects of interest (1 for the first, ..., 0 for none of them), and 1 for a real row; zero-padded.

    `objects_v1` has a row for each movable object. It shows no drawer, door or knob.

    `objects_v2` has what the task names first, whatever it is: a movable object, a region, each moving part of a
    fixture, or a fixture without any; then the other movable objects. Its last column is how far the joint under
    the row is, from 0 to 1 of its range, and 0 where there is none.
    """

    def __init__(self, scene: Scene, layout: StateTokens) -> None:
        self._shape = TOKEN_SHAPES[layout]
        self._model = scene.model
        interest = scene.of_interest
        movable = {name: scene.model.body(f"{name}_main").id for name in scene.objects}
        if layout == "objects_v1":
            frames = [
                _Frame(interest.index(name) + 1 if name in interest else 0, body) for name, body in movable.items()
            ]
        else:
            frames = [frame for place, name in enumerate(interest, start=1) for frame in _frames(scene, name, place)]
            frames += [_Frame(0, body) for name, body in movable.items() if name not in interest]
        self._frames = frames[: self._shape[0]]

    def read(self, data: mujoco.MjData) -> Float32[np.ndarray, "M D"]:
        tokens = np.zeros(self._shape, np.float32)
        for row, frame in zip(tokens, self._frames, strict=False):
            positions, matrices = (data.site_xpos, data.site_xmat) if frame.is_site else (data.xpos, data.xmat)
            rotation = matrices[frame.index].reshape(3, 3)
            row[:11] = np.concatenate([positions[frame.index], rotation[:, 0], rotation[:, 1], [frame.place, 1.0]])
            if frame.joint is not None:
                low, high = self._model.jnt_range[frame.joint]
                row[11] = (data.qpos[self._model.jnt_qposadr[frame.joint]] - low) / (high - low)
        return tokens


def _frames(scene: Scene, name: str, place: int) -> Iterator[_Frame]:
    """What shows where an object of interest is, and how far it is open."""
    model = scene.model
    if name in scene.objects:
        yield _Frame(place, model.body(f"{name}_main").id)
    elif name in scene.regions:
        site = model.site(scene.regions[name].site).id
        yield _Frame(place, site, is_site=True, joint=_joint(model, int(model.site_bodyid[site])))
    elif name in scene.fixtures:
        fixture = model.body(f"{name}_main").id
        root = model.body_rootid[fixture]
        bodies = [body for body in range(model.nbody) if model.body_rootid[body] == root]
        parts = [_Frame(place, body, joint=joint) for body in bodies if (joint := _joint(model, body)) is not None]
        yield from parts or [_Frame(place, fixture)]


def _joint(model: mujoco.MjModel, body: int) -> int | None:
    """The slide or hinge that moves a body."""
    joint = int(model.body_jntadr[body])
    moves = joint >= 0 and model.jnt_type[joint] in (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE)
    return joint if moves else None
