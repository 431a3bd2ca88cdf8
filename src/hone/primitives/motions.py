"""How a thing is taken, brought and pushed: by typed skills, or by language movement primitives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from hone.envs.libero.facts import Facts
from hone.language.plan import Subgoal
from hone.primitives import lmp_skills
from hone.primitives.grasps import Grasp, opening_yaw
from hone.primitives.lmp import LmpConfig, LmpParameters
from hone.primitives.lmp_feedback import Attempt, Primitive, Request, Touches, watched
from hone.primitives.lmp_proposers import Movement, Proposer, goal_error, jerk
from hone.primitives.lmp_weights import RuleWeights, Weigher
from hone.primitives.places import Position, Spot
from hone.primitives.pushing import push
from hone.primitives.skills import Skill, pick, place, release


@runtime_checkable
class Motions(Protocol):
    """What moves things in one episode. `subgoal` is what a motion serves; it names the thing."""

    def take(self, facts: Facts, subgoal: Subgoal, grasp: Grasp) -> Skill:
        """Get hold of the thing."""
        ...

    def bring(self, facts: Facts, subgoal: Subgoal, spot: Spot) -> Skill:
        """Bring what the hand holds to a spot and let go."""
        ...

    def push(self, facts: Facts, subgoal: Subgoal, goal: Position) -> Skill:
        """Move the thing over the table without taking hold of it."""
        ...

    def report(self) -> dict[str, Any]:
        """What is to be said of the episode's motions; plain JSON."""
        ...


class TypedSkills:
    """`skills.py`: the same movement at every attempt."""

    def take(self, facts: Facts, subgoal: Subgoal, grasp: Grasp) -> Skill:
        return (yield from pick(facts, grasp))

    def bring(self, facts: Facts, subgoal: Subgoal, spot: Spot) -> Skill:
        return (yield from place(facts, subgoal.thing, spot.position, spot.turn, spot.aside))

    def push(self, facts: Facts, subgoal: Subgoal, goal: Position) -> Skill:
        return (yield from push(facts, subgoal.thing, goal))

    def report(self) -> dict[str, Any]:
        return {}


@dataclass
class LmpMotions:
    """`lmp_skills.py`; `weigh` is asked for the weights of every movement, and told what came of those before it.

    Remembers what was tried, so it serves one episode.
    """

    weigh: Weigher = field(default_factory=RuleWeights)
    config: LmpConfig = field(default_factory=LmpConfig)
    feedback: bool = True
    """Whether `weigh` is told."""
    attempts: list[Attempt] = field(default_factory=list)

    def take(self, facts: Facts, subgoal: Subgoal, grasp: Grasp) -> Skill:
        def reach(propose: Proposer) -> Skill:
            return lmp_skills.reach(facts, grasp, propose, self.config)

        return (yield from self._try("reach", facts, subgoal, reach))

    def bring(self, facts: Facts, subgoal: Subgoal, spot: Spot) -> Skill:
        """The form has no turn of the hand that depends on the place; `spot.turn` is left out."""

        def carry(propose: Proposer) -> Skill:
            return lmp_skills.carry(facts, subgoal.thing, spot.position, propose, self.config)

        facts, carried = yield from self._try("carry", facts, subgoal, carry)
        if not carried:
            return facts, False
        return (yield from release(facts, opening_yaw(facts.eef.rotation)))

    def push(self, facts: Facts, subgoal: Subgoal, goal: Position) -> Skill:
        def slide(propose: Proposer) -> Skill:
            return lmp_skills.push(facts, subgoal.thing, goal, propose, self.config)

        return (yield from self._try("push", facts, subgoal, slide))

    def _try(self, primitive: Primitive, facts: Facts, subgoal: Subgoal, skill: Callable[[Proposer], Skill]) -> Skill:
        """One attempt, kept with what came of it. The weights are those of the (first) movement that is led."""
        before = tuple(a for a in self.attempts if (a.primitive, a.subgoal) == (primitive, subgoal))
        led: list[tuple[Movement, LmpParameters]] = []

        def propose(movement: Movement) -> LmpParameters:
            request = Request(primitive, subgoal, facts, movement, before if self.feedback else ())
            led.append((movement, self.weigh(request)))
            return led[-1][1]

        touches = Touches(facts, primitive, subgoal.thing)
        after, well = yield from watched(skill(propose), touches)
        movement, parameters = led[0]
        self.attempts.append(
            Attempt(primitive, subgoal, movement, parameters, well, tuple(touches.names), facts, after)
        )
        return after, well

    def report(self) -> dict[str, Any]:
        """Each movement as it was planned and how it went, and who set the weights.

        `adjusted`: movements whose weights were asked for again after the same movement had failed.
        """
        movements = [_record(attempt) for attempt in self.attempts]
        again = [number for number, a in enumerate(self.attempts) if _before(self.attempts[:number], a)]
        return {"movements": movements, "adjusted": len(again), **self.weigh.report()}


def _before(attempts: list[Attempt], attempt: Attempt) -> bool:
    return any((a.primitive, a.subgoal) == (attempt.primitive, attempt.subgoal) for a in attempts)


def _record(attempt: Attempt) -> dict[str, Any]:
    path = attempt.movement.path(attempt.parameters)
    return {
        "primitive": attempt.primitive,
        "thing": attempt.subgoal.thing,
        "well": attempt.well,
        "touched": list(attempt.touched),
        "clearance_m": round(min(attempt.movement.clearance(path), 1.0), 5),
        "goal_error_m": round(goal_error(attempt.movement, path), 6),
        "jerk_m": round(jerk(path), 3),
    }
