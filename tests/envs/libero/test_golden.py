"""The recorded episode, replayed by both engines; tests/golden/make_golden_episode.py made it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hone.envs.libero.golden import FREE_TOLERANCE, Golden, replay

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_replays_alike(engine):
    found = replay(Golden.load(), engine)
    assert found.agrees, found


def test_a_slightly_different_movement_is_noticed():
    golden = Golden.load()
    actions = golden.actions.copy()
    actions[20, 0] += 0.01
    found = replay(replace(golden, actions=actions))
    assert found.deviation > FREE_TOLERANCE
    assert not found.agrees


def test_saves_what_it_loads(tmp_path):
    golden = Golden.load()
    golden.save(tmp_path / "again.json")
    again = Golden.load(tmp_path / "again.json")
    np.testing.assert_array_equal(golden.start, again.start)
    assert again.success_step == golden.success_step
