"""Who sets the weights of a movement, and what they make of the attempts at it before."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hone.envs.libero.facts import Facts
from hone.language.plan import Refusal
from hone.primitives.grasps import Points, point_cloud, skyline
from hone.primitives.lmp import LARGEST_WEIGHT, LmpParameters, responses
from hone.primitives.lmp_feedback import Attempt, Request
from hone.primitives.lmp_llm import LlmMotion
from hone.primitives.lmp_proposers import MARGIN_M, Movement, Proposer, RandomWeights, rule_based_weights
from hone.seeding import numpy_generator

MOST_SHORT_M = 0.03
"""A hand that stopped farther from its goal than this did not merely miss it."""
log = logging.getLogger(__name__)


@runtime_checkable
class Weigher(Protocol):
    """Sets the weights of one movement after another, in one episode."""

    def __call__(self, request: Request) -> LmpParameters: ...

    def report(self) -> dict[str, Any]:
        """Who it is, and what it has to say of the episode; plain JSON."""
        ...


@dataclass(frozen=True)
class DeafWeights:
    """A `Proposer`: it hears nothing of earlier attempts."""

    name: str
    propose: Proposer

    def __call__(self, request: Request) -> LmpParameters:
        return self.propose(request.movement)

    def report(self) -> dict[str, Any]:
        return {"weights": self.name}


@dataclass(frozen=True)
class RuleWeights:
    """The rule, and what it learns from a failure. Without `foresight` that is all it knows: it begins with zero
    weights, and keeps away from what was touched before.

    What was touched is kept away from by one more margin for each time; everything else by one. A hand that missed its
    goal by a little and touched nothing aims beyond it by as much: `height` up or down, late weights to the side.
    """

    foresight: bool = True

    def __call__(self, request: Request) -> LmpParameters:
        movement = request.movement
        if not self.foresight:
            movement = replace(movement, columns=movement.columns[:0])
        parameters = rule_based_weights(movement, wary(request.facts, request.attempts))
        last = request.attempts[-1] if request.attempts else None
        if last is None or last.well or last.touched or last.primitive == "push":
            return parameters
        return aimed_beyond(movement, parameters, last.short) if _is_near(last) else parameters

    def report(self) -> dict[str, Any]:
        return {"weights": "rule" if self.foresight else "heed"}


def _is_near(attempt: Attempt) -> bool:
    return float(np.linalg.norm(attempt.short)) < MOST_SHORT_M


def wary(facts: Facts, attempts: Sequence[Attempt]) -> list[tuple[Points, float]]:
    """Columns of each thing that was touched, and the clearance (m) that is asked of them now."""
    times = Counter(name for attempt in attempts for name in attempt.touched)
    things = facts.objects | facts.fixtures
    return [
        (skyline(point_cloud(facts.shapes[name], things[name])), (1 + count) * MARGIN_M)
        for name, count in times.items()
        if facts.shapes.get(name)
    ]


def aimed_beyond(movement: Movement, parameters: LmpParameters, short: np.ndarray) -> LmpParameters:
    """The parameters with their end moved by `short` (m, [3]), as far as late weights can."""
    late = movement.config.late
    end = float(responses(movement.config)[-1, late].sum())
    weights = parameters.weights.copy()
    weights[:2, late] += short[:2, None] / end
    weights[:2] = np.clip(weights[:2], -LARGEST_WEIGHT[0], LARGEST_WEIGHT[0])
    return replace(parameters, weights=weights, height=parameters.height + float(short[2]))


@dataclass
class ModelWeights:
    """A language model, told what came of the attempts before; the rule where it has no good answer.

    A server that gave no answer is not asked again in the episode. `report` says how often the rule stood in, and why.
    """

    ask: LlmMotion
    otherwise: Weigher = field(default_factory=RuleWeights)
    fallbacks: list[str] = field(default_factory=list)
    _silent: bool = False

    def __call__(self, request: Request) -> LmpParameters:
        if self._silent:
            self.fallbacks.append("not asked: the server gave no answer before.")
            return self.otherwise(request)
        try:
            return self.ask(request)
        except Refusal as refusal:
            log.warning("the rule sets the weights of a %s, the model does not: %s", request.primitive, refusal)
            self._silent = refusal.reason == "unanswered"
            self.fallbacks.append(str(refusal))
            return self.otherwise(request)

    def report(self) -> dict[str, Any]:
        return {"weights": self.ask.source, "fallbacks": self.fallbacks}


def random_weights(movement: Movement) -> LmpParameters:
    """`RandomWeights`, seeded by where the movement begins and ends: the same episode gets the same weights."""
    ends = np.round(1e6 * np.concatenate([movement.start, movement.goal])).astype(int)
    return RandomWeights(numpy_generator(0, "random weights", *ends.tolist()))(movement)
