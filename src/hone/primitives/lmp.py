"""Language Movement Primitives (arXiv:2602.02839): the movement that a few weights between -0.9 and 0.9 describe.

A language model, or whoever proposes, gives one row of weights for each of x, y, z, yaw and gripper; a spring pulls
each row from start to goal while its weights push it aside. Equations and constants are those of the authors' code
(branch `code` of lmp-26/lmp-26.github.io). With s = t / duration, at most 1, and N bases at c_i = linspace(0, 1, N):

    psi_i = exp(-h (s - c_i)^2), h = (0.25 (c_2 - c_1))^-2      gate x = exp(-4.5 s^3)
    pose rows:  f = x sum_i w_i psi_i / sum_i psi_i             z' = alpha beta (g - y) - alpha z + 2 f,   y' = z
                alpha = 20.8, beta = 5.2 (critically damped); weights times 20, those of yaw times 200
    gripper:    f = the weight of the segment that s is in      alpha = 8.4, beta = 10.5, 8 f; weights times 10
                no gate; 0 is open, 1 closed, and the hand closes as its row rises above 0.5

by explicit Euler steps of 0.003, s first; it ends when x falls below 0.0112. Unlike Ijspeert's (`dmp.py`), the force
does not scale with g - y0, and the bases are nearly separate: one weight acts on one stretch of the way. The pose rows
are linear in their weights (`responses`). Figures: docs/algorithms/language_movement_primitives.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from hone.errors import HoneError
from hone.language.plan import Refusal

ROWS = ("x", "y", "z", "yaw", "gripper")
"""Metres, radians; the gripper between 0 (open) and 1 (closed)."""
LARGEST_WEIGHT = (0.9, 0.9, 0.9, 0.9, 1.0)
"""Per row; the authors' rules allow 1 for the gripper alone."""
ANGLE_RANGE_RAD = (-math.pi, math.pi)
HEIGHT_RANGE_M = (-0.1, 0.5)
"""What may be added to the goal: ours, the authors' code has no bounds."""
WEIGHT_SCALE = np.array([20.0, 20.0, 20.0, 200.0, 10.0])
ALPHA = np.array([20.8, 20.8, 20.8, 20.8, 8.4])
BETA = np.array([5.2, 5.2, 5.2, 5.2, 10.5])
GAIN = np.array([2.0, 2.0, 2.0, 2.0, 8.0])
GATE_RATE = 4.5
DT = 0.003
"""Share of the duration per step."""
END_PHASE = 0.0112
CLOSED_ABOVE = 0.5

Weights = Float64[np.ndarray, "5 N"]
State = Float64[np.ndarray, " 5"]
Trajectory = Float64[np.ndarray, "T 5"]


@dataclass(frozen=True)
class LmpConfig:
    """The form of the movement; the default is the authors'."""

    num_bases: int = 11
    gate: bool = True
    """Let the weights fade out, so that the goal is reached. Without it the last weights hold the hand off the goal."""

    def __post_init__(self) -> None:
        if self.num_bases < 2:
            raise HoneError(f"a language movement primitive needs at least 2 bases, not {self.num_bases}.")

    @property
    def centers(self) -> Float64[np.ndarray, " N"]:
        """Where along the way each weight acts most, as a share of the duration."""
        return np.linspace(0.0, 1.0, self.num_bases)

    @property
    def early(self) -> Bool[np.ndarray, " N"]:
        """With 11 bases the authors' indices 0 to 3."""
        return self.centers < 0.35

    @property
    def middle(self) -> Bool[np.ndarray, " N"]:
        """Indices 4 to 6 of 11."""
        return ~self.early & ~self.late

    @property
    def late(self) -> Bool[np.ndarray, " N"]:
        """Indices 7 to 10 of 11."""
        return self.centers > 0.65


@dataclass(frozen=True)
class LmpParameters:
    """What a proposer answers: weights, and what is added to the goal: `angle` (rad) and `height` (m)."""

    weights: Weights
    angle: float = 0.0
    height: float = 0.0

    @staticmethod
    def zero(config: LmpConfig | None = None) -> LmpParameters:
        return LmpParameters(np.zeros((len(ROWS), (config or LmpConfig()).num_bases)))

    def to_json(self) -> dict[str, Any]:
        return {"weights": self.weights.tolist(), "angle": self.angle, "height": self.height}

    @staticmethod
    def from_json(data: Mapping[str, Any], config: LmpConfig | None = None) -> LmpParameters:
        """Checks `{"weights": [5 x N], "angle": rad, "height": m}`; `Refusal` "out_of_schema" says what is wrong."""
        size = (config or LmpConfig()).num_bases
        rows = data.get("weights")
        if not isinstance(rows, list | tuple) or len(rows) != len(ROWS):
            count = len(rows) if isinstance(rows, list | tuple) else repr(rows)
            raise Refusal("out_of_schema", f"'weights' needs a row for each of {', '.join(ROWS)}; found {count}.")
        for name, row, largest in zip(ROWS, rows, LARGEST_WEIGHT, strict=True):
            if not isinstance(row, list | tuple) or len(row) != size:
                count = len(row) if isinstance(row, list | tuple) else repr(row)
                raise Refusal("out_of_schema", f"row '{name}' of 'weights' needs {size} numbers; found {count}.")
            for index, weight in enumerate(row):
                _number(weight, f"weight {index} of row '{name}'", -largest, largest)
        return LmpParameters(
            np.array(rows, np.float64),
            _number(data.get("angle", 0.0), "'angle'", *ANGLE_RANGE_RAD),
            _number(data.get("height", 0.0), "'height'", *HEIGHT_RANGE_M),
        )


def _number(value: Any, what: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refusal("out_of_schema", f"{what} is {value!r:.40}; expected a number from {low:g} to {high:g}.")
    return float(value)


def roll_out(start: State, goal: State, weights: Weights, config: LmpConfig | None = None) -> Trajectory:
    """The movement from `start` (included) until the phase has died out: 335 rows.

    Weights are taken as they are: `LmpParameters.from_json` is where they are checked.
    """
    config = config or LmpConfig()
    if weights.shape[1] != config.num_bases:
        raise HoneError(f"{weights.shape[1]} weights per row were given; this form has {config.num_bases}.")
    y, z = start.astype(np.float64), np.zeros(len(ROWS))
    path = [y]
    for force in GAIN * forces(weights, config):
        y, z = y + DT * z, z + DT * (ALPHA * BETA * (goal - y) - ALPHA * z + force)
        path.append(y)
    return np.stack(path)


def forces(weights: Weights, config: LmpConfig) -> Trajectory:
    """What pushes each row at each step, before its gain."""
    s = _shares()
    apart = 1.0 / (config.num_bases - 1)
    psi = np.exp(-(((s[:, None] - config.centers) / (0.25 * apart)) ** 2))
    gate = np.exp(-GATE_RATE * s**3) if config.gate else np.ones_like(s)
    scaled = weights * WEIGHT_SCALE[:, None]
    pose = gate[:, None] * (psi / psi.sum(1, keepdims=True)) @ scaled[:4].T
    segment = np.minimum((s * config.num_bases).astype(int), config.num_bases - 1)
    gripper = np.where(s < 1, scaled[4, segment], 0.0)
    return np.column_stack([pose, gripper])


def _shares() -> Float64[np.ndarray, " T"]:
    """The share of the duration at each step; the step that goes below the last phase is still taken."""
    last = (-math.log(END_PHASE) / GATE_RATE) ** (1 / 3)
    return np.minimum(DT * np.arange(1, math.floor(last / DT) + 2), 1.0)


@lru_cache
def responses(config: LmpConfig) -> Float64[np.ndarray, "T N"]:
    """How far one unit of each weight moves x, y or z at each row of the trajectory (m)."""
    rest, columns = np.zeros(len(ROWS)), []
    for unit in np.eye(config.num_bases):
        weights = np.zeros((len(ROWS), config.num_bases))
        weights[0] = unit
        columns.append(roll_out(rest, rest, weights, config)[:, 0])
    return np.stack(columns, axis=1)


def crossing(trajectory: Trajectory) -> float | None:
    """The share of the duration at which the hand first closes or opens; None if it stays as it is."""
    closed = trajectory[:, 4] > CLOSED_ABOVE
    changed = np.flatnonzero(closed != closed[0])
    return float(_shares()[changed[0] - 1]) if len(changed) else None
