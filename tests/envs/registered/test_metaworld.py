"""Meta-World behind its declaration; needs the extra hone-vla[metaworld]."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from hone.cli.environments import environment
from hone.data.demonstrations import collect_demonstrations
from hone.data.demonstrators import demonstrator_for
from hone.errors import HoneError
from hone.primitives.expert import Manner
from hone.types import Placement


@pytest.fixture(scope="module")
def state_only():
    pytest.importorskip("metaworld", reason="needs the extra hone-vla[metaworld]")
    return replace(environment("gym:Meta-World/MT10"), images=(), draws=False)


def test_without_metaworld_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(HoneError, match=r"pip install 'hone-vla\[metaworld\]'"):
        environment("gym:Meta-World/MT10")


def test_mt10_is_declared_with_its_ten_tasks(state_only):
    tasks = state_only.tasks("metaworld-mt10")
    assert [task.name for task in tasks[:3]] == ["reach-v3", "push-v3", "pick-place-v3"]
    assert len(tasks) == 10
    spec = state_only.spec
    assert (spec.action_dim, spec.control_rate_hz, spec.cameras) == (4, 80.0, ())
    assert spec.privilege == "the simulator's state (vector51: state)"


def test_a_seed_is_a_placement_on_whatever_environment_it_falls(state_only):
    (task,) = state_only.tasks("metaworld-mt10", (1,))
    env = state_only.build(2)
    for index in (4, 7):
        env.reset([0], [task], [Placement("sampled", index)])
    env.reset([1], [task], [Placement("sampled", 7)])
    first, second = env.observe([0, 1]).state
    assert np.array_equal(first, second)
    env.step([0, 1], np.tile(np.array([1, 0, -1, 1], np.float32), (2, 8, 1)))
    first, second = env.observe([0, 1]).state
    assert np.array_equal(first, second)
    (snapshot,) = env.snapshot([0])
    env.restore([1], [snapshot])
    env.close()


def test_its_scripted_policies_demonstrate(state_only):
    tasks = state_only.tasks("metaworld-mt10", (0, 6))
    env = state_only.for_demonstrations().build(2)
    expert = demonstrator_for(state_only, Manner())
    episodes = collect_demonstrations(env, tasks, per_task=1, seed=0, demonstrator=expert)
    env.close()
    assert {episode.task for episode in episodes if episode.status == "success"} == set(tasks)
    assert max(np.abs(episode.actions).max() for episode in episodes) <= 1.0
