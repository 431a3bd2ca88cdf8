"""Movement primitives against the numbers of a package that is known to be right, and against what they promise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hone.errors import HoneError
from hone.primitives.dmp import Dmp, DmpConfig, PoseDmp, RotationDmp, turn_between

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "dmp.json").read_text())
TIMES, POSITIONS, TURNS = (np.array(GOLDEN[name]) for name in ("times", "positions", "turns"))
CASES = pytest.mark.parametrize("case", GOLDEN["cases"], ids=["none", "pastor"])
DT = GOLDEN["kept_dt"]


def golden_config(case) -> DmpConfig:
    scaling = "pastor" if case["smooth_scaling"] else "none"
    return DmpConfig(len(case["weights"][0]), ridge=GOLDEN["ridge"], scaling=scaling)


@CASES
def test_fits_the_weights_of_the_package(case):
    dmp = Dmp.fit(TIMES, POSITIONS, golden_config(case))
    scale = np.abs(case["weights"]).max()
    np.testing.assert_allclose(dmp.weights, case["weights"], atol=1e-6 * scale)
    turning = RotationDmp.fit(TIMES, TURNS, golden_config(case))
    np.testing.assert_allclose(turning.weights, case["turn_weights"], atol=1e-6 * np.abs(case["turn_weights"]).max())


@CASES
@pytest.mark.parametrize("name", ["path", "path_to_new_goal"])
def test_rolls_out_as_the_package(case, name):
    """The package is up to one of its steps (1 ms) early."""
    dmp = Dmp.fit(TIMES, POSITIONS, golden_config(case))
    turning = RotationDmp.fit(TIMES, TURNS, golden_config(case))
    if name == "path_to_new_goal":
        dmp = replace(dmp, goal=np.array(case["new_goal"]))
        turning = replace(turning, goal=np.array(case["new_turn"]))
    golden = np.array(case[name])
    np.testing.assert_allclose(dmp.roll_out(DT / 10)[::10], golden[:41], atol=6e-4)
    turned = np.array(case[f"turn_{name}"])[:41]
    apart = np.linalg.norm(turn_between(turning.roll_out(DT), turned), axis=1)
    assert apart.max() < 4e-3


@pytest.mark.parametrize("scaling", ["none", "pastor"])
def test_reproduces_its_demonstration(scaling):
    config = DmpConfig(scaling=scaling)
    hand = PoseDmp.fit(TIMES, POSITIONS, TURNS, np.sign(TIMES - 1.5) + 0.0, config)
    positions, turns, gripper = hand.roll_out(TIMES[1])
    assert np.abs(positions - POSITIONS).max() < 0.003
    assert np.linalg.norm(turn_between(turns, TURNS), axis=1).max() < 0.01
    np.testing.assert_allclose(np.linalg.norm(turns, axis=1), 1.0, atol=1e-12)
    closed = TIMES[np.argmax(gripper > 0)]
    assert abs(closed - 1.5) < 0.06


def test_reaches_another_goal_in_another_time():
    hand = PoseDmp.fit(TIMES, POSITIONS, TURNS, np.ones(len(TIMES)))
    goal, turn = POSITIONS[-1] + [0.2, 0.1, 0.0], np.array([1.0, 0.0, 0.0, 0.0])
    positions, turns, _ = hand.to(goal, turn, 5.0).roll_out(0.05)
    assert len(positions) == len(turns) == 101
    assert np.linalg.norm(positions[-1] - goal) < 0.01
    assert np.linalg.norm(turn_between(turns[-1], turn)) < 0.03
    same = hand.to(POSITIONS[-1], TURNS[-1], 5.0).roll_out(0.05)[0]
    np.testing.assert_allclose(same, hand.roll_out(0.02)[0], atol=1e-9)  # only slower


def test_what_a_new_goal_does_to_the_shape():
    path = np.column_stack([POSITIONS[:, 0]])
    far = 3 * path[-1]
    stretched = replace(Dmp.fit(TIMES, path, DmpConfig(scaling="ijspeert")), goal=far).roll_out(TIMES[1])
    np.testing.assert_allclose(stretched, 3 * path, atol=0.006)
    early = 10
    shifted = replace(Dmp.fit(TIMES, path, DmpConfig(scaling="pastor")), goal=far).roll_out(TIMES[1])
    thrown = replace(Dmp.fit(TIMES, path, DmpConfig(scaling="none")), goal=far).roll_out(TIMES[1])
    assert shifted[early, 0] < 0.3 * thrown[early, 0]
    with pytest.raises(HoneError, match=r"number 2 .* ends where it starts"):
        Dmp.fit(TIMES, POSITIONS, DmpConfig(scaling="ijspeert"))


@pytest.mark.parametrize("scaling", ["none", "pastor", "ijspeert"])
def test_passes_through_points_and_still_arrives(scaling):
    dmp = Dmp.fit(TIMES, POSITIONS[:, :2], DmpConfig(scaling=scaling))
    points = dmp.roll_out(0.01)[[60, 120]] + [[0.05, 0.08], [-0.03, 0.0]]
    path = dmp.through(np.array([0.3, 0.6]), points).roll_out(0.01)
    np.testing.assert_allclose(path[[60, 120]], points, atol=1e-4)
    assert np.linalg.norm(path[-1] - POSITIONS[-1, :2]) < 0.01


def test_goes_around_what_stands_in_its_way():
    dmp = Dmp.fit(TIMES, POSITIONS)
    middle = dmp.roll_out(0.01)[100]
    path = dmp.around(middle, 0.06).roll_out(0.01)
    assert np.linalg.norm(path - middle, axis=1).min() >= 0.0599
    assert np.linalg.norm(path[-1] - POSITIONS[-1]) < 0.01
    assert dmp.around(middle + 5.0, 0.06) is dmp
    with pytest.raises(HoneError, match="nothing leads around"):
        dmp.around(POSITIONS[-1], 0.05)


@pytest.mark.parametrize(
    ("times", "path", "message"),
    [
        (TIMES[:2], POSITIONS[:2], "at least 3 points"),
        (TIMES[::-1], POSITIONS, "times that grow"),
        (TIMES, np.where(POSITIONS > 0.3, np.nan, POSITIONS), "finite"),
    ],
)
def test_says_what_is_wrong_with_a_demonstration(times, path, message):
    with pytest.raises(HoneError, match=message):
        Dmp.fit(times, path)


def test_says_what_is_wrong_with_a_request():
    dmp = Dmp.fit(TIMES, POSITIONS)
    with pytest.raises(HoneError, match="positive step"):
        dmp.roll_out(0.0)
    with pytest.raises(HoneError, match="between 0 and 1"):
        dmp.through(np.array([1.5]), POSITIONS[:1])
    with pytest.raises(HoneError, match="at least 2"):
        DmpConfig(num_basis=1)
