"""Predictors of the audit, on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from hone.data import diversity, shortcuts


def test_the_nearest_episode_tells_the_label_where_there_is_one():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 5)
    told, chance = shortcuts.nearest_label(10.0 * labels[:, None] + generator.normal(size=(20, 3)), labels)
    assert told == 1.0
    assert chance == pytest.approx(4 / 19)
    blind, _ = shortcuts.nearest_label(generator.normal(size=(400, 3)), np.repeat(np.arange(4), 100))
    assert blind == pytest.approx(0.25, abs=0.08)


def test_luck_is_the_binomial_tail():
    assert shortcuts.chance_of(2, 2, 0.5) == pytest.approx(0.25)
    assert shortcuts.chance_of(1, 3, 0.5) == pytest.approx(7 / 8)
    assert shortcuts.chance_of(0, 3, 0.5) == 1.0


def test_held_out_variance():
    """A smooth function is learned from other episodes, noise is not, and what only the episode tells is not either."""
    generator = np.random.default_rng(0)
    episodes = np.repeat(np.arange(20), 30)
    inputs = generator.uniform(-2, 2, (600, 2))
    smooth = np.sin(inputs[:, :1]) * inputs[:, 1:]
    noise = generator.normal(size=(600, 1))
    own = np.repeat(generator.normal(size=(20, 1)), 30, axis=0)
    assert shortcuts.held_out_r2(inputs, smooth, episodes) > 0.95
    assert shortcuts.held_out_r2(inputs, noise, episodes) < 0.02
    assert shortcuts.held_out_r2(episodes[:, None].astype(float), own, episodes) < 0.6
    assert shortcuts.held_out_r2(inputs, np.ones((600, 1)), episodes) == 0.0


def test_distances_do_not_depend_on_units_or_speed():
    generator = np.random.default_rng(0)
    ways = [np.cumsum(generator.normal(size=(40, 2)), axis=0) for _ in range(3)]
    stacked = np.stack([diversity.resampled(way) for way in ways])
    distances = diversity.episode_distances(stacked)
    np.testing.assert_allclose(diversity.episode_distances(stacked * [1000.0, 0.001]), distances, atol=1e-6)
    np.testing.assert_allclose(np.diag(distances), 0.0, atol=1e-6)
    at = np.linspace(0, 39, 79)  # the same way, half as fast
    slow = np.stack([np.interp(at, np.arange(40), column) for column in ways[0].T], axis=1)
    np.testing.assert_allclose(diversity.resampled(slow), diversity.resampled(ways[0]), atol=1e-12)


def test_copies_are_pairs():
    distances = np.array([[0, 0.001, 1], [0.001, 0, 1], [1, 1, 0]], dtype=float)
    assert diversity.copies(distances, 0.02) == [(0, 1)]


def test_the_effective_number_lies_between_one_and_all():
    assert diversity.effective_number(np.zeros((5, 5))) == pytest.approx(1.0)
    apart = np.full((5, 5), 100.0) - 100 * np.eye(5)
    assert diversity.effective_number(apart) == pytest.approx(5.0)
    twice = np.kron(apart, np.ones((2, 2)))
    assert diversity.effective_number(twice) == pytest.approx(5.0)


def test_disparity_is_one_without_spread_within():
    labels = np.repeat([0, 1], 3)
    assert diversity.disparity(labels[:, None].astype(float), labels) == pytest.approx(1.0)
    assert diversity.disparity(np.tile([[0.0], [1.0], [2.0]], (2, 1)), labels) == pytest.approx(0.0)
