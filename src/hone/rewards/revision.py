"""A rewrite is examined before it is used. What fails stays out, with the reasons; the last valid program goes on.

Examined are: names and bounds, that the known successes pass every milestone and are claimed, that no episode is
claimed which the program before did not claim, and that nothing is to be had for doing nothing or for touching things.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hone.envs.libero.facts import Facts
from hone.errors import HoneError
from hone.rewards.judge import Judge
from hone.rewards.program import RewardProgram
from hone.rewards.scoring import score, score_sightings, sight
from hone.rewards.summary import Summary

log = logging.getLogger(__name__)
PASSED_BY = 0.5
"""Share of the known successes that must pass each milestone."""
CLAIMED_OF = 0.8
"""Share of the known successes that must be claimed."""
NEXT_TO_NOTHING = 0.05
"""Most that a robot may earn that does nothing, or merely touches things."""
PROBE_LOOKS = 4


@dataclass(frozen=True)
class Evidence:
    """What a rewrite is examined against: the facts of episodes at every look.

    `known_good`: demonstrations, and episodes that the program before the rewrite claims; `known_bad`: the others.
    """

    start: Facts
    known_good: tuple[tuple[Facts, ...], ...]
    known_bad: tuple[tuple[Facts, ...], ...]


@dataclass(frozen=True)
class Revision:
    """A rewrite that was proposed, or should have been. `accepted` is `None` where it was refused, for `reasons`."""

    task: str
    judge: str
    version: int
    accepted: RewardProgram | None
    reasons: tuple[str, ...]
    diff: str

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "judge": self.judge,
            "version": self.version,
            "accepted": self.accepted is not None,
            "reasons": list(self.reasons),
            "diff": self.diff,
            "program": None if self.accepted is None else self.accepted.to_json(),
        }


def revise(task: str, program: RewardProgram, judge: Judge, summary: Summary, evidence: Evidence) -> Revision | None:
    """Ask the judge, examine what it says; `None` where it keeps the program."""
    try:
        proposed = judge(summary)
    except HoneError as error:
        log.warning("the judge of '%s' gave no rewrite; program version %d stays: %s", task, program.version, error)
        return Revision(task, judge.source, program.version, None, (str(error),), "")
    if proposed is None:
        return None
    reasons = tuple(problems(program, proposed, evidence))
    diff = difference(program, proposed)
    if reasons:
        log.warning("a rewrite for '%s' was refused; version %d stays: %s", task, program.version, reasons[0])
        return Revision(task, judge.source, program.version, None, reasons, diff)
    log.info("program of '%s' rewritten by %s, version %d:\n%s", task, judge.source, proposed.version, diff)
    return Revision(task, judge.source, program.version, proposed, (), diff)


def problems(old: RewardProgram, new: RewardProgram, evidence: Evidence) -> list[str]:
    """Why a rewrite must not be used; empty where it may."""
    try:
        RewardProgram.from_json(new.to_json())
        new.check_grounded(evidence.start)
    except HoneError as error:
        return [str(error)]
    return [
        *_along_successes(old, new, evidence.known_good),
        *_on_failures(old, new, evidence.known_bad),
        *_on_probes(new, evidence.start),
    ]


def difference(old: RewardProgram, new: RewardProgram) -> str:
    """Unified difference of the programs in words."""
    names = [f"version {program.version} ({program.source})" for program in (old, new)]
    lines = difflib.unified_diff(old.words().splitlines(), new.words().splitlines(), *names, lineterm="", n=1)
    return "\n".join(lines)


def probes(start: Facts) -> dict[str, tuple[Facts, ...]]:
    """Episodes in which nothing is achieved: the robot stands still; it touches everything and moves nothing."""
    everything = {frozenset(("robot", name)) for name in (*start.objects, *start.fixtures)}
    touched = replace(start, contacts=start.contacts | everything)
    return {
        "doing nothing": (start,) * PROBE_LOOKS,
        "touching everything": (start, *(touched,) * (PROBE_LOOKS - 2), start),
    }


def _along_successes(old: RewardProgram, new: RewardProgram, known: Sequence[Sequence[Facts]]) -> list[str]:
    if not known:
        same = _end_state(old) == _end_state(new)
        return [] if same else ["there is no known success to try it on, and it changes what counts as success."]
    seen = [sight(new, episode) for episode in known]
    claimed = sum(score_sightings(new, sightings).succeeded for sightings in seen)
    found = []
    if claimed < CLAIMED_OF * len(known):
        found.append(f"it claims only {claimed} of {len(known)} known successes.")
    for k, milestone in enumerate(new.milestones):
        passed = sum(bool(sightings.done[:, k].any()) for sightings in seen)
        if passed < PASSED_BY * len(known):
            found.append(f"milestone '{milestone.name}' is passed by {passed} of {len(known)} known successes.")
    return found


def _on_failures(old: RewardProgram, new: RewardProgram, known: Sequence[Sequence[Facts]]) -> list[str]:
    failed = [episode for episode in known if not score(old, episode).succeeded]
    claimed = sum(score(new, episode).succeeded for episode in failed)
    return [f"it claims {claimed} of {len(failed)} known failures."] if claimed else []


def _on_probes(new: RewardProgram, start: Facts) -> list[str]:
    found = []
    for name, episode in probes(start).items():
        scored = score(new, episode)
        if scored.succeeded or scored.total > NEXT_TO_NOTHING:
            claim = " and is taken for success" if scored.succeeded else ""
            found.append(f"{name} earns {scored.total:.2f}{claim}.")
    return found


def _end_state(program: RewardProgram) -> set[tuple[str, ...]]:
    return {tuple(term.words() for term in m.done) for m in program.milestones if m.lasting}
