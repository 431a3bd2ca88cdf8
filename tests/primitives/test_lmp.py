"""The form of language movement primitives: what weights do, measured, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hone.errors import HoneError
from hone.language.plan import Refusal
from hone.primitives.lmp import (
    DT,
    LmpConfig,
    LmpParameters,
    crossing,
    responses,
    roll_out,
)

REST = np.zeros(5)
LATE_CLOSING = [-1.0] * 10 + [1.0]


def with_row(row: int, values) -> np.ndarray:
    weights = np.zeros((5, 11))
    weights[row] = values
    return weights


def gripper(start: float, goal: float, row) -> float | None:
    closed = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    return crossing(roll_out(start * closed, goal * closed, with_row(4, row)))


def test_without_weights_it_goes_straight_to_the_goal():
    """0.3 mm are left of a metre, 90 % are behind it at s = 0.37, and it never overshoots."""
    goal = np.array([1.0, -0.5, 0.2, 0.5, 1.0])
    path = roll_out(REST, goal, np.zeros((5, 11)))
    assert path.shape == (335, 5)
    assert abs(path[-1, 0] - 1.0) == pytest.approx(3e-4, abs=2e-5)
    assert DT * np.argmax(path[:, 0] > 0.9) == pytest.approx(0.372, abs=0.003)
    assert np.all(np.diff(path[:, :4] / goal[:4], axis=0) >= 0)
    np.testing.assert_allclose(path[:, 1] / path[-1, 1], path[:, 0] / path[-1, 0])  # a straight line


def test_follows_the_equations_written_out():
    """The same sums in plain numbers, one row and one step at a time."""
    generator = np.random.default_rng(0)
    weights, goal = generator.uniform(-0.9, 0.9, (5, 11)), generator.normal(size=5)
    path = roll_out(REST, goal, weights)
    for row, (alpha, beta, gain, scale) in enumerate(4 * [(20.8, 5.2, 2, 20)] + [(8.4, 10.5, 8, 10)]):
        y = z = t = 0.0
        scale = 200 if row == 3 else scale
        for k in range(1, len(path)):
            t += 0.003
            s = min(t, 1.0)
            if row < 4:
                psi = [np.exp(-((s - i / 10) ** 2) / 0.025**2) for i in range(11)]
                f = np.exp(-4.5 * s**3) * np.dot(weights[row], psi) / sum(psi) * scale
            else:
                f = scale * weights[row, int(s * 11)] if s < 1 else 0.0
            acceleration = alpha * beta * (goal[row] - y) - alpha * z + gain * f
            y, z = y + 0.003 * z, z + 0.003 * acceleration
            assert path[k, row] == pytest.approx(y, abs=1e-9)
    last = 0.003 * (len(path) - 1)
    assert np.exp(-4.5 * min(last, 1.0) ** 3) < 0.0112 < np.exp(-4.5 * (last - 0.003) ** 3)


@pytest.mark.parametrize(
    ("part", "peak_m", "left_mm"), [("early", 0.279, 2.3), ("middle", 0.152, 16.3), ("late", 0.034, 23.9)]
)
def test_how_far_weights_of_09_push(part, peak_m, left_mm):
    config = LmpConfig()
    pushed = 0.9 * responses(config)[:, getattr(config, part)].sum(1)
    assert pushed.max() == pytest.approx(peak_m, abs=0.001)
    assert 1e3 * pushed[-1] == pytest.approx(left_mm, abs=0.1)


def test_a_steady_weight_pushes_037_m_per_unit_without_the_gate():
    assert responses(LmpConfig(gate=False)).sum(1).max() == pytest.approx(40 / (20.8 * 5.2), rel=0.11)
    held = responses(LmpConfig(num_bases=2, gate=False)).sum(1)
    assert held[-1] == pytest.approx(0.37, abs=0.001)


def test_the_path_is_linear_in_the_pose_weights():
    weights = np.zeros((5, 20))
    weights[:3] = np.random.default_rng(1).uniform(-0.9, 0.9, (3, 20))
    config, goal = LmpConfig(num_bases=20), np.array([0.3, 0.2, 0.1, 0.0, 0.0])
    straight = roll_out(REST, goal, 0 * weights, config)
    bent = roll_out(REST, goal, weights, config)
    np.testing.assert_allclose(bent[:, :3], straight[:, :3] + responses(config) @ weights[:3].T, atol=1e-12)


def test_yaw_weights_count_tenfold():
    assert roll_out(REST, REST, with_row(3, 0.1))[:, 3].max() == pytest.approx(0.314, abs=0.002)


@pytest.mark.parametrize(
    ("row", "closes_at"),
    [
        ([0.0] * 11, 0.135),
        ([-1, -1, -0.5, -0.5, -0.5, -0.5, -0.5, 0.5, 0.2, 0, 0], 0.384),  # "around 75 %" in the authors' rules
        (LATE_CLOSING, 0.993),  # "very late, 95 %"
        ([-1] * 4 + [0] * 7, 0.486),
        ([-1] * 8 + [0] * 3, 0.852),
        ([-1] * 11, None),
        ([1] * 11, 0.090),
    ],
)
def test_when_an_open_hand_closes(row, closes_at):
    assert gripper(0, 1, row) == (None if closes_at is None else pytest.approx(closes_at, abs=0.002))


def test_when_a_closed_hand_opens():
    assert gripper(1, 0, [0] * 11) == pytest.approx(0.135, abs=0.002)
    assert gripper(1, 1, [0] * 11) is None
    assert gripper(1, 1, LATE_CLOSING) == pytest.approx(0.144, abs=0.002)  # what closes late drops what is carried
    assert gripper(1, 0, [1] * 11) is None


def test_the_contract_survives_json():
    parameters = LmpParameters(with_row(2, 0.5), angle=0.3, height=0.1)
    again = LmpParameters.from_json(json.loads(json.dumps(parameters.to_json())))
    np.testing.assert_array_equal(again.weights, parameters.weights)
    assert (again.angle, again.height) == (0.3, 0.1)
    assert LmpParameters.from_json(LmpParameters.zero(LmpConfig(5)).to_json(), LmpConfig(5)).weights.shape == (5, 5)


def spoilt(row=None, index=None, value=None, **fields):
    data = LmpParameters.zero().to_json()
    if row is not None:
        data["weights"][row][index] = value
    return {**data, **fields}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "x, y, z, yaw, gripper; found None"),
        (spoilt(weights=[[0.0] * 11] * 4), "found 4"),
        (spoilt(weights=[[0.0] * 10] * 5), "row 'x' of 'weights' needs 11 numbers; found 10"),
        (spoilt(2, 7, 0.95), "weight 7 of row 'z' is 0.95; expected a number from -0.9 to 0.9"),
        (spoilt(4, 0, -1.01), "weight 0 of row 'gripper' is -1.01; expected a number from -1 to 1"),
        (spoilt(1, 3, float("nan")), "weight 3 of row 'y' is nan"),
        (spoilt(0, 0, "0.1"), "weight 0 of row 'x' is '0.1'"),
        (spoilt(0, 0, True), "weight 0 of row 'x' is True"),
        (spoilt(angle=None), "'angle' is None"),
        (spoilt(height=float("inf")), "'height' is inf"),
    ],
)
def test_refuses_what_is_out_of_schema(data, message):
    with pytest.raises(Refusal, match=message) as refusal:
        LmpParameters.from_json(data)
    assert refusal.value.reason == "out_of_schema"


def test_says_when_the_form_does_not_fit():
    with pytest.raises(HoneError, match="11 weights per row were given; this form has 5"):
        roll_out(REST, REST, np.zeros((5, 11)), LmpConfig(5))
    with pytest.raises(HoneError, match="at least 2 bases"):
        LmpConfig(1)
