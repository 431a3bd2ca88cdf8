"""What a number of episodes can and cannot show. Pure functions, NumPy only.

A rate gets a Wilson interval; a difference between two policies on the same placements gets a paired bootstrap; a
difference that this many episodes cannot show is "inconclusive", not a win.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Bool

Verdict = Literal["win", "loss", "inconclusive"]


def wilson_interval(successes: int, episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a binomial rate (Wilson 1927, J. Am. Stat. Assoc. 22:209-212).

        centre = (p + z²/2n) / (1 + z²/n),   half-width = z / (1 + z²/n) · sqrt(p (1 - p) / n + z²/4n²)

    Stays inside [0, 1] and does not collapse at 0 or n successes. With no episodes nothing is known: (0, 1).
    """
    if not 0 <= successes <= episodes:
        raise ValueError(f"{successes} successes in {episodes} episodes")
    if episodes == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / episodes
    shrink = 1 + z**2 / episodes
    centre = (rate + z**2 / (2 * episodes)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / episodes + z**2 / (4 * episodes**2))
    # Rounding could leave 1e-17 where the formula gives exactly 0 or 1.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == episodes else centre + half
    return low, high


@dataclass(frozen=True)
class Difference:
    """Success rate after minus before, on the same placements, with its interval. Fractions, not points."""

    mean: float
    low: float
    high: float
    pairs: int


def paired_bootstrap(
    before: Bool[np.ndarray, " N"],
    after: Bool[np.ndarray, " N"],
    seed: int = 0,
    *,
    tasks: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 20_000,
) -> Difference:
    """Percentile bootstrap of the mean paired difference over placements (Efron and Tibshirani 1993, chapter 13).

    Row `i` of both arrays is the same task from the same placement. With `tasks [N]` given, placements are resampled
    within each task, because which tasks are in the suite was not drawn at random.

    A paired difference takes only the values -1, 0 and 1, so the sum of a resample is drawn exactly as a multinomial
    instead of picking N rows. Where every pair agrees the interval has no width; `verdict` guards against reading
    much into that when there are few pairs.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} episodes before, {len(after)} after; they must be the same placements")
    if len(before) == 0:
        raise ValueError("a paired difference needs at least one pair of episodes")
    if tasks is not None and len(tasks) != len(before):
        raise ValueError(f"{len(tasks)} task names for {len(before)} pairs")
    differences = after.astype(np.int64) - before.astype(np.int64)
    strata = (
        np.zeros(len(before), dtype=np.int64) if tasks is None else np.unique(np.array(tasks), return_inverse=True)[1]
    )
    generator = np.random.default_rng(seed)
    sums = np.zeros(resamples)
    for stratum in np.unique(strata):
        inside = differences[strata == stratum]
        shares = np.array([(inside == value).mean() for value in (-1, 0, 1)])
        lost, _, gained = generator.multinomial(len(inside), shares, size=resamples).T
        sums += gained - lost
    tail = (1 - confidence) / 2
    low, high = np.quantile(sums / len(before), [tail, 1 - tail])
    return Difference(float(differences.mean()), float(low), float(high), len(before))


def detectable_difference(
    episodes: int, *, discordance: float = 0.2, confidence: float = 0.95, power: float = 0.8
) -> float:
    """The smallest true paired difference that `episodes` pairs find with probability `power` (normal approximation).

        difference = (z_confidence + z_power) sqrt(discordance / episodes)

    `discordance` is the share of placements on which the two policies are expected to disagree. At the defaults:
    12.5 points for 100 pairs, 5.6 for 500. More than 1 means that no difference could be shown.
    """
    if episodes <= 0:
        return math.inf
    z = NormalDist().inv_cdf(0.5 + confidence / 2) + NormalDist().inv_cdf(power)
    return z * math.sqrt(discordance / episodes)


def verdict(difference: Difference) -> Verdict:
    """ "win" or "loss" only if the interval excludes zero and the difference is one this many pairs can show."""
    # The policies disagree at least as often as their rates differ. This matters for a few pairs that all agree, where
    # the bootstrap has no spread to go by.
    discordance = max(0.2, abs(difference.mean))
    if abs(difference.mean) < detectable_difference(difference.pairs, discordance=discordance):
        return "inconclusive"
    if difference.low > 0:
        return "win"
    return "loss" if difference.high < 0 else "inconclusive"
