"""Judges: they read how a round went and may propose a rewrite of the program. None of them sees the true outcome.

`RuleJudge` works offline, by rules on the facts. `LlmJudge` (`llm_judge.py`) asks a language model. What either
proposes is examined before it is used (`revision.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from hone.rewards.predicates import gripped
from hone.rewards.program import Milestone, RewardProgram
from hone.rewards.summary import Summary
from hone.rewards.terms import Term

OFTEN, SELDOM = 0.5, 0.1
GRASP_POINT_M = 0.025
"""How near to a demonstrated grasp point the hand has to come."""
ONE_GRASP_M = 0.03
"""Demonstrated grasp points further apart than this are not one."""
TIGHTER_M = 0.015
CLEAR_M = 0.01
MOST_WEIGHT = 4.0


@runtime_checkable
class Judge(Protocol):
    """`source` names it in logs. Returns a rewrite, or `None` to keep the program.

    Raises `HoneError` where it has no usable answer; the program then stays.
    """

    @property
    def source(self) -> str: ...

    def __call__(self, summary: Summary) -> RewardProgram | None: ...


def build_judge(kind: Literal["none", "rules", "llm"], model: str, base_url: str, transcript: Path) -> Judge | None:
    if kind == "none":
        return None
    if kind == "rules":
        return RuleJudge()
    from hone.language.llm import Client, LlmConfig  # needs the extra `llm`
    from hone.rewards.llm_judge import LlmJudge

    return LlmJudge(Client(LlmConfig(model, transcript, base_url, retries=1)))


class RuleJudge:
    """The first rule that applies makes the proposal; each changes one thing."""

    source = "rules"

    def __call__(self, summary: Summary) -> RewardProgram | None:
        rules: tuple[Callable[[Summary], tuple[Milestone, ...] | None], ...] = (grasp_point, clearance, weight)
        for rule in rules:
            milestones = rule(summary)
            if milestones is not None:
                return summary.program.revised(milestones, self.source)
        return None


def grasp_point(summary: Summary) -> tuple[Milestone, ...] | None:
    """The hand comes to the thing and does not get hold of it: reward coming to where demonstrations took it.

    Without a demonstration, or where they took it in different places, coming nearer.
    """
    milestones = summary.program.milestones
    for k, milestone in enumerate(milestones):
        if k == 0 or milestone.done[0].name != "gripped" or milestones[k - 1].done[0].name != "hand_near":
            continue
        if summary.rates[k - 1] < OFTEN or summary.rates[k] > SELDOM:
            continue
        reach, thing = milestones[k - 1], str(milestone.done[0].args["thing"])
        point = demonstrated_grasp(summary, thing)
        if point is not None:
            there = dict(zip(("x_m", "y_m", "z_m"), point, strict=True))
            reach = replace(
                reach,
                name=f"reach the grasp point of {thing}",
                done=(Term("hand_at", {"thing": thing, **there, "within_m": GRASP_POINT_M}),),
                progress=Term("hand_to_point", {"thing": thing, **there}),
            )
        elif float(reach.done[0].args["within_m"]) > TIGHTER_M:
            reach = replace(reach, done=(Term("hand_near", {"what": thing, "within_m": TIGHTER_M}),))
        else:
            continue
        return (*milestones[: k - 1], reach, *milestones[k:])
    return None


def demonstrated_grasp(summary: Summary, thing: str) -> tuple[float, float, float] | None:
    """Where demonstrations first held the thing, in its own frame (m, to the millimetre), if it was always there."""
    points = []
    for episode in summary.known_good:
        for facts in episode:
            if gripped(facts, episode[0], thing):
                pose = facts.objects[thing]
                points.append(pose.rotation.T @ (facts.eef.position - pose.position))
                break
    if not points:
        return None
    middle = np.median(points, axis=0)
    if np.linalg.norm(np.array(points) - middle, axis=1).max() > ONE_GRASP_M:
        return None
    x_m, y_m, z_m = (round(float(value), 3) for value in middle)
    return x_m, y_m, z_m


def clearance(summary: Summary) -> tuple[Milestone, ...] | None:
    """What is carried ends against the side of where it is to go: reward raising it above that first."""
    milestones = summary.program.milestones
    for failure in summary.failures:
        term = milestones[failure.stopped_at].done[0]
        if term.name != "above":
            continue
        thing, place = str(term.args["thing"]), str(term.args["place"])
        region = failure.after.regions.get(place)
        solid = place if region is None else region.parent
        against = frozenset((thing, solid)) in failure.after.contacts
        raised = Term("clear_of", {"thing": thing, "place": place, "by_m": CLEAR_M})
        if not against or any(raised in milestone.done for milestone in milestones):
            continue
        added = Milestone(
            f"raise {thing} above {place}",
            (raised,),
            Term("rise_over", {"thing": thing, "place": place, "by_m": CLEAR_M}),
            milestones[failure.stopped_at].step,
            weight=milestones[failure.stopped_at].weight,
        )
        return (*milestones[: failure.stopped_at], added, *milestones[failure.stopped_at :])
    return None


def weight(summary: Summary) -> tuple[Milestone, ...] | None:
    """Where more than half of the episodes stop, the milestone counts twice as much as before, within a limit."""
    milestones = summary.program.milestones
    stuck = int(np.argmax(summary.stops))
    if summary.stops[stuck] <= OFTEN * summary.episodes or milestones[stuck].weight >= MOST_WEIGHT:
        return None
    heavier = replace(milestones[stuck], weight=min(2.0 * milestones[stuck].weight, MOST_WEIGHT))
    return (*milestones[:stuck], heavier, *milestones[stuck + 1 :])
