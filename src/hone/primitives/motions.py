"""How a thing is taken, brought and pushed: by typed skills, or by language movement primitives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, runtime_checkable

from hone.envs.libero.facts import Facts
from hone.primitives import lmp_skills
from hone.primitives.grasps import Grasp, opening_yaw
from hone.primitives.lmp import LmpConfig
from hone.primitives.lmp_proposers import MARGIN_M, Proposer, rule_based_weights
from hone.primitives.places import Position, Spot
from hone.primitives.pushing import push
from hone.primitives.skills import Skill, pick, place, release


@runtime_checkable
class Motions(Protocol):
    """`attempt` counts the tries at the same sub-goal that failed before."""

    def take(self, facts: Facts, grasp: Grasp, attempt: int) -> Skill:
        """Get hold of a thing."""
        ...

    def bring(self, facts: Facts, thing: str, spot: Spot, attempt: int) -> Skill:
        """Bring what the hand holds to a spot and let go."""
        ...

    def push(self, facts: Facts, thing: str, goal: Position, attempt: int) -> Skill:
        """Move a thing over the table without taking hold of it."""
        ...


class TypedSkills:
    """`skills.py`: the same movement at every attempt."""

    def take(self, facts: Facts, grasp: Grasp, attempt: int) -> Skill:
        return (yield from pick(facts, grasp))

    def bring(self, facts: Facts, thing: str, spot: Spot, attempt: int) -> Skill:
        return (yield from place(facts, thing, spot.position, spot.turn, spot.aside))

    def push(self, facts: Facts, thing: str, goal: Position, attempt: int) -> Skill:
        return (yield from push(facts, thing, goal))


def cautious(attempt: int) -> Proposer:
    """The rule, asking for more room at each further attempt: what a planner does that is told of a failure."""
    return partial(rule_based_weights, margin=(1 + attempt) * MARGIN_M)


@dataclass(frozen=True)
class LmpMotions:
    """`lmp_skills.py`; `propose(attempt)` is asked for the weights of every movement."""

    propose: Callable[[int], Proposer] = cautious
    config: LmpConfig = field(default_factory=LmpConfig)

    def take(self, facts: Facts, grasp: Grasp, attempt: int) -> Skill:
        return (yield from lmp_skills.reach(facts, grasp, self.propose(attempt), self.config))

    def bring(self, facts: Facts, thing: str, spot: Spot, attempt: int) -> Skill:
        """The form has no turn of the hand that depends on the place; `spot.turn` is left out."""
        facts, carried = yield from lmp_skills.carry(facts, thing, spot.position, self.propose(attempt), self.config)
        if not carried:
            return facts, False
        return (yield from release(facts, opening_yaw(facts.eef.rotation)))

    def push(self, facts: Facts, thing: str, goal: Position, attempt: int) -> Skill:
        return (yield from lmp_skills.push(facts, thing, goal, self.propose(attempt), self.config))
