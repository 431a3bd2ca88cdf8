"""Whether hints still help: how often those succeed at a task who hear them, and those who do not.

Hints are asked for where the policy fails without them, and what a guide says is a lesson only as long as those who
hear it do better. A guide that is wrong about a task is soon ignored there, and a policy that has outgrown its guide is
not pulled back to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hone.training.rollout import Trajectory
from hone.types import Task

NEWEST = 0.5
"""Weight of the newest update in the running means."""


class Benefit:
    """Running success per task, by the reward's own account, of hinted episodes and of plain ones."""

    def __init__(self) -> None:
        self._hinted: dict[str, float] = {}
        self._plain: dict[str, float] = {}

    def update(self, trajectories: Sequence[Trajectory], solved: Sequence[bool]) -> None:
        for hinted, means in ((True, self._hinted), (False, self._plain)):
            outcomes: dict[str, list[bool]] = {}
            for trajectory, good in zip(trajectories, solved, strict=True):
                if trajectory.request.hinted == hinted:
                    outcomes.setdefault(trajectory.request.task.name, []).append(good)
            for name, own in outcomes.items():
                newest = float(np.mean(own))
                means[name] = NEWEST * newest + (1 - NEWEST) * means.get(name, newest)

    def plain(self, task: Task) -> float:
        """Success without hints; 0 until it is known."""
        return self._plain.get(task.name, 0.0)

    def known(self, task: Task) -> bool:
        """Whether the task was tried without hints."""
        return task.name in self._plain

    def helps(self, task: Task) -> bool:
        """Whether hinted episodes do better, as far as any were seen."""
        return self._hinted.get(task.name, 0.0) > self.plain(task)

    def state_dict(self) -> dict[str, Any]:
        return {"hinted": self._hinted, "plain": self._plain}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._hinted, self._plain = dict(state["hinted"]), dict(state["plain"])
