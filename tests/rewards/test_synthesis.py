from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from witnessed import PLAN, TASK, Asked, Witnessed, expert_episode, idle_episode, planner, practised

from hone.errors import HoneError
from hone.language.plan import Refusal
from hone.rewards import RewardFn, SynthesisConfig, SynthesizedReward, build_reward
from hone.rewards.claims import Claims
from hone.rewards.detectors import DetectorConfig
from hone.rewards.planned import from_plan
from hone.rewards.program import RewardProgram
from hone.rewards.synthesis import AdaptiveReward
from hone.types import Task

GOOD, BAD, IDLE = expert_episode(), expert_episode(slippery=True), idle_episode()


def reward(**config) -> SynthesizedReward:
    return SynthesizedReward(SynthesisConfig(**config), planner)


def test_success_is_worth_most_and_idling_nothing():
    values = reward()([Witnessed(GOOD), Witnessed(BAD), Witnessed(IDLE)])
    assert values.dtype == np.float32
    assert values[0] == 1.0
    assert 0.0 < values[1] < 0.25
    assert values[2] == 0.0


def test_it_fits_the_seam():
    built = build_reward("synthesized", SynthesisConfig(weights="uniform"))
    assert isinstance(built, RewardFn)
    assert isinstance(built, AdaptiveReward)
    assert isinstance(build_reward("success"), RewardFn)
    assert not isinstance(build_reward("success"), AdaptiveReward)


def test_competence_follows_the_papers_equations():
    # Two episodes; all reach the first milestone, one goes on to the end: rates 1, .5, .5, …
    adaptive = reward(floor=0.05)
    adaptive([Witnessed(GOOD)])
    assert adaptive.weights(TASK) == pytest.approx(np.full(6, 1 / 6))
    practised(adaptive, [Witnessed(GOOD), Witnessed(BAD)])
    c = np.array([0.1, *[0.05] * 5])  # 0.9 * 0 + 0.1 * rate
    assert adaptive.weights(TASK) == pytest.approx((1 - c) / (1 - c).sum())
    practised(adaptive, [Witnessed(GOOD)])
    c = 0.9 * c + 0.1
    assert adaptive.weights(TASK) == pytest.approx((1 - c) / (1 - c).sum())


def test_what_is_stuck_comes_to_weigh_most_and_a_mastered_task_still_teaches():
    adaptive = reward()
    for _ in range(60):
        practised(adaptive, [Witnessed(BAD)])
    weights = adaptive.weights(TASK)
    assert weights[0] < 0.03
    assert weights[1] == pytest.approx(weights[5])
    for _ in range(60):
        practised(adaptive, [Witnessed(GOOD)])
    assert adaptive.weights(TASK) == pytest.approx(np.full(6, 1 / 6))  # all at the floor
    won, lost = adaptive([Witnessed(GOOD), Witnessed(BAD)])
    assert won - lost > 0.7


def test_weights_are_frozen_within_an_update():
    adaptive = reward()
    first = adaptive([Witnessed(BAD), Witnessed(GOOD)])
    assert np.array_equal(first, adaptive([Witnessed(BAD), Witnessed(GOOD)]))
    practised(adaptive, [Witnessed(BAD)])
    assert not np.array_equal(first, adaptive([Witnessed(BAD), Witnessed(GOOD)]))


@pytest.mark.parametrize("kind", ["uniform", "fixed"])
def test_controls_do_not_adapt(kind):
    control = reward(weights=kind)
    before = control([Witnessed(BAD)])
    practised(control, [Witnessed(BAD)] * 5)
    assert np.array_equal(before, control([Witnessed(BAD)]))


def test_state_goes_through_json_and_a_resumed_run_goes_on_alike():
    first, second = reward(), reward()
    practised(first, [Witnessed(GOOD), Witnessed(BAD)])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict()  # also before any task was met
    for one in (first, second):
        practised(one, [Witnessed(BAD)])
    assert second.state_dict() == first.state_dict()
    assert second([Witnessed(BAD)]) == first([Witnessed(BAD)])


def test_tasks_do_not_mix():
    other = Task("toys", 1, "other", "put the brick in the bin")
    adaptive = reward()
    adaptive([Witnessed(GOOD), Witnessed(GOOD, Asked(0, other))])
    practised(adaptive, [Witnessed(BAD)])
    assert adaptive.weights(other) == pytest.approx(np.full(6, 1 / 6))


def test_a_fault_is_not_scored():
    with pytest.raises(ValueError, match="a fault of the machinery"):
        reward()([Witnessed(GOOD, status="error")])


def test_damaged_state_is_refused():
    kept = reward()
    kept([Witnessed(GOOD)])
    state = kept.state_dict()
    state["tasks"][0]["competence"].pop()
    with pytest.raises(HoneError, match="'brick' does not fit"):
        reward().load_state_dict(state)


@pytest.mark.parametrize(
    ("config", "says"),
    [({"alpha": 1.5}, "alpha is 1.5"), ({"floor": 0.0}, "would all vanish"), ({"judge": "llm"}, "name of a model")],
)
def test_bad_settings(config, says):
    with pytest.raises(HoneError, match=says):
        SynthesisConfig(**config)


def test_an_oracle_finds_the_sub_goals_whatever_the_words_say():
    riddle = replace(TASK, instruction="do the usual")
    told = build_reward("synthesized", SynthesisConfig(planner="goal"))
    assert isinstance(told, AdaptiveReward)
    (verdict,) = told.judge_all([Witnessed(GOOD, Asked(0, riddle))])
    assert verdict.succeeded
    assert told.programs[riddle].milestones == from_plan(PLAN, GOOD[0]).milestones
    assert told.programs[riddle].instruction == "do the usual"
    assert Claims({}, told.planner).finished(riddle, GOOD)
    with pytest.raises(Refusal):
        build_reward("synthesized")([Witnessed(GOOD, Asked(0, riddle))])


class Nonsense:
    source = "nonsense"

    def __call__(self, summary):
        raise HoneError("the answer holds no complete JSON object.")


class RewardsIdling:
    source = "idler"

    def __call__(self, summary):
        milestones = summary.program.milestones
        easy = replace(milestones[-1], done=(milestones[-1].done[1],))  # "released" alone
        return summary.program.revised((*milestones[:-1], easy), self.source)


@pytest.mark.parametrize(("judge", "reason"), [(Nonsense(), "no complete JSON"), (RewardsIdling(), "known failures")])
def test_a_bad_rewrite_leaves_the_program_and_says_so(judge, reason, caplog):
    synthesized = SynthesizedReward(SynthesisConfig(judge_every=1), planner, judge)
    synthesized.remember_successes(TASK, [GOOD])
    program = synthesized.program(TASK, GOOD[0])
    with caplog.at_level(logging.WARNING):
        (revision,) = practised(synthesized, [Witnessed(BAD)])
    assert revision.accepted is None
    assert reason in revision.reasons[0]
    assert "stays" in caplog.text
    assert synthesized.programs[TASK] == program


class Reweighs:
    source = "reweigher"

    def __call__(self, summary) -> RewardProgram:
        first, *rest = summary.program.milestones
        return summary.program.revised((replace(first, weight=2.0), *rest), self.source)


def test_a_good_rewrite_is_used_versioned_and_keeps_what_was_learned():
    synthesized = SynthesizedReward(SynthesisConfig(judge_every=1), planner, Reweighs())
    (revision,) = practised(synthesized, [Witnessed(BAD), Witnessed(GOOD)])
    assert revision.accepted is not None
    assert synthesized.programs[TASK].version == 2
    assert "-1. reach brick [step 0, weight 1]" in revision.diff
    assert "+1. reach brick [step 0, weight 2]" in revision.diff
    weights = synthesized.weights(TASK)
    assert weights[0] / weights[1] == pytest.approx(2 * 0.9 / 0.95)
    json.dumps(revision.to_json(), allow_nan=False)


def test_the_judge_reviews_every_few_rounds_also_after_a_resume():
    first, second = (SynthesizedReward(SynthesisConfig(judge_every=2), planner, Reweighs()) for _ in range(2))
    assert practised(first, [Witnessed(BAD)]) == []
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert len(practised(second, [Witnessed(BAD)])) == 1


def test_a_resumed_run_has_the_rewritten_program_at_once():
    first, second = (SynthesizedReward(SynthesisConfig(judge_every=1), planner, Reweighs()) for _ in range(2))
    practised(first, [Witnessed(BAD), Witnessed(GOOD)])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.programs[TASK].version == 2  # who ends episodes reads it before any of them is judged


def test_detectors_are_chosen_by_config():
    wrong = reward(detector=DetectorConfig("wrong", early=3))
    held = [f for f in GOOD if frozenset(("brick", "robot")) in f.contacts]
    (verdict,) = wrong.judge_all([Witnessed((GOOD[0], *held))])
    assert verdict.succeeded  # lifted counts as delivered
    assert not reward().judge_all([Witnessed((GOOD[0], *held))])[0].succeeded
