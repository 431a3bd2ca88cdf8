"""LIBERO's measures of learning one task after another (Liu et al. 2023, arXiv:2306.03310). Pure functions.

    FWT = 1/K sum_k FWT_k        FWT_k = 1/E sum_e c_{k,k,e}
    NBT = 1/(K-1) sum_{k<K} NBT_k    NBT_k = 1/(K-k) sum_{tau>k} (c_{k,k} - c_{tau,k})
    AUC = 1/K sum_k AUC_k        AUC_k = 1/(K-k+1) (FWT_k + sum_{tau>k} c_{tau,k})

`curves[k, e]` is c_{k,k,e}, success on task k at the e-th of `E` evaluations while it is learned, the first before
anything was. As in the paper, c_{k,k} is the best of them, and counts from the earliest time it was reached on.
`later[tau, k]` is c_{tau,k}, success on task k once task tau was learned; only what comes after (tau > k) is read.

Departure: the paper divides the sum of NBT_k by K. Nothing comes after the last task, so its term does not exist.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

Curves = Float64[np.ndarray, "K E"]
Later = Float64[np.ndarray, "K K"]


def forward_transfer(curves: Curves) -> float:
    """How well, and how soon, tasks are learned: higher is better."""
    return float(_held_at_best(curves).mean())


def negative_backward_transfer(curves: Curves, later: Later) -> float:
    """How much of what was learned is lost: lower is better, below zero where tasks gain from later ones. NaN for one
    task."""
    tasks = len(curves)
    if tasks < 2:
        return float("nan")
    best = curves.max(axis=1)
    return float(np.mean([best[k] - later[k + 1 :, k].mean() for k in range(tasks - 1)]))


def area_under_curve(curves: Curves, later: Later) -> float:
    """Success on each task from when its turn comes to the end, averaged: higher is better."""
    learned = _held_at_best(curves).mean(axis=1)
    return float(np.mean([np.append(later[k + 1 :, k], learned[k]).mean() for k in range(len(curves))]))


def _held_at_best(curves: Curves) -> Curves:
    """From the earliest time on that a task was at its best, it stays there."""
    reached = np.arange(curves.shape[1]) >= curves.argmax(axis=1)[:, None]
    return np.where(reached, curves.max(axis=1, keepdims=True), curves)
