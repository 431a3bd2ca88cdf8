"""What is examined before a rewrite is used."""

from __future__ import annotations

from dataclasses import replace

import pytest
from witnessed import PLAN, expert_episode, idle_episode

from hone.rewards.planned import from_plan
from hone.rewards.program import Milestone, RewardProgram
from hone.rewards.revision import Evidence, difference, probes, problems
from hone.rewards.scoring import score
from hone.rewards.terms import Term

GOOD, BAD = expert_episode(), expert_episode(slippery=True)
START = GOOD[0]
PROGRAM = from_plan(PLAN, START)
EVIDENCE = Evidence(START, (GOOD,), (BAD, idle_episode()))


def rewritten(at: int, **changes) -> RewardProgram:
    milestones = list(PROGRAM.milestones)
    milestones[at] = replace(milestones[at], **changes)
    return PROGRAM.revised(tuple(milestones), "test")


def test_the_program_of_a_plan_passes():
    assert problems(PROGRAM, PROGRAM, EVIDENCE) == []
    assert problems(PROGRAM, PROGRAM, Evidence(START, (), (BAD,))) == []


def test_a_good_rewrite_passes():
    raise_first = Milestone(
        "raise brick above the bin", (Term("clear_of", {"thing": "brick", "place": "bin", "by_m": 0.01}),), None, 0
    )
    milestones = (*PROGRAM.milestones[:3], raise_first, *PROGRAM.milestones[3:])
    better = PROGRAM.revised(milestones, "test")
    assert problems(PROGRAM, better, EVIDENCE) == []
    assert better.version == 2
    assert "+4. raise brick above the bin" in difference(PROGRAM, better)


FREE = Term("released", {"thing": "brick"})
NEAR = Term("hand_near", {"what": "brick", "within_m": 0.05})
REFUSED = {
    "rewards doing nothing": (rewritten(5, done=(FREE,)), "doing nothing earns"),
    "a milestone for doing nothing": (rewritten(0, done=(FREE,)), "doing nothing earns 0.17"),
    "rewards touching": (rewritten(5, done=(Term("touched", {"thing": "brick"}),)), "touching everything earns"),
    "claims failures": (rewritten(5, done=(NEAR,)), "claims 1 of 2 known failures"),
    "misses successes": (
        rewritten(5, done=(Term("on", {"thing": "bin", "place": "brick"}),)),
        "claims only 0 of 1 known successes",
    ),
    "asks for what successes do not do": (
        rewritten(2, done=(Term("lifted", {"thing": "brick", "by_m": 0.45}),)),
        "'lift brick' is passed by 0 of 1 known successes",
    ),
    "names what is not there": (rewritten(2, done=(Term("gripped", {"thing": "mug"}),)), "thing 'mug'"),
    "out of bounds": (rewritten(0, weight=1000.0), "has the weight 1000"),
}


@pytest.mark.parametrize("rewrite", REFUSED)
def test_refused(rewrite: str):
    program, says = REFUSED[rewrite]
    assert any(says in problem for problem in problems(PROGRAM, program, EVIDENCE))


def test_without_known_successes_the_end_state_stays():
    unseen = Evidence(START, (), (BAD,))
    assert problems(PROGRAM, rewritten(0, weight=2.0), unseen) == []
    (problem,) = problems(PROGRAM, rewritten(5, done=(*PROGRAM.milestones[5].done, NEAR)), unseen)
    assert "no known success" in problem


def test_probes_earn_nothing():
    for episode in probes(START).values():
        scored = score(PROGRAM, episode)
        assert scored.total == 0.0
        assert not scored.succeeded
