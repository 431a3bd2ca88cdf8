"""The expert, on a scene without a simulator and in LIBERO."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scenes import brick_and_bin, step

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.facts import Pose
from hone.envs.libero.suites import task
from hone.errors import HoneError
from hone.primitives.execution import ATTEMPTS, choose_grasp
from hone.primitives.expert import Expert, correlated_noise, goal_plan
from hone.types import Placement


def play(facts, act=step, disturb=lambda command: command.action):
    expert, commands = Expert(), []
    while (command := expert.act(facts)) is not None:
        assert np.all(np.abs(command.action) <= 1.0)
        commands.append(command)
        facts = act(facts, disturb(command))
        assert len(commands) < 1000
    return facts, commands


@pytest.mark.parametrize("brick_y", [-0.15, 0.0, 0.05])
def test_puts_the_brick_into_the_bin_and_lets_go(brick_y):
    facts, commands = play(brick_and_bin(brick_y=brick_y))
    assert facts.satisfied == (True,)
    assert facts.gripper_width_m > 0.06
    closed = np.array([c.action[6] for c in commands]) > 0
    assert np.abs(np.diff(closed.astype(int))).sum() == 2  # closes once, opens once
    assert len(commands) < 150


def test_finds_its_way_back_when_disturbed():
    generator = np.random.default_rng(0)

    def disturbed(command):
        return np.clip(command.action + command.freedom * np.append(generator.normal(0, 0.5, 6), 0), -1, 1)

    facts, _ = play(brick_and_bin(), disturb=disturbed)
    assert facts.satisfied == (True,)


def test_tries_other_grasps_then_gives_up():
    scene, tried = brick_and_bin(), []
    for _ in range(ATTEMPTS):
        grasp = choose_grasp(scene, "brick", scene.regions["bin_inside"].pose.position, tried)
        assert grasp is not None
        assert all(grasp is not other for other in tried)
        tried.append(grasp)
    facts, commands = play(brick_and_bin(), act=partial(step, slippery=True))
    assert facts.satisfied == (False,)
    closed = np.array([c.action[6] for c in commands]) > 0
    assert np.sum(np.diff(closed.astype(int)) > 0) == ATTEMPTS


def test_does_nothing_where_the_goal_holds_already():
    there = brick_and_bin()
    inside = Pose(there.regions["bin_inside"].pose.position, np.eye(3))
    assert Expert().act(replace(there, objects={**there.objects, "brick": inside})) is None


def test_says_which_goal_it_cannot_reach():
    facts = replace(brick_and_bin(), goal=(("stack", "brick", "bin"),))
    with pytest.raises(HoneError, match=r"'stack', 'brick'.*task 'brick'"):
        Expert().act(facts)


def test_what_something_goes_into_is_closed_afterwards():
    facts = brick_and_bin()

    def verbs(*goal: tuple[str, ...]) -> list[str]:
        return [subgoal.verb for subgoal in goal_plan(replace(facts, goal=goal)).subgoals]

    assert verbs(("close", "bin"), ("in", "brick", "bin_inside")) == ["pick", "place_in", "close"]
    assert verbs(("close", "other"), ("in", "brick", "bin_inside")) == ["close", "pick", "place_in"]


def test_noise_has_the_stated_scale_and_correlation():
    generator, noise, drawn = np.random.default_rng(0), np.zeros(6), []
    for _ in range(20_000):
        noise = correlated_noise(noise, 0.2, generator)
        drawn.append(noise)
    drawn = np.array(drawn)
    assert np.allclose(drawn.std(0), [0.2, 0.2, 0.2, 0.06, 0.06, 0.06], rtol=0.06)
    assert np.isclose(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1], 0.8, atol=0.03)
    assert np.all(correlated_noise(np.zeros(6), 0.0, generator) == 0)


@pytest.mark.sim
@pytest.mark.parametrize(("suite", "index"), [("libero_object", 0), ("libero_spatial", 9)])
def test_solves_libero(suite, index):
    """A can into a basket; a bowl from a cabinet onto a plate, within reach of a nearly straight arm."""
    env = LiberoConfig(images=False, stop_at_success=False, physics="fast").build(1)
    env.reset([0], [task(suite, index)], [Placement("sampled", 200)])
    facts, commands = play(env.facts([0])[0], act=lambda _, action: _stepped(env, action))
    env.close()
    assert all(facts.satisfied)
    assert len(commands) < 160


def _stepped(env, action):
    env.step([0], action.astype(np.float32)[None, None])
    return env.facts([0])[0]
