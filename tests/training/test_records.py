"""Episodes in words: the reward's account of them, and never the simulator's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from witnessed import TASK, expert_episode, planner

from hone.rewards import SuccessReward, SynthesizedReward
from hone.training.credit import judged
from hone.training.records import MOST_CHANGES, attempts, audit_rows
from hone.training.rollout import EpisodeRequest, Trajectory
from hone.types import Placement

GOOD, BAD = expert_episode(), expert_episode(slippery=True)


def episode(facts, *, success: bool, hinted: bool = False) -> Trajectory:
    request = EpisodeRequest(0, TASK, Placement("sampled", 0), seed=0, hinted=hinted)
    decisions = max(len(facts) - 1, 0)
    return Trajectory(
        request,
        "success" if success else "failure",
        steps=8 * decisions,
        executed=np.full(decisions, 8, np.int32),
        facts=facts,
        hints=("lower", "raise", ""),
    )


def test_an_attempt_is_told_as_the_reward_saw_it_and_not_as_the_simulator_did():
    reward = SynthesizedReward(planner=planner)
    lied = [episode(GOOD, success=False, hinted=True), episode(BAD, success=True)]
    outcome = judged(reward, lied)
    good, bad = attempts("run", 3, lied, outcome, reward.programs)
    assert (good.success, bad.success) == (True, False)
    assert good.facts[0].startswith("brick moved by")
    assert bad.facts[0].startswith("left undone: grip brick, lift brick, ")
    assert "reach brick" not in bad.facts[0]
    assert (good.hint, bad.hint) == ("raise", "")  # thinking along in a plain episode is no suggestion
    assert (good.run, good.iteration, good.steps) == ("run", 3, lied[0].steps)
    assert [row.success for row in audit_rows(3, lied, outcome)] == [False, True]  # the audit alone knows


def test_what_was_done_and_undone_again_is_said():
    reward = SynthesizedReward(planner=planner)
    lost = (*(replace(facts, contacts=frozenset()) for facts in GOOD[:-1]), GOOD[0])
    outcome = judged(reward, [episode(GOOD, success=True)])
    scored = replace(outcome.verdicts[0].scored, succeeded_at=None)
    undone = replace(outcome, succeeded=(False,), verdicts=(replace(outcome.verdicts[0], scored=scored),))
    (attempt,) = attempts("run", 1, [episode(lost, success=True)], undone, reward.programs)
    assert attempt.facts[0] == "all was done, but not all at the end"


@pytest.mark.parametrize("success", [True, False])
def test_with_success_as_the_reward_there_is_no_more_to_say(success: bool):
    plain = [episode((), success=success)]
    (attempt,) = attempts("run", 1, plain, judged(SuccessReward(), plain), {})
    assert attempt.success is success
    assert attempt.facts == ()


def test_of_a_crowded_scene_only_so_much_is_told():
    reward = SynthesizedReward(planner=planner)
    pose = GOOD[0].objects["brick"]
    crowd = {f"thing_{i}": pose for i in range(20)}
    moved = {name: replace(pose, position=pose.position + 0.1) for name in crowd}
    first, last = (replace(GOOD[0], objects={**GOOD[0].objects, **more}) for more in (crowd, moved))
    told = [episode((first, last), success=False)]
    (attempt,) = attempts("run", 1, told, judged(reward, told), reward.programs)
    assert len(attempt.facts) == 1 + MOST_CHANGES
