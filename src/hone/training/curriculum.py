"""Which task is practised next, and how widely it is explored: decided by how earlier updates went."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from hone.types import Task

CurriculumKind = Literal["failures", "learnability", "uniform"]
WIDEN, WIDEST, NARROW_FROM = 1.5, 2.5, 0.1
"""Factor by which exploration grows while no episode succeeds, and its bound; it shrinks again from this success on."""
SHARE = 0.1
"""What every task gets beside its share, so that a solved or hopeless one is still looked at."""


class Curriculum:
    """Running success of each task (1/2 before it is known) and what follows from it. Changes once per update."""

    def __init__(self, tasks: Sequence[Task], kind: CurriculumKind = "failures") -> None:
        self.tasks = tuple(tasks)
        self.kind: CurriculumKind = kind
        self.success_of = [0.5] * len(self.tasks)
        self.widening = 1.0

    def groups(self, count: int) -> list[Task]:
        """The task of each of `count` groups."""
        return share_groups(self.tasks, [wanted(self.kind, success) for success in self.success_of], count)

    def update(self, outcomes: Sequence[tuple[Task, bool]], success: float) -> None:
        """Task and success of an update's episodes without hints, and the success rate of all its episodes."""
        for index, task in enumerate(self.tasks):
            own = [succeeded for ran, succeeded in outcomes if ran == task]
            if own:
                self.success_of[index] = 0.5 * self.success_of[index] + 0.5 * float(np.mean(own))
        self.widening = widened(self.widening, success)

    def state_dict(self) -> dict[str, Any]:
        return {"success_of": self.success_of, "widening": self.widening}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.success_of, self.widening = list(state["success_of"]), state["widening"]


def wanted(kind: CurriculumKind, success: float) -> float:
    """How much practice a task with this success rate is worth.

    `failures`: the more it fails. A group in which every episode succeeds teaches nothing (its advantages are zero),
    and a task that is nearly never solved needs many episodes to see a success at all. `learnability`: p (1 - p), the
    variance of success, as in learning-progress curricula (sampling for learnability, arXiv:2408.15099): most where it
    succeeds half the time.
    """
    return {"failures": 1.0 - success, "learnability": 4.0 * success * (1.0 - success), "uniform": 1.0}[kind] + SHARE


def share_groups(tasks: Sequence[Task], weights: Sequence[float], groups: int) -> list[Task]:
    """`groups` tasks in proportion to their weights, rounded so that the number comes out."""
    due = np.cumsum(weights) / np.sum(weights) * groups
    edges = [0, *np.round(due).astype(int)]
    return [task for task, (start, end) in zip(tasks, pairwise(edges), strict=True) for _ in range(start, end)]


def widened(widening: float, success: float) -> float:
    """How much wider the next update explores than planned, given the success rate of this one's episodes.

    Where nothing succeeds no group tells good from bad and GRPO stands still, so the noise grows until something does.
    """
    if success == 0.0:
        return min(WIDEN * widening, WIDEST)
    return max(widening / WIDEN, 1.0) if success >= NARROW_FROM else widening
