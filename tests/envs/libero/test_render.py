"""Pictures: `exact` is hf-libero's to the last bit, culling changes nothing, and every profile keeps its promise.

hf-libero draws in whatever OpenGL context is current, so each comparison records its pictures first and draws ours
afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import mujoco
import numpy as np
import pytest

from hone.envs.libero import hf, render
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.engine import Engine
from hone.envs.libero.environment import CAMERAS, NO_OP, LiberoConfig
from hone.envs.libero.render import Orientation, Renderer
from hone.envs.libero.scene import RenderProfile, Scene, load_scene
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


NO_SPINS: Mapping[int, float] = {}
"""Before which steps the stove's knob is spun, and how fast (rad/s)."""


def actions(steps: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (steps, 7)).astype(np.float32)


def spin_knob(model: mujoco.MjModel, data: mujoco.MjData, rad_per_s: float) -> None:
    """At 20 rad/s the stove's knob turns by about 0.9 rad within the next control step, at -40 by -1.5."""
    data.qvel[model.joint("flat_stove_1_button").dofadr[0]] = rad_per_s


def hf_libero_pictures(
    task: Task, assets: str, steps: int, every: int, spins: Mapping[int, float] = NO_SPINS
) -> list[np.ndarray]:
    """What hf-libero's own observations hold every `every` steps, as it returns them (rows from the bottom up)."""
    env = hf.compose(task, asset_pack(assets).folder, SIZE)
    env.set_init_state(official_initial_states(task)[START.index])
    for _ in range(10):
        env.step(NO_OP)
    pictures = []
    for t, action in enumerate(actions(steps), start=1):
        if t in spins:
            spin_knob(env.sim.model._model, env.sim.data._data, spins[t])
        seen, *_ = env.step(action)
        if t % every == 0:
            pictures.append(np.stack([seen[f"{camera}_image"] for camera in CAMERAS]))
    env.close()
    return pictures


def own_pictures(
    config: LiberoConfig, task: Task, steps: int, every: int, spins: Mapping[int, float] = NO_SPINS
) -> list[np.ndarray]:
    env = config.build(1)
    env.reset([0], [task], [START])
    pictures = []
    for t, action in enumerate(actions(steps), start=1):
        if t in spins:
            spin_knob(env._slots[0].model, env._slots[0].data, spins[t])
        env.step([0], action[None, None])
        if t % every == 0:
            pictures.append(env.render([0])[0])
    env.close()
    return pictures


@pytest.mark.parametrize(
    ("task", "assets", "light"),
    [
        pytest.param(OBJECT, "standin", False, id="object-standin"),
        pytest.param(SPATIAL, "standin", False, id="spatial-standin", marks=pytest.mark.slow),
        pytest.param(OBJECT, "original", False, id="object-original", marks=[needs_originals, pytest.mark.slow]),
        pytest.param(STOVE, "original", True, id="lit-stove-original", marks=[needs_originals, pytest.mark.slow]),
    ],
)
def test_exact_is_hf_liberos_picture(task: Task, assets: str, light: bool):
    """Both cameras, every fourth of 12 random actions, at the phase of hf-libero's observation (substep 24 of 25).

    No tolerance: the same MuJoCo draws the same model, and the poses differ by rounding only (1e-9 m after 12 steps, a
    millionth of a pixel), which could move a pixel of an edge once in a great many pictures; none does here.
    """
    spins = {1: 20.0} if light else NO_SPINS
    theirs = hf_libero_pictures(task, assets, 12, 4, spins)
    config = LiberoConfig(assets=assets, render="exact", image_orientation="opengl", stop_at_success=False)
    ours = own_pictures(config, task, 12, 4, spins)
    assert len(theirs) == len(ours) == 3
    for a, b in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(a, b)
    if light:
        assert glows(theirs[-1]), "the burner should glow in the picture"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_a_burner_is_switched_between_two_steps_as_hf_liberos(engine: Engine):
    """The knob passes 0.5 rad upwards in the first step and downwards in the third: the next picture shows it."""
    theirs = hf_libero_pictures(STOVE, "standin", 4, 1, {1: 20.0, 3: -40.0})
    config = LiberoConfig(render="exact", image_orientation="opengl", stop_at_success=False, engine=engine)
    ours = own_pictures(config, STOVE, 4, 1, {1: 20.0, 3: -40.0})
    assert [glows(picture) for picture in theirs] == [False, True, True, False]
    for a, b in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_snapshot_remembers_whether_a_burner_glows():
    env = LiberoConfig(stop_at_success=False).build(2)
    env.reset([0], [STOVE], [Placement("sampled", 0)])
    spin_knob(env._slots[0].model, env._slots[0].data, 20.0)
    env.step([0], NO_OP[None, None])
    dark, (snapshot,) = env.render([0])[0], env.snapshot([0])
    env.step([0], NO_OP[None, None])
    assert glows(env.render([0])[0])
    env.restore([0, 1], [snapshot, snapshot])
    for picture in env.render([0, 1]):
        np.testing.assert_array_equal(picture, dark)
    env.close()
    assert not glows(dark)


def glows(pictures: np.ndarray) -> bool:
    red, green, _ = np.moveaxis(pictures.astype(int), -1, 0)
    return bool((red > 2 * green + 80).sum() > 10)


def test_orientations_against_hf_liberos_raw_picture():
    """`opengl` is hf-libero's own array; the other two follow from it as published code turns it."""
    raw = hf_libero_pictures(OBJECT, "standin", 1, 1)[0]
    turned: dict[Orientation, np.ndarray] = {
        "opengl": raw,
        "upright": raw[:, ::-1],
        "rotated_180": raw[:, ::-1, ::-1],
    }
    for orientation, expected in turned.items():
        config = LiberoConfig(render="exact", image_orientation=orientation)
        np.testing.assert_array_equal(own_pictures(config, OBJECT, 1, 1)[0], expected)


@pytest.mark.parametrize(
    ("task", "assets", "profile"),
    [
        (OBJECT, "standin", "cheap"),
        (OBJECT, "standin", "exact"),
        pytest.param(STOVE, "original", "aliased", marks=[needs_originals, pytest.mark.slow]),  # its top reflects
    ],
)
def test_culling_changes_no_pixel(task: Task, assets: str, profile: RenderProfile, monkeypatch):
    env = LiberoConfig(assets=assets, render=profile).build(1)
    env.reset([0], [task], [START])
    env.render([0])
    (stage,) = env._renderer._stages.values()
    culled, left_out = stage.culling.seen, []
    for chunk in actions(24).reshape(6, 1, 4, 7):
        env.step([0], chunk)
        picture = env.render([0])
        with monkeypatch.context() as patch:
            patch.setattr(stage.culling, "seen", lambda *_: np.ones(stage.model.ngeom, bool))
            np.testing.assert_array_equal(picture, env.render([0]))
        left_out += [(~culled(stage.data, view.fixedcamid)).sum() for view in stage.views]
    env.close()
    assert max(left_out) > 10, "culling left nothing out: the test shows nothing"


@pytest.mark.parametrize(
    ("task", "assets", "profile"),
    [
        (OBJECT, "standin", "exact"),
        (SPATIAL, "standin", "aliased"),
        pytest.param(OBJECT, "original", "exact", marks=[needs_originals, pytest.mark.slow]),
        pytest.param(STOVE, "original", "exact", marks=[needs_originals, pytest.mark.slow]),  # its top reflects
    ],
)
def test_thinning_changes_no_pixel(task: Task, assets: str, profile: RenderProfile, monkeypatch):
    """Joints and things anywhere, so that the hand comes near the wrist camera and things hide each other."""
    scene, generator = load_scene(task, asset_pack(assets)), np.random.default_rng(0)
    thin = Renderer(CAMERAS, SIZE, profile, "upright")
    whole = Renderer(CAMERAS, SIZE, profile, "upright")
    for size in (SIZE, SIZE, SIZE, 128):
        qpos = anywhere(scene.model, scene.initial_state(START)[1 : 1 + scene.model.nq], generator)
        picture = thin.draw(scene, qpos, size)
        with monkeypatch.context() as patch:
            patch.setattr(render, "thinning", lambda *_: None)
            np.testing.assert_array_equal(picture, whole.draw(scene, qpos, size))
    (stage,), (full,) = thin._stages.values(), whole._stages.values()
    assert stage.thinning is not None, "nothing was thinned: the test shows nothing"
    assert stage.model.mesh_facenum.sum() < 0.8 * full.model.mesh_facenum.sum()
    thin.close()
    whole.close()


def anywhere(model: mujoco.MjModel, qpos: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    moved = qpos.copy()
    for joint, address in enumerate(model.jnt_qposadr):
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
            moved[address : address + 3] += generator.normal(0, 0.05, 3)
            moved[address + 3 : address + 7] = generator.normal(0, 1, 4)
        else:
            low, high = model.jnt_range[joint]
            moved[address] = np.clip(moved[address] + generator.normal(0, 0.15) * (high - low), low, high)
    return moved


def first_picture(scene: Scene, profile: RenderProfile) -> np.ndarray:
    renderer = Renderer(CAMERAS, SIZE, profile, "upright")
    picture = renderer.draw(scene, scene.official_states[START.index][1 : 1 + scene.model.nq])
    renderer.close()
    return picture


@needs_originals
@pytest.mark.slow
@pytest.mark.parametrize(("task", "limit"), [(OBJECT, 1.0), (SPATIAL, 3.0), (STOVE, 4.5)])
def test_a_decimated_scene_looks_the_same(task: Task, limit: float, tmp_path, monkeypatch):
    """Mean absolute change per channel against `aliased`, in steps of 1/255, on the worse camera; measured 0.9-4.2."""
    scene = load_scene(task, asset_pack("original"))
    for stored in scene.folder.glob("decimated*"):
        stored.unlink()
    made, again = first_picture(scene, "decimated"), first_picture(scene, "decimated")
    np.testing.assert_array_equal(made, again)  # the second came from the disk
    (stored,) = scene.folder.glob("decimated*")
    full, few = scene.visual_model("aliased"), scene.visual_model("decimated")
    assert few.nmeshface < full.nmeshface / 4
    assert few.ntexdata < full.ntexdata / 5
    change = np.abs(made.astype(int) - first_picture(scene, "aliased")).mean(axis=(1, 2, 3))
    assert change.max() < limit
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log where it stands
    stored.write_bytes(stored.read_bytes()[:1000])  # damaged: made again
    np.testing.assert_array_equal(first_picture(scene, "decimated"), made)


def test_contexts_have_an_upper_bound(monkeypatch):
    monkeypatch.setitem(render.KEPT_STAGES, "cheap", 1)
    scenes = [load_scene(task, asset_pack("standin")) for task in (OBJECT, SPATIAL)]
    renderer = Renderer(CAMERAS, SIZE, "cheap", "upright")
    rounds = [
        [renderer.draw(scene, scene.official_states[0][1 : 1 + scene.model.nq]) for scene in scenes] for _ in range(2)
    ]
    assert len(renderer._stages) == 1
    renderer.close()
    np.testing.assert_array_equal(rounds[0][0], rounds[1][0])
    assert (rounds[0][0] != rounds[0][1]).any()


@pytest.mark.parametrize("profile", ["cheap", "aliased"])
def test_a_scene_is_drawn_the_same_whatever_was_drawn_before(profile: RenderProfile):
    """Scenes kept ready side by side share one OpenGL context; each picture must be the one drawn by a renderer that
    knows its scene alone, for every camera."""
    scenes = [load_scene(task, asset_pack("standin")) for task in (OBJECT, SPATIAL)]
    states = [scene.official_states[0][1 : 1 + scene.model.nq] for scene in scenes]
    alone = []
    for scene, state in zip(scenes, states, strict=True):
        renderer = Renderer(CAMERAS, SIZE, profile, "upright")
        alone.append(renderer.draw(scene, state))
        renderer.close()
    renderer = Renderer(CAMERAS, SIZE, profile, "upright")
    for which in (0, 1, 0, 0, 1):
        np.testing.assert_array_equal(renderer.draw(scenes[which], states[which]), alone[which])
    renderer.close()


@pytest.mark.parametrize("backend", ["egl", "osmesa"])
def test_both_software_back_ends_draw(backend: str, tmp_path: Path):
    """In a process of its own: MuJoCo chooses its back end once, when it is imported."""
    environment = {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
    out = tmp_path / "picture.npy"
    done = subprocess.run([sys.executable, "-c", _DRAW, str(out)], env=environment, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(f"no {backend} library on this machine")
    assert out.exists(), done.stderr
    ours = first_picture(load_scene(OBJECT, asset_pack("standin")), "cheap")
    # Two builds of the same rasteriser; another driver may round an edge differently.
    assert np.abs(np.load(out).astype(int) - ours).mean() < 1.0


_DRAW = """
import sys
try:
    import mujoco
    mujoco.GLContext(8, 8).make_current()
except Exception:
    sys.exit(77)
import numpy as np
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.environment import CAMERAS
from hone.envs.libero.render import Renderer
from hone.envs.libero.scene import load_scene
from hone.envs.libero.suites import task
scene = load_scene(task("libero_object", 0), asset_pack("standin"))
qpos = scene.official_states[0][1 : 1 + scene.model.nq]
np.save(sys.argv[1], Renderer(CAMERAS, 84, "cheap", "upright").draw(scene, qpos))
"""
