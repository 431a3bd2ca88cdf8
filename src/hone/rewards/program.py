"""A reward program: an ordered set of checkable milestones, as data. Read from and written to JSON, never executed.

The milestones of one sub-goal share a `step`. Within it they say how it is done; the last one says that it is done, and
completes those before it however it came about: a bowl that was pushed onto the plate is on the plate. The milestones
marked `lasting` must all hold at one time for the program to claim success.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hone.envs.libero.facts import Facts
from hone.errors import HoneError
from hone.rewards.predicates import DISTANCES, PREDICATES
from hone.rewards.terms import Term, check_term, read_term

MOST_MILESTONES = 32
MOST_TERMS = 4
MOST_WEIGHT = 10.0


@dataclass(frozen=True)
class Milestone:
    """One thing that should become true.

    `done`: all of these predicates. `progress`: the distance that shrinks on the way, if partial credit is given.
    `weight`: its share of the reward before adaptation, relative to the others'. `step`: number of its sub-goal.
    """

    name: str
    done: tuple[Term, ...]
    progress: Term | None
    step: int
    lasting: bool = False
    weight: float = 1.0

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "done": [term.to_json() for term in self.done],
            "progress": None if self.progress is None else self.progress.to_json(),
            "step": self.step,
            "lasting": self.lasting,
            "weight": self.weight,
        }


@dataclass(frozen=True)
class RewardProgram:
    """What is worth rewarding in one task. `version` grows with each accepted rewrite; `source` says who wrote it."""

    instruction: str
    milestones: tuple[Milestone, ...]
    version: int = 1
    source: str = "plan"

    def __post_init__(self) -> None:
        count = len(self.milestones)
        if not 1 <= count <= MOST_MILESTONES:
            raise HoneError(f"a program needs 1 to {MOST_MILESTONES} milestones; this one has {count}.")
        steps = [milestone.step for milestone in self.milestones]
        if steps != sorted(steps) or steps[0] != 0 or set(steps) != set(range(steps[-1] + 1)):
            raise HoneError(f"steps must count 0, 1, 2, … along the milestones without a gap; they are {steps}.")
        if not any(milestone.lasting for milestone in self.milestones):
            raise HoneError("no milestone is 'lasting', so the program could never tell success.")

    def __len__(self) -> int:
        return len(self.milestones)

    def revised(self, milestones: tuple[Milestone, ...], source: str) -> RewardProgram:
        return replace(self, milestones=milestones, version=self.version + 1, source=source)

    def to_json(self) -> dict[str, Any]:
        return {
            "instruction": self.instruction,
            "version": self.version,
            "source": self.source,
            "milestones": [milestone.to_json() for milestone in self.milestones],
        }

    @staticmethod
    def from_json(data: Any) -> RewardProgram:
        """The inverse of `to_json`. `HoneError` names the milestone and the field that is wrong."""
        if not isinstance(data, Mapping) or not isinstance(data.get("milestones"), list | tuple):
            raise HoneError("a reward program needs 'milestones', a list.")
        version = data.get("version", 1)
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise HoneError(f"'version' is {version!r}; expected a whole number from 1.")
        return RewardProgram(
            str(data.get("instruction", "")),
            tuple(_milestone(number, row) for number, row in enumerate(data["milestones"])),
            version,
            str(data.get("source", "unknown")),
        )

    def check_grounded(self, facts: Facts) -> None:
        """Every name exists in the scene, and is of a kind its word can speak of; else `HoneError`."""
        for milestone in self.milestones:
            where = f"milestone '{milestone.name}'"
            for term in milestone.done:
                check_term(term, PREDICATES, facts, where)
            if milestone.progress is not None:
                check_term(milestone.progress, DISTANCES, facts, where)

    def words(self) -> str:
        """One line per milestone."""
        return "\n".join(line(number, milestone) for number, milestone in enumerate(self.milestones, start=1))


def line(number: int, milestone: Milestone) -> str:
    """A milestone as a line of text: `3. lift brick [weight 1]: lifted(brick, 0.04); progress rise(brick, 0.04)`."""
    done = " and ".join(term.words() for term in milestone.done)
    progress = "" if milestone.progress is None else f"; progress {milestone.progress.words()}"
    lasting = ", must last" if milestone.lasting else ""
    return f"{number}. {milestone.name} [step {milestone.step}, weight {milestone.weight:g}{lasting}]: {done}{progress}"


FIELDS = {"name", "done", "progress", "step", "lasting", "weight"}


def _milestone(number: int, data: Any) -> Milestone:
    where = f"milestone {number + 1}"
    if not isinstance(data, Mapping) or set(data) != FIELDS:
        raise HoneError(f"{where} is {data!r}; expected an object with {', '.join(sorted(FIELDS))}.")
    name, done, weight, step = data["name"], data["done"], data["weight"], data["step"]
    if not isinstance(name, str) or not name.strip():
        raise HoneError(f"{where} has the name {name!r}; expected words.")
    if not isinstance(done, list | tuple) or not 1 <= len(done) <= MOST_TERMS:
        raise HoneError(f"{where} ('{name}') has 'done' {done!r}; expected a list of 1 to {MOST_TERMS} predicates.")
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise HoneError(f"{where} ('{name}') has the step {step!r}; expected a whole number from 0.")
    if not isinstance(data["lasting"], bool):
        raise HoneError(f"{where} ('{name}') has 'lasting' {data['lasting']!r}; expected true or false.")
    number_given = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
    if not number_given or not 0 < weight <= MOST_WEIGHT:
        raise HoneError(
            f"{where} ('{name}') has the weight {weight!r}; expected more than 0 and at most {MOST_WEIGHT:g}."
        )
    return Milestone(
        name=" ".join(name.split()),
        done=tuple(read_term(term, PREDICATES, f"{where} ('{name}'), done") for term in done),
        progress=None
        if data["progress"] is None
        else read_term(data["progress"], DISTANCES, f"{where} ('{name}'), progress"),
        step=step,
        lasting=data["lasting"],
        weight=float(weight),
    )
