"""What actions do: how often they rest, saturate, jump, open the hand; and whether pictures and actions are in step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

Columns = Sequence[Float64[np.ndarray, "_ _"]]
"""One `[T, D]` per episode; the lengths differ."""

IDLE = 1e-4
"""Norm of an arm's action below which it is none (OpenVLA's rule, see `idle`)."""
AT_EXTREME = 1e-3
"""How near to a dimension's largest size a value counts as saturated, as a share of that size."""
LAGS = range(-2, 3)


def idle(actions: Float64[np.ndarray, "T A"], hand: int | None) -> Bool[np.ndarray, " T"]:
    """Steps in which nothing is asked for: the arm's action is (nearly) zero and the hand's is as before.

    The rule by which OpenVLA filters LIBERO's demonstrations (arXiv:2406.09246, appendix; threshold 1e-4); without a
    hand, the whole action has to be zero.
    """
    arm = actions if hand is None else np.delete(actions, hand, axis=1)
    still = np.linalg.norm(arm, axis=1) < IDLE
    if hand is None:
        return still
    kept = np.ones(len(actions), bool)
    kept[1:] = actions[1:, hand] == actions[:-1, hand]
    return still & kept


def longest_run(mask: Bool[np.ndarray, " T"]) -> int:
    """Length of the longest stretch of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def two_valued(values: Float64[np.ndarray, "N A"]) -> Bool[np.ndarray, " A"]:
    """Which dimensions are switches: they take two or three values only."""
    return np.array([len(np.unique(np.round(column, 6))) <= 3 for column in values.T])


def saturated(values: Float64[np.ndarray, "N A"]) -> Float64[np.ndarray, " A"]:
    """Share of steps at a dimension's own extremes."""
    largest = np.abs(values).max(axis=0)
    return (np.abs(values) >= (1 - AT_EXTREME) * np.maximum(largest, 1e-12)).mean(axis=0) * (largest > 0)


def farthest(values: Float64[np.ndarray, "N A"]) -> Float64[np.ndarray, " A"]:
    """The largest value of a dimension after normalisation by mean and deviation; infinite where it is constant."""
    spread = np.abs(values - values.mean(axis=0)).max(axis=0)
    std = values.std(axis=0)
    return np.divide(spread, std, out=np.full(len(std), np.inf), where=std > 1e-6 * np.maximum(spread, 1.0))


def roughness(episodes: Columns) -> Float64[np.ndarray, " A"]:
    """Mean size of the change from step to step, in deviations: 0 is constant, white noise has 2/sqrt(pi) = 1.13."""
    changes = np.concatenate([np.abs(np.diff(actions, axis=0)) for actions in episodes if len(actions) > 1])
    std = np.concatenate(list(episodes)).std(axis=0)
    return changes.mean(axis=0) / np.maximum(std, 1e-12)


def flips(actions: Float64[np.ndarray, "T A"], hand: int) -> int:
    """How often the hand's command changes sides of its middle."""
    command = actions[:, hand]
    side = command > (command.max() + command.min()) / 2
    return int((side[1:] != side[:-1]).sum())


def closing_side(actions: Columns, widths: Sequence[Float64[np.ndarray, " _"]], hand: int) -> float:
    """+1 where the fingers close under large commands, -1 where they close under small ones, 0 where nothing moves.

    Each command counts by how much the fingers move in its step.
    """
    commands, closing = [], []
    for action, width in zip(actions, widths, strict=True):
        commands.append(action[:-1, hand])
        closing.append(-np.diff(width))
    command, closed = np.concatenate(commands), np.concatenate(closing)
    if not len(command):
        return 0.0
    side = np.sign(command - (command.max() + command.min()) / 2)
    return float((side * closed).sum() / max(np.abs(closed).sum(), 1e-12))


def lags(actions: Columns, positions: Columns) -> dict[int, float]:
    """How well an action tells the motion `k` steps later, by `k`; positions are measured before the action.

    Mean correlation over the axes of `action[t, i]` with `position[t + k + 1, i] - position[t + k, i]`. The motion that
    an action causes is at 0 or, where the robot follows slowly, at 1. At -1 the observation was made after the action
    it is stored with: a policy would learn to repeat what was just done.
    """
    result = {}
    for lag in LAGS:
        asked, moved = [], []
        for action, position in zip(actions, positions, strict=True):
            motion = np.diff(position, axis=0)
            first, last = max(0, -lag), min(len(motion), len(motion) - lag)
            if last > first:
                asked.append(action[first:last])
                moved.append(motion[first + lag : last + lag])
        if asked:
            a, b = np.concatenate(asked), np.concatenate(moved)
            result[lag] = float(np.mean([_correlation(a[:, i], b[:, i]) for i in range(b.shape[1])]))
    return result


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if a.std() < 1e-12 or b.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
