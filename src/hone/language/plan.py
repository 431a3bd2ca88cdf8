"""What an instruction asks for: a `Plan` of typed sub-goals that name things in the scene.

A plan comes from words (`grammar`, `llm`), never from the simulator's own goal; whoever makes one says so in `source`.
Planners that cannot make one raise `Refusal`, which says what is wrong, and nothing moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from hone.envs.libero.facts import Facts
from hone.errors import HoneError

Verb = Literal["pick", "place_in", "place_on", "place_beside", "push", "open", "close", "turn_on", "turn_off"]
VERBS: tuple[Verb, ...] = get_args(Verb)
Side = Literal["left", "right", "front", "back"]
SIDES: tuple[Side, ...] = get_args(Side)
Reason = Literal["unparsed", "absent", "ambiguous", "unreachable", "out_of_schema", "unanswered"]


REACH_M = 0.855
"""Reach of the Panda arm, from its data sheet; measured here along the ground, from the robot's foot."""


class Refusal(HoneError):
    """A plan that was not made, and why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[Refusal], tuple[Reason, str]]:
        return type(self), (self.reason, str(self))


@dataclass(frozen=True)
class Beside:
    """A place on the table next to `anchor`, a thing of the scene.

    Sides are those of somebody who faces the robot across the table, as LIBERO's sentences mean them: "front" is away
    from the robot (+x), "right" is +y.
    """

    anchor: str
    side: Side


Target = str | Beside
"""A thing or region of the scene by its name in `Facts`, or a place beside one."""


@dataclass(frozen=True)
class Subgoal:
    """One step of a plan. `thing` is what is moved: an object, or for the last four verbs what opens, closes or turns:
    a region that a joint moves (a drawer's inside) or a fixture with one joint (a stove, a microwave).

    `target` is where to, for the verbs `place_*` and `push`. `said` are the words it was read from.
    """

    verb: Verb
    thing: str
    target: Target | None = None
    said: str = ""

    @property
    def needs_target(self) -> bool:
        return self.verb.startswith("place") or self.verb == "push"


@dataclass(frozen=True)
class Plan:
    """Sub-goals in the order in which they are to become true."""

    instruction: str
    subgoals: tuple[Subgoal, ...]
    source: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Plan:
        """The inverse of `to_json`; `Refusal` "out_of_schema" names the field that is wrong."""
        steps = data.get("subgoals")
        if not isinstance(steps, list | tuple) or not steps:
            raise Refusal("out_of_schema", "a plan needs 'subgoals', a list with at least one sub-goal.")
        subgoals = tuple(_subgoal(number, step) for number, step in enumerate(steps))
        return Plan(str(data.get("instruction", "")), subgoals, str(data.get("source", "unknown")))


def _subgoal(number: int, data: Any) -> Subgoal:
    where = f"sub-goal {number}"
    if not isinstance(data, Mapping):
        raise Refusal("out_of_schema", f"{where} is {data!r}; expected an object with 'verb' and 'thing'.")
    verb, thing, target = data.get("verb"), data.get("thing"), data.get("target")
    if verb not in VERBS:
        raise Refusal("out_of_schema", f"{where} has the verb {verb!r}; known: {', '.join(VERBS)}.")
    if not isinstance(thing, str):
        raise Refusal("out_of_schema", f"{where} has the thing {thing!r}; expected a name.")
    if isinstance(target, Mapping):
        if not isinstance(target.get("anchor"), str) or target.get("side") not in SIDES:
            raise Refusal(
                "out_of_schema", f"{where} has the target {dict(target)!r}; expected 'anchor' and 'side' ({SIDES})."
            )
        target = Beside(target["anchor"], target["side"])
    elif target is not None and not isinstance(target, str):
        raise Refusal("out_of_schema", f"{where} has the target {target!r}; expected a name, a place or nothing.")
    subgoal = Subgoal(verb, thing, target, str(data.get("said", "")))
    if subgoal.needs_target != (target is not None):
        raise Refusal("out_of_schema", f"{where}: '{verb}' {'needs a' if subgoal.needs_target else 'has no'} target.")
    if target is not None and verb != "push" and isinstance(target, Beside) != (verb == "place_beside"):
        expected = "'anchor' and 'side'" if verb == "place_beside" else "a name"
        raise Refusal("out_of_schema", f"{where}: '{verb}' needs {expected} for a target, not {target!r}.")
    return subgoal


def check_grounded(plan: Plan, facts: Facts) -> None:
    """Every name in the plan exists in the scene, and is of a kind its verb can act on; else `Refusal`."""
    movable, jointed = set(facts.objects), set(jointed_things(facts))
    places = set(facts.objects) | set(facts.fixtures) | set(facts.regions)
    for subgoal in plan.subgoals:
        able = jointed if subgoal.verb in ("open", "close", "turn_on", "turn_off") else movable
        if subgoal.thing not in able:
            raise Refusal(
                "absent",
                f"cannot {subgoal.verb} '{subgoal.thing}'; this scene has {', '.join(sorted(able)) or 'none'}.",
            )
        target = subgoal.target.anchor if isinstance(subgoal.target, Beside) else subgoal.target
        if target == subgoal.thing:
            raise Refusal("out_of_schema", f"'{subgoal.thing}' cannot go to itself.")
        if target is not None and target not in places:
            raise Refusal("absent", f"there is no '{target}' to {subgoal.verb} to; known: {', '.join(sorted(places))}.")


def check_reachable(plan: Plan, facts: Facts) -> None:
    """Everything the plan touches is within the arm's reach; else `Refusal`."""
    places = facts.objects | facts.fixtures | {name: region.pose for name, region in facts.regions.items()}
    for subgoal in plan.subgoals:
        target = subgoal.target.anchor if isinstance(subgoal.target, Beside) else subgoal.target
        for name in (subgoal.thing, target):
            if name is None:
                continue
            away = float(np.linalg.norm((places[name].position - facts.base.position)[:2]))
            if away > REACH_M:
                raise Refusal(
                    "unreachable", f"'{name}' is {away:.2f} m from the robot's foot; it reaches {REACH_M:.2f} m."
                )


def jointed_things(facts: Facts) -> list[str]:
    """What can be opened, closed or turned: regions that a joint moves, and fixtures with exactly one joint."""
    owners = [joint.fixture for joint in facts.joints.values()]
    regions = [name for name, region in facts.regions.items() if region.joint is not None]
    return regions + [name for name in facts.fixtures if owners.count(name) == 1]


@runtime_checkable
class Decomposer(Protocol):
    """Turns an instruction into a grounded plan, or raises `Refusal`. Never reads `Facts.goal` or `Facts.satisfied`."""

    def __call__(self, instruction: str, facts: Facts) -> Plan: ...
