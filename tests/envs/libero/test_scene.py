"""The scene cache: composed once, rebuilt when damaged, shared by processes that start together, never half-written."""

from __future__ import annotations

import errno
import logging
import multiprocessing
from pathlib import Path

import mujoco
import numpy as np
import pytest

from hone.envs.libero import hf, scene
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.placements import draw_placements
from hone.envs.libero.scene import ensure_placements, load_scene
from hone.envs.libero.suites import official_initial_states, tasks
from hone.errors import HoneError
from hone.types import Placement

pytestmark = pytest.mark.sim

TASK = tasks("libero_object")[0]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of this test's own, and small blocks of placements, so that drawing one is quick."""
    monkeypatch.setenv("HONE_CACHE", str(tmp_path))
    monkeypatch.setattr(scene, "PLACEMENT_BLOCK", 4)
    asset_pack.cache_clear()
    yield tmp_path
    asset_pack.cache_clear()


def test_a_second_load_does_not_compose(own_cache, monkeypatch):
    first = load_scene(TASK, asset_pack("standin"))
    monkeypatch.setattr(hf, "compose", lambda *_: pytest.fail("composed again"))
    again = load_scene(TASK, asset_pack("standin"))
    assert again.folder == first.folder
    assert again.objects == first.objects
    assert again.of_interest == ("alphabet_soup_1", "basket_1")


@pytest.mark.parametrize("name", ["physics.mjb", "scene.json", "manifest.json"])
def test_a_damaged_entry_is_named_and_rebuilt(own_cache, caplog, name):
    folder = load_scene(TASK, asset_pack("standin")).folder
    path = folder / name
    path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        rebuilt = load_scene(TASK, asset_pack("standin"))
    assert name in caplog.text
    assert rebuilt.model.nq == 9 + 7 * len(rebuilt.objects)


def test_the_cache_outlives_the_installation_that_filled_it(own_cache):
    loaded = load_scene(TASK, asset_pack("standin"))
    description = loaded.folder / "scene.xml"
    text = description.read_text()
    for root in (hf.robosuite_root(), loaded.assets):
        assert f'"{root}/' in text
        text = text.replace(f'"{root}/', f'"/gone/{root.name}/')
    description.write_text(text)
    assert loaded.visual_model("cheap").nbody == loaded.model.nbody


def test_a_full_disk_leaves_no_half_entry(own_cache, monkeypatch):
    def no_space(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    pack = asset_pack("standin")
    monkeypatch.setattr(mujoco, "mj_saveModel", no_space)
    with pytest.raises(HoneError, match="No space left on device"):
        load_scene(TASK, pack)
    assert list((own_cache / "scenes").iterdir()) == []


def _load_in_process(folder: Path) -> int:
    return load_scene(TASK, asset_pack("standin")).model.nq


def test_processes_that_start_together_agree(own_cache):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sizes = pool.map(_load_in_process, [own_cache] * 2)
    assert sizes[0] == sizes[1]
    entries = [path.name for path in (own_cache / "scenes").iterdir()]
    assert len(entries) == 1
    assert not entries[0].startswith(".building")


def test_stripped_physics_equals_the_full_model():
    """Visual geoms, textures and sensors are gone; 500 physics steps are equal bit for bit."""
    control_env = hf.compose(TASK, asset_pack("standin").folder)
    full = control_env.sim.model._model
    stripped = scene.physics_model(control_env.env.model.get_xml(), full)
    assert stripped.ngeom < full.ngeom
    generator = np.random.default_rng(0)
    datas = [mujoco.MjData(full), mujoco.MjData(stripped)]
    for data in datas:
        data.qpos[:] = official_initial_states(TASK)[0, 1 : 1 + full.nq]
    for _ in range(500):
        control = generator.uniform(-5, 5, full.nu)
        for model, data in zip((full, stripped), datas, strict=True):
            data.ctrl[:] = control
            mujoco.mj_step(model, data)
    np.testing.assert_array_equal(datas[0].qpos, datas[1].qpos)
    control_env.close()


def test_sampled_placements_look_like_the_stored_ones():
    """A seed is a placement, whatever is drawn beside it; spread and centre are those of LIBERO's stored states."""
    control_env = hf.compose(TASK, asset_pack("standin").folder)
    drawn = draw_placements(control_env, range(60))
    np.testing.assert_array_equal(draw_placements(control_env, [7, 3]), drawn[[7, 3]])
    control_env.close()
    stored = official_initial_states(TASK)
    positions = slice(1, 1 + 9 + 7 * 7)
    assert not np.allclose(drawn[0], drawn[1])
    np.testing.assert_allclose(drawn.mean(0)[positions], stored.mean(0)[positions], atol=0.012)
    np.testing.assert_allclose(drawn.std(0)[positions], stored.std(0)[positions], atol=0.012)


def test_a_block_of_placements_is_drawn_once_when_asked_for_and_mended(own_cache, monkeypatch):
    pack = asset_pack("standin")
    loaded = load_scene(TASK, pack)
    with pytest.raises(HoneError, match="not drawn yet"):
        loaded.initial_state(Placement("sampled", 1))
    ensure_placements(loaded, pack, [1, 3])
    first = loaded.initial_state(Placement("sampled", 1))
    (stored,) = loaded.folder.glob("*placements*")

    compose, composed = hf.compose, []
    monkeypatch.setattr(hf, "compose", lambda *arguments: composed.append(1) or compose(*arguments))
    fresh = load_scene(TASK, pack)
    ensure_placements(fresh, pack, [0, 2])
    assert not composed
    stored.write_bytes(stored.read_bytes()[:200])
    ensure_placements(load_scene(TASK, pack), pack, [1])
    assert len(composed) == 1
    np.testing.assert_array_equal(load_scene(TASK, pack).initial_state(Placement("sampled", 1)), first)


def test_placements_are_refused_by_name():
    loaded = load_scene(TASK, asset_pack("standin"))
    with pytest.raises(HoneError, match="0-49, not 77"):
        loaded.initial_state(Placement("official", 77))
    with pytest.raises(HoneError, match="not drawn yet"):
        loaded.initial_state(Placement("sampled", 10**7))
