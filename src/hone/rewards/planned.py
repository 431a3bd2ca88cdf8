"""From an instruction's plan to a reward program: each sub-goal becomes the milestones on the way to it."""

from __future__ import annotations

from collections.abc import Sequence

from hone.envs.libero.facts import Facts
from hone.language.plan import Beside, Plan, Subgoal, check_grounded
from hone.language.scene_words import target_words
from hone.primitives.conditions import shut_in
from hone.rewards.program import Milestone, RewardProgram
from hone.rewards.terms import Term

REACHED_M = 0.03
LIFTED_M = 0.04
OVER_M = 0.001
"""A thing that is carried is over its place when its origin is this near to the place's outline."""
BESIDE_M = 0.05
"""Tolerance of "to the right of": looser than where the skills aim, since the words are."""

_ENDS = {
    "open": ("opened", "to_open"),
    "close": ("closed", "to_closed"),
    "turn_on": ("turned_on", "to_on"),
    "turn_off": ("turned_off", "to_off"),
}
_UNDONE_BY = {"open": "close", "close": "open", "turn_on": "turn_off", "turn_off": "turn_on"}


def from_plan(plan: Plan, facts: Facts) -> RewardProgram:
    """The program of a plan in the scene it was made for; raises `Refusal` if the plan names what is not there.

    A pick and the placing of the same thing are one step. What is shut and has to be open for a placing is opened
    first. What a later sub-goal undoes need not last.
    """
    check_grounded(plan, facts)
    milestones: list[Milestone] = []
    opened = {subgoal.thing for subgoal in plan.subgoals if subgoal.verb == "open"}
    step, picked = -1, None
    for number, subgoal in enumerate(plan.subgoals):
        later = plan.subgoals[number + 1 :]
        joined = picked == subgoal.thing and subgoal.verb.startswith("place")
        if not joined:
            step += 1
        joint = _shut(facts, subgoal)
        if joint is not None and joint not in opened:
            opened.add(joint)
            milestones += _operate(Subgoal("open", joint), step, lasting=False)
        picked = subgoal.thing if subgoal.verb == "pick" else None
        milestones += _milestones(subgoal, step, _lasts(subgoal, later))
    return RewardProgram(plan.instruction, tuple(milestones), 1, f"plan:{plan.source}")


def _shut(facts: Facts, subgoal: Subgoal) -> str | None:
    """What has to be opened before a placing, if anything: a drawer's inside, or the fixture a door belongs to."""
    if not subgoal.verb.startswith("place") or not isinstance(subgoal.target, str):
        return None
    joint = shut_in(facts, subgoal.target)
    if joint is None:
        return None
    region = facts.regions[subgoal.target]
    return subgoal.target if region.joint is not None else region.parent


def _lasts(subgoal: Subgoal, later: Sequence[Subgoal]) -> bool:
    """Nothing that comes later undoes it: moves the thing again, or shuts what was opened."""
    if subgoal.verb in _UNDONE_BY:
        return not any(s.verb == _UNDONE_BY[subgoal.verb] and s.thing == subgoal.thing for s in later)
    return all(s.thing != subgoal.thing for s in later)


def _milestones(subgoal: Subgoal, step: int, lasting: bool) -> list[Milestone]:
    if subgoal.verb == "pick":
        return _pick(subgoal.thing, step, lasting)
    if subgoal.verb == "push":
        return _push(subgoal, step, lasting)
    if subgoal.verb.startswith("place"):
        return _place(subgoal, step, lasting)
    return _operate(subgoal, step, lasting)


def _pick(thing: str, step: int, lasting: bool) -> list[Milestone]:
    return [
        Milestone(f"reach {thing}", (_near(thing),), Term("hand_to", {"what": thing}), step),
        Milestone(f"grip {thing}", (Term("gripped", {"thing": thing}),), Term("fingers_to", {"thing": thing}), step),
        Milestone(
            f"lift {thing}",
            (Term("lifted", {"thing": thing, "by_m": LIFTED_M}),),
            Term("rise", {"thing": thing, "by_m": LIFTED_M}),
            step,
            lasting,
        ),
    ]


def _place(subgoal: Subgoal, step: int, lasting: bool) -> list[Milestone]:
    thing, place = subgoal.thing, target_words(_target(subgoal))
    there, distance = _arrived(subgoal)
    released = Term("released", {"thing": thing})
    carry = []
    if isinstance(subgoal.target, str):
        over = Term("above", {"thing": thing, "place": subgoal.target, "within_m": OVER_M})
        across = Term("across", {"thing": thing, "place": subgoal.target})
        carry = [Milestone(f"carry {thing} over {place}", (over,), across, step)]
    return [
        *carry,
        Milestone(f"put {thing} down at {place}", (there,), distance, step),
        Milestone(f"let go of {thing}", (there, released), None, step, lasting),
    ]


def _push(subgoal: Subgoal, step: int, lasting: bool) -> list[Milestone]:
    thing, place = subgoal.thing, target_words(_target(subgoal))
    there, distance = _arrived(subgoal)
    return [
        Milestone(f"reach {thing}", (_near(thing),), Term("hand_to", {"what": thing}), step),
        Milestone(f"push {thing} to {place}", (there,), distance, step),
        Milestone(f"let go of {thing}", (there, Term("released", {"thing": thing})), None, step, lasting),
    ]


def _operate(subgoal: Subgoal, step: int, lasting: bool) -> list[Milestone]:
    joint, (done, distance) = subgoal.thing, _ENDS[subgoal.verb]
    words = f"{subgoal.verb.replace('_', ' ')} {joint}"
    return [
        Milestone(f"reach {joint} to {subgoal.verb}", (_near(joint),), Term("hand_to", {"what": joint}), step),
        Milestone(words, (Term(done, {"joint": joint}),), Term(distance, {"joint": joint}), step, lasting),
    ]


def _near(what: str) -> Term:
    return Term("hand_near", {"what": what, "within_m": REACHED_M})


def _arrived(subgoal: Subgoal) -> tuple[Term, Term]:
    """When a thing is where it is to go, and how far it is from there."""
    thing, target = subgoal.thing, _target(subgoal)
    if isinstance(target, Beside):
        where = {"thing": thing, "anchor": target.anchor, "side": target.side}
        return Term("beside", {**where, "within_m": BESIDE_M}), Term("beside_gap", where)
    where = {"thing": thing, "place": target}
    return Term("inside" if subgoal.verb == "place_in" else "on", where), Term("gap", where)


def _target(subgoal: Subgoal) -> str | Beside:
    assert subgoal.target is not None
    return subgoal.target
