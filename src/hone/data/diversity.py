"""How many different things a data set shows: distances between whole episodes, near-copies, effective numbers."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from hone.data.shortcuts import squared_distances

POINTS = 32
"""Moments of an episode that are compared, evenly spread over its length."""
SIMILARITY = 0.5
"""Distance, in deviations of the data, over which two episodes grow different (the width of the kernel)."""


def resampled(values: Float64[np.ndarray, "T D"]) -> Float64[np.ndarray, "K D"]:
    """`POINTS` moments, linearly interpolated."""
    at = np.linspace(0, len(values) - 1, POINTS)
    return np.stack([np.interp(at, np.arange(len(values)), column) for column in values.T], axis=1)


def episode_distances(episodes: Float64[np.ndarray, "N K D"]) -> Float64[np.ndarray, "N N"]:
    """Root mean square difference between resampled episodes, each dimension in deviations of the whole data."""
    flat = episodes.reshape(-1, episodes.shape[2])
    std = flat.std(axis=0)
    scaled = (episodes / np.where(std > 1e-9, std, np.inf)).reshape(len(episodes), -1)
    return np.sqrt(squared_distances(scaled, scaled) / (POINTS * max(int((std > 1e-9).sum()), 1)))


def copies(distances: Float64[np.ndarray, "N N"], threshold: float) -> list[tuple[int, int]]:
    """Pairs that are nearer than `threshold`."""
    first, second = np.nonzero(np.triu(distances < threshold, k=1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def effective_number(distances: Float64[np.ndarray, "N N"]) -> float:
    """How many distinct episodes there are as it were: the Vendi score (Friedman & Dieng 2023, arXiv:2210.02410).

        exp(- sum_i lambda_i log lambda_i),   lambda the eigenvalues of K / N,   K_ij = exp(-d_ij^2 / (2 SIMILARITY^2))

    1 where all are alike, N where none resembles another.
    """
    kernel = np.exp(-(distances**2) / (2 * SIMILARITY**2))
    shares = np.linalg.eigvalsh(kernel / len(kernel))
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def disparity(features: Float64[np.ndarray, "N D"], labels: Int64[np.ndarray, " N"]) -> float:
    """Share of the variance that lies between the groups (eta squared): 1 where a group has no spread of its own."""
    total = ((features - features.mean(axis=0)) ** 2).sum()
    if total < 1e-12:
        return 0.0
    within = sum(
        ((features[labels == label] - features[labels == label].mean(axis=0)) ** 2).sum() for label in np.unique(labels)
    )
    return float(1 - within / total)
