"""Statistics as LeRobot keeps them beside its data: of each column of an episode, and of all episodes together.

Names, shapes and the way episodes are joined are those of lerobot/datasets/compute_stats.py (0.6.1). Departure: an
episode's quantiles are interpolated between its values; LeRobot takes the nearest edge of a fine histogram.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
MOST_PICTURES = 100
"""Pictures of an episode that its statistics are taken from, evenly spread."""

Stats = dict[str, np.ndarray]
"""`min max mean std q01 … q99`, each of the feature's own shape, and `count [1]`."""


def column_stats(column: np.ndarray) -> Stats:
    """Of a column `[T]` or `[T, D]`; the shapes are `[1]` or `[D]`."""
    values = column.reshape(len(column), -1).astype(np.float64)
    return _over_rows(values, len(column))


def picture_stats(pictures: UInt8[np.ndarray, "T H W 3"]) -> Stats:
    """Per colour, of values in [0, 1]; the shapes are `[3, 1, 1]`, and `count` counts pictures."""
    some = pictures[:: -(-len(pictures) // MOST_PICTURES)]
    stats = _over_rows(some.reshape(-1, 3).astype(np.float32) / 255, len(some))
    return {name: value if name == "count" else value.reshape(3, 1, 1) for name, value in stats.items()}


def join(parts: Sequence[Stats]) -> Stats:
    """Of all episodes together.

    Mean and variance are exact (the variances within and between). Quantiles are the mean of the episodes' own,
    weighted by length, as LeRobot has them: an approximation.
    """
    counts = np.stack([part["count"] for part in parts]).astype(np.float64)
    weights = (counts / counts.sum()).reshape(-1, *[1] * parts[0]["mean"].ndim)

    def weighted(name: str) -> np.ndarray:
        return (weights * np.stack([part[name] for part in parts])).sum(axis=0)

    mean = weighted("mean")
    variance = (weights * np.stack([part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts])).sum(axis=0)
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": counts.sum(axis=0).astype(np.int64),
        **{name: weighted(name) for name in QUANTILES},
    }


def _over_rows(values: np.ndarray, count: int) -> Stats:
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0, dtype=np.float64),
        "std": values.std(axis=0, dtype=np.float64),
        "count": np.array([count]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }
