"""When an episode under a synthesized reward is over: when its program claims success, not when the simulator does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hone.envs.libero.facts import Facts
from hone.language.grammar import decompose
from hone.language.plan import Decomposer
from hone.rewards.planned import from_plan
from hone.rewards.predicates import holds
from hone.rewards.program import RewardProgram
from hone.types import Task


class Claims:
    """Ends an episode at the first look at which all that must last holds. It reads the facts without error, also where
    the reward's own detector is a defective one. Travels to worker processes."""

    def __init__(self, programs: Mapping[Task, RewardProgram], planner: Decomposer = decompose) -> None:
        """`programs` of the tasks met before; that of a new task is made from the `planner`'s plan."""
        self._programs = dict(programs)
        self._planner = planner

    def finished(self, task: Task, facts: Sequence[Facts]) -> bool:
        if task not in self._programs:
            self._programs[task] = from_plan(self._planner(task.instruction, facts[0]), facts[0])
        lasting = (m for m in self._programs[task].milestones if m.lasting)
        return all(holds(term, facts[-1], facts[0]) for milestone in lasting for term in milestone.done)
