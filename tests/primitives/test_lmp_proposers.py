"""Who chooses the weights: on a wall that stands between start and goal."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from hone.errors import HoneError
from hone.primitives.lmp import LmpConfig, LmpParameters, crossing
from hone.primitives.lmp_proposers import (
    MARGIN_M,
    Cylinder,
    Movement,
    RandomWeights,
    SearchedWeights,
    goal_error,
    jerk,
    rule_based_weights,
    zero_weights,
)


def wall(height: float, x: float = 0.2) -> np.ndarray:
    return np.column_stack([np.full(21, x), np.linspace(-0.1, 0.1, 21), np.full(21, height)])


def movement(height: float = 0.15, config: LmpConfig | None = None, closes: bool = False) -> Movement:
    """Something that hangs 5 cm low is carried 40 cm at a height of 10 cm."""
    return Movement(
        start=np.array([0.0, 0.0, 0.1, 0.0, 0.0 if closes else 1.0]),
        goal=np.array([0.4, 0.0, 0.1, 0.0, 1.0]),
        cylinders=(Cylinder(0.03, -0.05),),
        columns=wall(height),
        config=config or LmpConfig(),
    )


def test_clearance_is_the_gap_to_the_nearest_thing():
    flat, parameters = movement(0.03), LmpParameters.zero()
    assert flat.clearance(flat.path(parameters)) == pytest.approx(0.02, abs=1e-9)  # 5 cm below 0.1 m is 2 cm above
    beside = replace(flat, columns=wall(0.5) + np.array([0.0, 0.25, 0.0]))
    assert beside.clearance(beside.path(parameters)) == pytest.approx(0.15 - 0.03, abs=1e-4)
    hit = movement(0.15)
    assert hit.clearance(hit.path(parameters)) < -0.02


def test_what_stands_at_either_end_does_not_count():
    near = replace(movement(), columns=wall(0.5, x=-0.029))
    standing_still = replace(near, goal=near.start)
    assert standing_still.clearance(standing_still.path(LmpParameters.zero())) == np.inf


def test_zero_weights_go_straight_and_close_late():
    parameters = zero_weights(movement(closes=True))
    assert not parameters.weights[:4].any()
    assert parameters.weights[4].tolist() == [-1.0] * 10 + [1.0]
    assert not zero_weights(movement()).weights.any()  # what is closed stays so without weights


@pytest.mark.parametrize("bases", [5, 11, 20])
def test_the_hand_closes_at_the_end_with_any_number_of_bases(bases):
    closing = movement(closes=True, config=LmpConfig(bases))
    share = crossing(closing.path(zero_weights(closing)))
    assert share is not None
    assert share > 0.87


def test_random_weights_are_drawn_from_the_generator_alone():
    first, again = (RandomWeights(np.random.default_rng(3))(movement()) for _ in range(2))
    np.testing.assert_array_equal(first.weights, again.weights)
    assert 0.5 < np.abs(first.weights[:3]).max() <= 0.9
    assert not first.weights[3:].any()


@pytest.mark.parametrize("bases", [5, 11, 20])
def test_the_rule_clears_a_wall_and_stays_in_the_schema(bases):
    blocked = movement(config=LmpConfig(bases))
    parameters = rule_based_weights(blocked)
    assert blocked.clearance(blocked.path(parameters)) >= MARGIN_M
    assert goal_error(blocked, blocked.path(parameters)) < 0.02
    LmpParameters.from_json(parameters.to_json(), blocked.config)


def test_the_rule_leaves_a_free_path_alone():
    assert not rule_based_weights(movement(0.01)).weights.any()


def test_a_wall_that_is_too_high_gets_the_best_there_is():
    blocked = movement(2.0)
    parameters = rule_based_weights(blocked)
    assert blocked.clearance(blocked.path(parameters)) < MARGIN_M


def test_the_path_never_goes_below_its_ends():
    down = LmpParameters.zero()
    down.weights[2] = -0.9
    assert movement().path(down)[:, 2].min() == 0.1


def test_jerk_is_that_of_the_path():
    s = np.linspace(0.0, 1.0, 331)
    path = np.column_stack([s**3, np.zeros((331, 4))])
    assert jerk(path) == pytest.approx(6.0, rel=0.06)


def test_search_improves_on_the_rule():
    pytest.importorskip("cmaes")
    blocked = movement()
    ruled, found = rule_based_weights(blocked), SearchedWeights(generations=6)(blocked)
    assert blocked.clearance(blocked.path(found)) > MARGIN_M - 0.003
    assert jerk(blocked.path(found)) + 1e5 * goal_error(blocked, blocked.path(found)) < jerk(
        blocked.path(ruled)
    ) + 1e5 * goal_error(blocked, blocked.path(ruled))
    LmpParameters.from_json(found.to_json())


def test_search_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(HoneError, match="needs the package cmaes"):
        SearchedWeights()(movement())
