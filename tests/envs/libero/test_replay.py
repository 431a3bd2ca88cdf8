"""Whole expert episodes, replayed in hf-libero and in the engine: the same trajectory and success at the same step."""

from __future__ import annotations

import numpy as np
import pytest

from hone.envs.libero import hf
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.benchmark import Contestant, compare, expert_actions, reference_trace, trace
from hone.envs.libero.scene import load_scene
from hone.envs.libero.suites import task as find_task
from hone.errors import HoneError

pytestmark = pytest.mark.sim

EPISODES = [
    ("libero_goal", 0),  # a drawer is opened
    pytest.param("libero_goal", 7, marks=pytest.mark.slow),  # a stove is switched on
    pytest.param("libero_object", 3, marks=pytest.mark.slow),
    pytest.param("libero_spatial", 1, marks=pytest.mark.slow),
    pytest.param("libero_10", 3, marks=pytest.mark.slow),  # a bowl into a drawer, which is shut
    pytest.param("libero_10", 0, marks=pytest.mark.slow),
    pytest.param("libero_90", 9, marks=pytest.mark.slow),
    pytest.param("libero_90", 33, marks=pytest.mark.slow),  # a microwave is shut
]


@pytest.mark.parametrize(("suite", "index"), EPISODES)
def test_success_comes_at_hf_liberos_step(suite: str, index: int) -> None:
    """`exact`: every flag equal. `fast`: within two steps. Contact amplifies rounding, so positions agree less late."""
    task, pack = find_task(suite, index), asset_pack("standin")
    actions = expert_actions(task, "standin")
    assert actions is not None, "the expert should master this task"
    scene, control_env = load_scene(task, pack), hf.compose(task, pack.folder)
    try:
        _, reference = reference_trace(control_env, scene, scene.official_states[0], actions)
    finally:
        control_env.close()
    assert reference.success.any()
    exact, fast = (trace(scene, physics, scene.official_states[0], actions) for physics in ("exact", "fast"))
    np.testing.assert_array_equal(exact.success, reference.success)
    assert abs(int(np.argmax(fast.success)) - int(np.argmax(reference.success))) <= 2
    assert np.abs(exact.qpos[:10] - reference.qpos[:10]).max() < 1e-9
    assert np.median(np.abs(exact.qpos - reference.qpos)) < 1e-6


def test_the_benchmark_compares_like_with_like() -> None:
    task, pack = find_task("libero_object", 0), asset_pack("standin")
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 7))
    (row,) = compare(task, pack, actions, "random", [Contestant("exact")], rounds=1)
    assert row["ratio"] == pytest.approx(row["steps_per_second"] / row["reference_steps_per_second"], rel=0.02)
    assert row["ratio"] > 1.5
    assert row["max_abs_qpos_difference"] < 1e-9
    assert row["success_flags_equal"]
    with pytest.raises(HoneError, match="no rounds"):
        compare(task, pack, actions, "random", [Contestant("exact")], rounds=0)
