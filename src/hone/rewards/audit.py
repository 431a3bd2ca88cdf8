"""Is the reward being hacked? What the reward said of every rollout, beside what was true. Only for looking at.

The truth comes from whoever runs the episodes (LIBERO's success check); it never flows back into a reward.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hone.errors import HoneError
from hone.rewards.detectors import Quality, quality

log = logging.getLogger(__name__)
HACKING_THRESHOLD = 0.1
WINDOW = 5
"""Iterations that the warning looks back over."""
FEWEST_CLAIMS = 10
"""Below so many claimed successes a rate says nothing."""


@dataclass(frozen=True)
class AuditRow:
    """One rollout. `proxy` is the reward it got, `claimed` whether the reward took it for a success."""

    iteration: int
    task: str
    proxy: float
    claimed: bool
    success: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> AuditRow:
        return AuditRow(
            int(row["iteration"]), str(row["task"]), float(row["proxy"]), bool(row["claimed"]), bool(row["success"])
        )


@dataclass(frozen=True)
class Finding:
    """What some rollouts show together. Rates are `None` where there is nothing to count.

    `hacking_rate`: share of the claimed successes that were none. `false_positive_rate`: share of the true failures
    that were claimed; `false_negative_rate`: share of the true successes that were not. `rank_correlation`:
    Spearman's, of reward and true success.
    """

    rollouts: int
    claimed: int
    successes: int
    hacking_rate: float | None
    false_positive_rate: float | None
    false_negative_rate: float | None
    rank_correlation: float | None
    quality: Quality


class Audit:
    """Collects rows and warns, once for each iteration, when too many claimed successes were none."""

    def __init__(self, threshold: float = HACKING_THRESHOLD, rows: Iterable[AuditRow] = ()) -> None:
        """`threshold`: hacking rate from which it warns. `rows`: those of a run that resumes."""
        if not 0.0 <= threshold <= 1.0:
            raise HoneError(f"the audit's threshold is {threshold}; expected a rate from 0 to 1.")
        self.threshold = threshold
        self.rows = list(rows)

    def add(self, rows: Sequence[AuditRow]) -> Finding:
        """The rollouts of one iteration. Returns what the last iterations show, and says so loudly if it is bad."""
        self.rows += rows
        recent = self.recent()
        if self.alarming(recent):
            log.warning(
                "REWARD HACKING: %.0f %% of the %d successes that the reward claimed in the last %d iterations were "
                "none (threshold %.0f %%). The policy is learning to please the reward and not to do the task.",
                100 * (recent.hacking_rate or 0.0),
                recent.claimed,
                WINDOW,
                100 * self.threshold,
            )
        return recent

    def recent(self) -> Finding:
        """What the last iterations show."""
        last = max((row.iteration for row in self.rows), default=0)
        return findings([row for row in self.rows if row.iteration > last - WINDOW])

    def alarming(self, finding: Finding) -> bool:
        enough = finding.claimed >= FEWEST_CLAIMS
        return enough and finding.hacking_rate is not None and finding.hacking_rate > self.threshold


def findings(rows: Sequence[AuditRow]) -> Finding:
    counts = quality([row.claimed for row in rows], [row.success for row in rows])
    claimed, successes = counts.true_positives + counts.false_positives, counts.true_positives + counts.false_negatives
    return Finding(
        rollouts=len(rows),
        claimed=claimed,
        successes=successes,
        hacking_rate=_rate(counts.false_positives, claimed),
        false_positive_rate=_rate(counts.false_positives, len(rows) - successes),
        false_negative_rate=_rate(counts.false_negatives, successes),
        rank_correlation=rank_correlation([row.proxy for row in rows], [float(row.success) for row in rows]),
        quality=counts,
    )


def by_iteration(rows: Sequence[AuditRow]) -> dict[int, Finding]:
    numbers = sorted({row.iteration for row in rows})
    return {number: findings([row for row in rows if row.iteration == number]) for number in numbers}


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; `None` where one of the two does not vary."""
    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
