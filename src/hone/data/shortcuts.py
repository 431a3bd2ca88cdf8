"""Can a policy do what the demonstrations do without looking, or without listening?

A shortcut is a cue that goes with the right action in the data and not in the world (Xing et al. 2025,
arXiv:2508.06426, for robot policies; Geirhos et al. 2020 in general). Each function here asks how far one cue gets,
always on episodes that were held out.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64, Int64

FOLDS = 5
CENTRES = 150
"""Points around which the predictor has radial functions, …"""
WIDTHS = (1.0, 1 / 64)
"""… of these squared widths each, in medians of the squared distance: a broad one, and one of an eighth the breadth."""
ROWS = 20_000
"""Control steps that a predictor is fitted and tested on; more are thinned evenly."""
RIDGE = 1e-3


def nearest_label(features: Float64[np.ndarray, "N D"], labels: Int64[np.ndarray, " N"]) -> tuple[float, float]:
    """How often the nearest other episode has the same label, and how often a guess would."""
    distances = squared_distances(features, features)
    np.fill_diagonal(distances, np.inf)
    same = labels[distances.argmin(axis=1)] == labels
    counts = np.bincount(labels)
    chance = float((counts * (counts - 1)).sum() / max(len(labels) * (len(labels) - 1), 1))
    return float(same.mean()), chance


def chance_of(successes: int, trials: int, rate: float) -> float:
    """Probability of at least so many successes by luck (one-sided binomial)."""
    if successes == 0:
        return 1.0
    ways = [math.comb(trials, k) for k in range(successes, trials + 1)]
    each = [rate**k * (1 - rate) ** (trials - k) for k in range(successes, trials + 1)]
    return min(1.0, sum(count * chance for count, chance in zip(ways, each, strict=True)))


def held_out_r2(
    inputs: Float64[np.ndarray, "R D"], targets: Float64[np.ndarray, "R A"], episodes: Int64[np.ndarray, " R"]
) -> float:
    """Share of the targets' variance that the inputs tell in episodes that were not learned from; mean over dimensions.

    Ridge regression on radial functions around some of the learned rows. A dimension told worse than by the mean counts
    as not told at all, one that does not vary is left out.
    """
    names = np.unique(episodes)
    if len(names) < 2:
        return 0.0
    fold = np.searchsorted(names, episodes) % min(FOLDS, len(names))
    varying = targets.std(axis=0) > 1e-9
    if not varying.any():
        return 0.0
    wanted = targets[:, varying]
    predicted, baseline = np.empty_like(wanted), np.empty_like(wanted)
    for k in range(fold.max() + 1):
        out = fold == k
        predicted[out] = _predict(inputs[~out], wanted[~out], inputs[out])
        baseline[out] = wanted[~out].mean(axis=0)
    left = ((wanted - predicted) ** 2).sum(axis=0)
    total = ((wanted - baseline) ** 2).sum(axis=0)
    return float(np.maximum(1 - left / np.maximum(total, 1e-12), 0.0).mean())


def one_hot(labels: Int64[np.ndarray, " N"], count: int) -> Float64[np.ndarray, "N C"]:
    return np.eye(count)[labels]


def squared_distances(a: Float64[np.ndarray, "N D"], b: Float64[np.ndarray, "M D"]) -> Float64[np.ndarray, "N M"]:
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0.0)


def _predict(inputs: np.ndarray, targets: np.ndarray, asked: np.ndarray) -> np.ndarray:
    mean, std = inputs.mean(axis=0), inputs.std(axis=0)
    scale = np.where(std > 1e-9, std, 1.0)
    known, new = (inputs - mean) / scale, (asked - mean) / scale
    centres = known[np.linspace(0, len(known) - 1, min(CENTRES, len(known))).astype(int)]
    between = squared_distances(centres, centres)
    median = np.median(between[between > 1e-12]) if (between > 1e-12).any() else 1.0

    def features(rows: np.ndarray) -> np.ndarray:
        distances = squared_distances(rows, centres) / median
        return np.concatenate([*(np.exp(-distances / width) for width in WIDTHS), np.ones((len(rows), 1))], axis=1)

    x, y = features(known), targets - targets.mean(axis=0)
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += RIDGE * len(x)
    return features(new) @ np.linalg.solve(gram, x.T @ y) + targets.mean(axis=0)
