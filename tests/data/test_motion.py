"""What is said of actions, against cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hone.data import motion


def test_idle_is_openvlas_rule():
    actions = np.zeros((6, 7))
    actions[:, 6] = [-1, -1, -1, 1, 1, 1]
    actions[1, 0] = 0.5
    actions[5, 2] = 0.9e-4
    assert motion.idle(actions, 6).tolist() == [True, False, True, False, True, True]
    assert not motion.idle(actions, None).any()


def test_the_longest_stretch():
    assert motion.longest_run(np.array([True, True, False, True, True, True])) == 3
    assert motion.longest_run(np.zeros(4, bool)) == 0


def test_saturation_counts_steps_at_the_extremes():
    values = np.array([[0.5, 0.0], [-0.5, 0.0], [0.1, 0.0], [0.49, 0.0]])
    assert motion.saturated(values).tolist() == [0.5, 0.0]


def test_farthest_is_in_deviations():
    values = np.zeros((100, 2))
    values[0, 0] = 1.0
    far = motion.farthest(values)
    assert far[0] == pytest.approx(0.99 / np.sqrt(0.01 * 0.99))
    assert far[1] == np.inf


def test_roughness_of_white_noise_and_of_a_line():
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(20_000, 1))
    assert motion.roughness([noise])[0] == pytest.approx(2 / np.sqrt(np.pi), rel=0.02)
    line = np.linspace(0, 1, 101)[:, None]
    assert motion.roughness([line])[0] == pytest.approx(0.01 / line.std())


def test_which_side_closes():
    command = np.repeat([-1.0, 1.0], 20)[:, None]
    width = np.interp(np.arange(40), [20, 25], [0.08, 0.0])
    assert motion.closing_side([command], [width], 0) == pytest.approx(1.0)
    assert motion.closing_side([-command], [width], 0) == pytest.approx(-1.0)
    assert motion.closing_side([command], [np.ones(40)], 0) == 0.0


@pytest.mark.parametrize("lag", [-1, 0, 1, 2])
def test_the_lag_between_action_and_motion_is_found(lag: int):
    generator = np.random.default_rng(1)
    asked = generator.normal(size=(50, 3))
    moved = np.roll(asked, lag, axis=0)
    position = np.concatenate([np.zeros((1, 3)), np.cumsum(moved, axis=0)])[:50]
    found = motion.lags([asked], [position])
    assert max(found, key=lambda k: found[k]) == lag
    assert found[lag] > 0.95
