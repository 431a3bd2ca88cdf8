"""What is written down of finished episodes: beside the truth for the audit, in words for the episode memory, and how
often somebody was asked about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from hone.language.scene_words import changes
from hone.memory.episodes import Attempt
from hone.rewards.audit import AuditRow
from hone.rewards.program import RewardProgram
from hone.training.credit import Judged
from hone.training.rollout import Trajectory
from hone.types import Task

MOST_CHANGES = 6
"""Things that moved, touch or rest elsewhere at an episode's end: so many are noted."""


@runtime_checkable
class Asking(Protocol):
    """Who asks a language model or a learned judge, and counts how often it did in this process."""

    @property
    def calls(self) -> int: ...


def calls_of(*parts: object) -> int:
    """Calls so far of those parts that ask anybody."""
    return sum(part.calls for part in parts if isinstance(part, Asking))


def audit_rows(iteration: int, trajectories: Sequence[Trajectory], outcome: Judged) -> list[AuditRow]:
    """What the reward said of each episode beside what was true."""
    return [
        AuditRow(iteration, t.request.task.name, float(worth), claimed, t.success)
        for t, worth, claimed in zip(trajectories, outcome.rewards, outcome.succeeded, strict=True)
    ]


def attempts(
    run: str,
    iteration: int,
    trajectories: Sequence[Trajectory],
    outcome: Judged,
    programs: Mapping[Task, RewardProgram],
) -> list[Attempt]:
    """Each episode in words, and whether it succeeded by the reward's own account.

    Of a program's reward it is told what was left undone and what had changed at the end. `programs` are those that
    the episodes were judged by; without one there is no more to say than how it ended.
    """
    told = []
    for row, t in enumerate(trajectories):
        task, seen = t.request.task, tuple[str, ...]()
        if outcome.verdicts:
            seen = (*left_undone(programs[task], outcome, row), *changed(t))
        heard = [hint for hint in t.hints if hint] if t.request.hinted else []
        told.append(
            Attempt(
                task.suite,
                task.name,
                task.instruction,
                outcome.succeeded[row],
                seen,
                hint=heard[-1] if heard else "",
                steps=t.steps,
                run=run,
                iteration=iteration,
            )
        )
    return told


def left_undone(program: RewardProgram, outcome: Judged, row: int) -> tuple[str, ...]:
    """The milestones that an episode did not reach; nothing where it succeeded."""
    if outcome.succeeded[row]:
        return ()
    reached = outcome.verdicts[row].scored.reached
    names = [milestone.name for milestone, look in zip(program.milestones, reached, strict=True) if look is None]
    return ("left undone: " + ", ".join(names),) if names else ("all was done, but not all at the end",)


def changed(trajectory: Trajectory) -> tuple[str, ...]:
    """What was elsewhere at the end than at the start."""
    lines = changes(trajectory.facts[0], trajectory.facts[-1])
    return tuple(line.removeprefix("- ") for line in lines[:MOST_CHANGES])
