"""Pictures: `exact` is hf-libero's to the last bit, culling changes nothing, and every profile keeps its promise.

hf-libero draws in whatever OpenGL context is current, so each comparison records its pictures first and draws ours
afterwards.
"""

from __future__ import annotations

import os

import mujoco
import numpy as np
import pytest

from hone.envs.libero import hf
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.environment import CAMERAS, NO_OP, LiberoConfig
from hone.envs.libero.suites import official_initial_states
from hone.envs.libero.suites import task as find_task
from hone.types import Placement, Task

pytestmark = pytest.mark.sim

OBJECT, SPATIAL, STOVE = find_task("libero_object", 0), find_task("libero_spatial", 0), find_task("libero_goal", 7)
START = Placement("official", 0)
SIZE = 84
needs_originals = pytest.mark.skipif(
    "HONE_LIBERO_ASSETS" not in os.environ, reason="needs LIBERO's original assets in $HONE_LIBERO_ASSETS"
)


def actions(steps: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (steps, 7)).astype(np.float32)


def turn_stove_on(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    data.qpos[model.joint("flat_stove_1_button").qposadr[0]] = 1.0


def hf_libero_pictures(task: Task, assets: str, steps: int, every: int, light: bool = False) -> list[np.ndarray]:
    """What hf-libero's own observations hold every `every` steps, as it returns them (rows from the bottom up)."""
    env = hf.compose(task, asset_pack(assets).folder, SIZE)
    env.set_init_state(official_initial_states(task)[START.index])
    for _ in range(10):
        env.step(NO_OP)
    pictures = []
    for t, action in enumerate(actions(steps), start=1):
        if light and t == 1:
            turn_stove_on(env.sim.model._model, env.sim.data._data)
        seen, *_ = env.step(action)
        if t % every == 0:
            pictures.append(np.stack([seen[f"{camera}_image"] for camera in CAMERAS]))
    env.close()
    return pictures


def own_pictures(config: LiberoConfig, task: Task, steps: int, every: int, light: bool = False) -> list[np.ndarray]:
    env = config.build(1)
    env.reset([0], [task], [START])
    pictures = []
    for t, action in enumerate(actions(steps), start=1):
        if light and t == 1:
            turn_stove_on(env._slots[0].model, env._slots[0].data)
        env.step([0], action[None, None])
        if t % every == 0:
            pictures.append(env.render([0])[0])
    env.close()
    return pictures


@pytest.mark.parametrize(
    ("task", "assets"),
    [
        pytest.param(OBJECT, "standin", id="object-standin"),
        pytest.param(SPATIAL, "standin", id="spatial-standin", marks=pytest.mark.slow),
        pytest.param(OBJECT, "original", id="object-original", marks=[needs_originals, pytest.mark.slow]),
        pytest.param(STOVE, "original", id="stove-original", marks=[needs_originals, pytest.mark.slow]),
    ],
)
def test_exact_is_hf_liberos_picture(task: Task, assets: str):
    """Both cameras, every fourth of 12 random actions, at the phase of hf-libero's observation (substep 24 of 25).

    No tolerance: the same MuJoCo draws the same model, and the poses differ by rounding only (1e-9 m after 12 steps, a
    millionth of a pixel), which could move a pixel of an edge once in a great many pictures; none does here.
    """
    theirs = hf_libero_pictures(task, assets, 12, 4)
    ours = own_pictures(LiberoConfig(assets=assets, render="exact", image_orientation="opengl"), task, 12, 4)
    assert len(theirs) == len(ours) == 3
    for a, b in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(a, b)
