"""Somebody else's gymnasium environment behind Hone's `Environment`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from point_env import ENV_ID, GOAL_RADIUS_M, STEP_M

from hone.envs.base import Environment
from hone.envs.registered.declaration import GymConfig, GymTask
from hone.errors import HoneError
from hone.types import Placement

CONFIG = GymConfig(
    id=ENV_ID,
    proprio=("agent_pos",),
    state=("goal", "agent_pos[0:1]"),
    images=("pixels.top", "render"),
    instruction="go to the goal",
    idle=(0.0, 0.0),
    image_size=16,
)
(TASK,) = CONFIG.tasks(CONFIG.suite)
FORWARD = np.ones((1, 4, 2), np.float32)


def sampled(index: int) -> Placement:
    return Placement("sampled", index)


@pytest.fixture
def env():
    built = CONFIG.build(3)
    yield built
    built.close()


def test_observations_are_what_was_declared(env):
    assert isinstance(env, Environment)
    env.reset([0, 2], [TASK, TASK], [sampled(0), sampled(1)])
    seen = env.observe([0, 2])
    assert seen.state is not None
    assert seen.images is not None
    assert (seen.proprio.shape, seen.state.shape, seen.images.shape) == ((2, 2), (2, 1, 3), (2, 2, 16, 16, 3))
    assert seen.instructions == ("go to the goal",) * 2
    assert np.array_equal(seen.images[0, 0, :8], np.full((8, 16, 3), 200))  # the upper half is bright
    assert np.all(seen.images[:, 1] == 7)
    spec = env.spec
    assert (spec.action_dim, spec.control_rate_hz, spec.cameras) == (2, 10.0, ("pixels.top", "render"))
    assert spec.state_tokens == "vector3: goal agent_pos[0:1]"
    assert env.render([0], 32).shape == (1, 2, 32, 32, 3)


def test_a_placement_is_a_seed_and_official_ones_are_others(env):
    env.reset([0, 1, 2], [TASK] * 3, [sampled(5), sampled(5), Placement("official", 5)])
    goals = env.observe([0, 1, 2]).state[:, 0, :2]
    assert np.array_equal(goals[0], goals[1])
    assert not np.array_equal(goals[0], goals[2])


def test_actions_are_stretched_to_the_environments_range_and_clipped(env):
    env.reset([0], [TASK], [sampled(0)])
    env.step([0], np.array([[[1.0, -0.5], [9.0, 0.0]]], np.float32))
    assert env.observe([0]).proprio == pytest.approx(np.array([[2 * STEP_M, -0.5 * STEP_M]]))
    assert CONFIG.to_policy_range(np.array([STEP_M, 9.0])) == pytest.approx(np.ones(2))


def goal_of(env, slot=0):
    return env.observe([slot]).state[0, 0, :2]


def drive(env, goal, steps=20, stop=None):
    """Straight to the goal and on, one step at a time; the results."""
    found = []
    for _ in range(steps):
        away = goal - env.observe([0]).proprio[0]
        action = np.clip(away / STEP_M, -1, 1).astype(np.float32)
        found.append(env.step([0], action[None, None], stop_at_success=stop))
    return found


def test_success_ends_the_episode_or_does_not(env):
    env.reset([0], [TASK], [sampled(0)])
    results = drive(env, goal_of(env))
    first = next(i for i, r in enumerate(results) if r.succeeded[0])
    assert results[first].terminated[0]
    assert all(r.steps[0] == 0 for r in results[first + 1 :])
    env.reset([0], [TASK], [sampled(0)])
    onward = drive(env, goal_of(env), stop=False)
    assert onward[-1].succeeded[0]
    assert not onward[-1].terminated[0]
    assert env.hold([0], 3) == [True]


def test_the_step_cap_truncates_within_a_chunk():
    env = replace(CONFIG, step_cap=6).build(1)
    env.reset([0], [TASK], [sampled(0)])
    away = -np.ones((1, 4, 2), np.float32)
    assert env.step([0], away).steps[0] == 4
    last = env.step([0], away)
    assert (last.steps[0], last.truncated[0], last.terminated[0]) == (2, True, False)
    env.close()


def test_what_is_not_finite_diverges_and_the_others_go_on(env):
    env.reset([0, 1], [TASK, TASK], [sampled(0), sampled(1)])
    result = env.step([0, 1], np.stack([np.full((4, 2), np.nan, np.float32), -FORWARD[0]]))
    assert list(result.diverged) == [True, False]
    assert list(result.steps) == [0, 4]


def test_a_restored_slot_has_the_same_future(env):
    env.reset([0], [TASK], [sampled(3)])
    env.step([0], -FORWARD)
    saved = env.snapshot([0])
    env.step([0], FORWARD)
    future = env.observe([0]).proprio
    env.restore([2], saved)
    assert not np.array_equal(env.observe([2]).proprio, future)
    env.step([2], FORWARD)
    assert np.array_equal(env.observe([2]).proprio, future)


def test_an_environment_that_cannot_go_back_says_so():
    env = replace(CONFIG, options=json.dumps({"drifts": True})).build(1)
    env.reset([0], [TASK], [sampled(0)])
    env.step([0], -FORWARD)
    with pytest.raises(HoneError, match="not deterministic"):
        env.restore([0], env.snapshot([0]))
    env.close()


def test_tasks_differ_in_their_options_and_slots_take_over_what_others_leave():
    tasks = (GymTask("near", "go near"), GymTask("far", "go far", {"side": 10.0}))
    config = replace(CONFIG, suite_tasks=tasks, suite_name="points")
    near, far = config.tasks("points")
    env = config.build(2)
    env.reset([0, 1], [near, far], [sampled(0), sampled(0)])
    left = env.views([0, 1])
    assert goal_of(env, 1) == pytest.approx(10 * goal_of(env, 0), rel=1e-5)
    assert env.observe([1]).instructions == ("go far",)
    env.reset([0, 1], [far, near], [sampled(0), sampled(0)])
    assert env.views([1])[0].env is left[0].env
    assert goal_of(env, 0) == pytest.approx(10 * goal_of(env, 1), rel=1e-5)
    env.close()


def test_the_environments_own_instruction():
    env = replace(CONFIG, instruction_key="said").build(1)
    env.reset([0], [TASK], [sampled(0)])
    assert env.observe([0]).instructions[0] in ("go left", "go right")
    env.close()


def test_success_told_by_termination():
    config = replace(CONFIG, success="terminated", idle=(), options=json.dumps({"terminates": True}))
    env = config.build(1)
    env.reset([0], [TASK], [sampled(0)])
    assert drive(env, goal_of(env))[-1].steps[0] == 0
    assert np.linalg.norm(goal_of(env) - env.observe([0]).proprio[0]) < GOAL_RADIUS_M
    assert config.protocol()["held_steps"] == 0
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"breaks_at": 2}, "failed in step: RuntimeError: the motor is"), ({"tells": "won"}, "its info has won")],
)
def test_trouble_is_one_clear_error(options, message):
    env = replace(CONFIG, options=json.dumps(options)).build(1)
    env.reset([0], [TASK], [sampled(0)])
    with pytest.raises(HoneError, match=message):
        env.step([0], -FORWARD)
    env.close()


def test_facts_are_refused(env):
    env.reset([0], [TASK], [sampled(0)])
    with pytest.raises(HoneError, match="needs the facts of a scene"):
        env.facts([0])
