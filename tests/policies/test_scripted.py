"""Planner and movements as a policy: on a brick and a bin without a simulator, and in LIBERO from the words alone."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from scenes import brick_and_bin, step

from hone.cli import main
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import task
from hone.errors import HoneError
from hone.evaluation.runner import Setup, evaluate, protocol_card
from hone.language.plan import Plan, Refusal, Subgoal
from hone.policies.base import Policy, Reporting
from hone.policies.scripted import REST, SETTLING_STEPS, Pilot, Planning, ScriptedPolicy, pilot
from hone.primitives.motions import LmpMotions, TypedSkills
from hone.primitives.safety import SafetyLimits
from hone.specs import SpecMismatchError, check_compatible
from hone.training.workers import RolloutPool
from hone.types import Observation

INTO_BIN = (Subgoal("pick", "brick"), Subgoal("place_in", "brick", "bin_inside"))


def into_bin(instruction, facts):
    return Plan(instruction, INTO_BIN, "test")


def play(pilot, facts, steps=260, **how):
    for _ in range(steps):
        facts = step(facts, pilot.act("put the brick into the bin", facts), **how)
    return facts


@pytest.mark.parametrize("motions", [TypedSkills(), LmpMotions()], ids=["skills", "lmp"])
def test_carries_the_plan_out_and_rests(motions):
    pilot = Pilot(into_bin, motions, refinements=0)
    facts = play(pilot, brick_and_bin())
    assert facts.satisfied == (True,)
    np.testing.assert_array_equal(pilot.act("", facts), REST)
    assert isinstance(pilot, Reporting)
    report = pilot.report()
    assert (report["plan"], report["refusal"], report["refinements"], report["interventions"]) == ("test", None, 0, 0)
    assert report["model_calls"] == 0
    assert report["safety"]["stop"] is None
    assert not any(report["safety"]["limited"].values())
    assert 0.1 < report["safety"]["largest"]["speed_m_s"] < SafetyLimits().speed_m_s


def test_what_failed_is_tried_again_as_often_as_allowed():
    pilot = Pilot(into_bin, TypedSkills(), refinements=2)
    facts = play(pilot, brick_and_bin(), steps=900, slippery=True)
    assert facts.satisfied == (False,)
    assert pilot.report()["refinements"] == 2


class Idle(TypedSkills):
    """Takes hold of nothing, at once."""

    def take(self, facts, subgoal, grasp):
        return facts, False
        yield


def test_what_is_still_falling_is_no_second_try():
    facts = brick_and_bin()
    inside = replace(facts, objects={**facts.objects, "brick": facts.regions["bin_inside"].pose})
    once, moves = Pilot(into_bin, Idle(), refinements=0), 0
    while not once.has_ended:  # the hand draws back from what it could not take
        once.act("", facts)
        moves += 1
    pilot = Pilot(into_bin, Idle(), refinements=1)
    for _ in range(moves - 1):
        pilot.act("", facts)
    for seen in [facts] * SETTLING_STEPS + [inside]:
        np.testing.assert_array_equal(pilot.act("", seen), REST)
    assert pilot.report()["refinements"] == 0
    assert pilot.report()["missed"] == []
    assert pilot.has_ended
    late = Pilot(into_bin, Idle(), refinements=1)
    while not late.has_ended:
        late.act("", facts)
    assert late.report()["refinements"] == 1
    assert late.report()["missed"] == ["place_in brick (target: bin_inside)"]


def test_who_refuses_does_not_move():
    def refuse(instruction, facts):
        raise Refusal("absent", "there is no 'banana' here.")

    def invent(instruction, facts):
        return Plan(instruction, (Subgoal("pick", "banana"),), "test")

    for decompose in (refuse, invent):
        pilot = Pilot(decompose, TypedSkills(), refinements=3)
        for _ in range(3):
            np.testing.assert_array_equal(pilot.act("bring me the banana", brick_and_bin()), REST)
        refusal = pilot.report()["refusal"]
        assert refusal["reason"] == "absent"
        assert "banana" in refusal["message"]


def test_what_is_out_of_reach_is_refused():
    far = brick_and_bin(brick_x=0.6)
    pilot = Pilot(into_bin, TypedSkills(), refinements=1)
    np.testing.assert_array_equal(pilot.act("", far), REST)
    assert pilot.report()["refusal"]["reason"] == "unreachable"


def test_keeps_the_contract_and_needs_facts():
    policy = ScriptedPolicy("lmp")
    assert isinstance(policy, Policy)
    assert pickle.loads(pickle.dumps(policy)).name == "lmp"
    with pytest.raises(SpecMismatchError, match="facts"):
        check_compatible(policy.spec, LiberoConfig().spec)
    check_compatible(policy.spec, LiberoConfig().seen_by(policy.spec).spec)
    scenes = (brick_and_bin(), brick_and_bin())
    seen = Observation(np.zeros((2, 8), np.float32), ("a", "b"), facts=scenes)
    state = policy.initial_state(2)
    candidates, _ = policy.propose(policy.encode(seen), state, 3, None)
    assert candidates.chunks.shape == (2, 3, 1, 7)
    assert [pilot.report()["refusal"]["reason"] for pilot in state or ()] == ["unparsed", "unparsed"]
    assert seen.rows(slice(1, 2)).facts == scenes[1:]
    assert Observation.cat([seen, seen]).facts == scenes + scenes


def test_bad_settings_are_named():
    with pytest.raises(HoneError, match="Did you mean 'skills'"):
        ScriptedPolicy("skill")
    with pytest.raises(HoneError, match="name of a model"):
        Planning(planner="llm")
    with pytest.raises(HoneError, match="negative"):
        Planning(refinements=-1)
    with pytest.raises(HoneError, match="name of a model"):
        Planning(weights="llm")
    with pytest.raises(HoneError, match="11 weights per row, not 5"):
        Planning(weights="llm", model="m", bases=5)
    with pytest.raises(HoneError, match="no weights for a language model"):
        ScriptedPolicy("skills", Planning(weights="llm", model="m"))


@pytest.mark.parametrize("weights", ["rule", "heed", "zero", "random", "search"])
def test_a_pilot_says_who_sets_its_weights(weights):
    flown = pilot("lmp", Planning(weights=weights, bases=5, gate=False))
    assert flown.report()["weights"] == weights
    assert "weights" not in pilot("skills", Planning()).report()


@pytest.mark.sim
def test_solves_a_task_from_its_words_and_tells_what_it_used():
    """And not with another task's words, nor with none: it does what it is told."""
    policy = ScriptedPolicy()
    env = replace(LiberoConfig(physics="fast"), step_cap=400).seen_by(policy.spec)
    tasks = (task("libero_goal", 8), task("libero_goal", 6))
    rates = {}
    with RolloutPool(env, policy, 0, 2) as pool:
        for instruction in ("own", "other_task", "blank"):
            setup = Setup(tasks, "sampled", (0,), instruction=instruction)
            result = evaluate(pool, policy, setup, lambda setup: protocol_card(setup, env, policy))
            rates[instruction] = result.summary()
    assert rates["own"]["successes"] == 2
    assert rates["own"]["refusals"] == {}
    assert "facts" in rates["own"]["protocol"]["privilege"]
    assert rates["other_task"]["successes"] == 0
    assert rates["blank"]["successes"] == 0
    assert sum(rates["blank"]["refusals"].values()) == 2


@pytest.mark.sim
def test_the_command_line_runs_it_and_says_what_it_is(capsys):
    options = ["--tasks", "7", "--suite", "libero_goal", "--placements", "1", "--env.step-cap", "200", "--workers", "0"]
    assert (
        main(["eval", "--policy", "skills", *options, "--env.physics", "fast", "--safety.force-n", "90", "--json"]) == 0
    )
    summary = json.loads(capsys.readouterr().out)
    assert summary["successes"] == 1
    assert summary["protocol"]["step_cap"] == 200
    assert "90 N" in summary["protocol"]["safety_limits"]
    assert summary["safety"]["stops"] == {}
    assert set(summary["safety"]["limited_steps"]) == {"speed", "turn", "force", "box", "table"}
    assert summary["safety"]["largest"]["speed_m_s"] > 0.1
    assert main(["eval", "--policy", "lmp", *options[:-2], "--planning.planner", "llm", "--planning.model", "m"]) == 2
    assert "--workers 0" in capsys.readouterr().err
