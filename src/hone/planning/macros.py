"""A library of chunks to try beside the policy's own: macro-actions that succeeded before, and movement primitives.

Macro-actions are medoids of the chunks of successful episodes (VLAPS, arXiv:2508.12211), and so were executed somewhere
as they are. Distances are in normalised units: each action number divided by its spread over those chunks. Movement
primitives are steady motions along one axis, and opening and closing the hand where it is.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64

from hone.cache import write_atomically
from hone.errors import HoneError

PRIMITIVE_SPEED = 0.5
"""Of the translations, in action units: 2.5 cm a control step asked for."""
LEAST_SPREAD = 0.05
"""Least unit of an action number; some rotations hardly vary."""


@dataclass(frozen=True)
class MacroLibrary:
    """`chunks [M, H, 7]` in action units, and `spread [7]`, the unit of each action number when chunks are compared."""

    chunks: Float32[np.ndarray, "M H 7"]
    spread: Float32[np.ndarray, " 7"]

    def distances(self, chunks: Float32[np.ndarray, "n H 7"]) -> Float64[np.ndarray, "n M"]:
        """From each chunk to each of the library."""
        return distances(chunks[:, None], self.chunks[None], self.spread)

    def save(self, path: Path) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, chunks=self.chunks, spread=self.spread)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> MacroLibrary:
        if not path.exists():
            raise HoneError(f"there is no library of macro-actions at '{path}'; `hone value` makes one.")
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["chunks"], arrays["spread"])


def distances(
    first: Float32[np.ndarray, "*n H 7"], second: Float32[np.ndarray, "*m H 7"], spread: Float32[np.ndarray, " 7"]
) -> Float64[np.ndarray, ...]:
    """Root mean square difference over all numbers of two chunks, each in units of its spread."""
    return np.sqrt((((first - second) / spread) ** 2).mean((-2, -1), dtype=np.float64))


def fit_library(chunks: Float32[np.ndarray, "n H 7"], size: int, generator: np.random.Generator) -> MacroLibrary:
    """The medoids of `chunks`, `size` at most, with the movement primitives behind them."""
    if len(chunks) < 2:
        raise HoneError(f"a library of macro-actions needs chunks of successful episodes, not {len(chunks)} of them.")
    spread = np.maximum(chunks.std((0, 1)), LEAST_SPREAD).astype(np.float32)
    between = distances(chunks[:, None], chunks[None], spread)
    medoids = k_medoids(between, min(size, len(chunks)), generator)
    return MacroLibrary(np.concatenate([chunks[medoids], primitives(chunks.shape[1])]), spread)


def primitives_alone(length: int) -> MacroLibrary:
    """Where nothing has succeeded yet."""
    return MacroLibrary(primitives(length), np.full(7, PRIMITIVE_SPEED, np.float32))


def primitives(length: int) -> Float32[np.ndarray, "P H 7"]:
    """Six translations, each with the hand open and closed, and standing still with the hand open and closed."""
    motions = [np.zeros(3), *(sign * PRIMITIVE_SPEED * axis for axis in np.eye(3) for sign in (-1.0, 1.0))]
    actions = [np.concatenate([motion, np.zeros(3), [grip]]) for motion in motions for grip in (-1.0, 1.0)]
    return np.repeat(np.array(actions, np.float32)[:, None], length, axis=1)


def k_medoids(
    between: Float64[np.ndarray, "n n"], k: int, generator: np.random.Generator, rounds: int = 50
) -> Int64[np.ndarray, " k"]:
    """The rows that stand for `k` clusters, alternating (Park and Jun 2009), from k-medoids++ seeds.

    Each further seed is drawn with a probability proportional to its squared distance to the nearest seed so far.
    """
    if not 1 <= k <= len(between):
        raise HoneError(f"{k} medoids of {len(between)} chunks; ask for 1 to {len(between)}.")
    medoids = [int(generator.integers(len(between)))]
    while len(medoids) < k:
        nearest = between[:, medoids].min(1) ** 2
        free = np.setdiff1d(np.arange(len(between)), medoids)
        share = nearest[free] if nearest[free].sum() > 0 else np.ones(len(free))
        medoids.append(int(generator.choice(free, p=share / share.sum())))
    current = np.array(medoids)
    for _ in range(rounds):
        owner = between[:, current].argmin(1)
        owner[current] = np.arange(k)  # of two that are the same, each keeps itself
        members = [np.flatnonzero(owner == cluster) for cluster in range(k)]
        better = np.array([m[between[np.ix_(m, m)].sum(0).argmin()] for m in members])
        if (better == current).all():
            break
        current = better
    return np.sort(current)
