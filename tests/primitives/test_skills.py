"""The law that moves the hand, and the skills on a scene without a simulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scenes import brick_and_bin, step

from hone.envs.libero.facts import Pose
from hone.primitives.grasps import downward
from hone.primitives.skills import CLOSE, OPEN, Reach, highest_between, move, reach_action, rotation_vector

HERE = Reach(np.array([0.1, 0.2, 0.05]), downward(np.pi / 2), travel=0.30, hover=0.04)


def action_at(x: float, y: float, z: float, reach: Reach = HERE) -> np.ndarray:
    return reach_action(Pose(np.array([x, y, z]), downward(np.pi / 2)), reach, CLOSE)


def test_at_the_target_it_stays():
    assert np.allclose(action_at(0.1, 0.2, 0.05), [0, 0, 0, 0, 0, 0, CLOSE])


def test_far_away_it_goes_straight_at_limited_speed():
    action = action_at(-0.3, 0.2, 0.30)
    assert np.allclose(action[1:3], 0.0)
    assert 0.8 < action[0] < 1.0


def test_below_the_funnel_it_rises_before_it_goes_sideways():
    assert np.allclose(action_at(-0.3, 0.2, 0.10)[:2], 0.0)
    assert action_at(-0.3, 0.2, 0.10)[2] > 0.8
    assert action_at(-0.3, 0.2, 0.27)[0] > 0.3


def test_it_comes_down_only_over_the_target_and_turned():
    assert action_at(0.1, 0.2, 0.20)[2] < -0.8
    assert action_at(0.1 - 0.015, 0.2, 0.09)[2] == 0.0  # beside it: hovers
    turned = reach_action(Pose(np.array([0.1, 0.2, 0.30]), downward(0.0)), HERE, OPEN)
    assert turned[2] > -0.1
    assert abs(turned[5]) > 0.4


def test_rotation_vector_undoes_a_rotation():
    cosine, sine = np.cos(0.7), np.sin(0.7)
    assert np.allclose(rotation_vector(np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])), [0, 0, 0.7])
    assert np.allclose(rotation_vector(np.eye(3)), 0.0)


def test_highest_between_looks_along_the_path_only():
    points = np.array([[0.5, 0.05, 1.0], [0.5, 0.5, 2.0], [2.0, 0.0, 3.0]])
    assert highest_between(points, np.zeros(3), np.array([1.0, 0.0, 0.0])) == 1.0
    assert highest_between(points[1:], np.zeros(3), np.array([1.0, 0.0, 0.0])) == -np.inf


def run(skill, facts, act=step):
    command = next(skill)
    while True:
        facts = act(facts, command.action)
        try:
            command = skill.send(facts)
        except StopIteration as end:
            return end.value


def test_move_arrives_and_says_so():
    facts, arrived = run(move(brick_and_bin(), lambda _: HERE, OPEN), brick_and_bin())
    assert arrived
    assert np.linalg.norm(facts.eef.position - HERE.position) < 0.005


def test_move_gives_up_where_it_is_blocked():
    def blocked(facts, action):
        moved = step(facts, action)
        low = max(moved.eef.position[2], 0.12)
        return replace(moved, eef=Pose(np.append(moved.eef.position[:2], low), moved.eef.rotation))

    facts, arrived = run(move(brick_and_bin(), lambda _: HERE, OPEN, max_steps=1000), brick_and_bin(), blocked)
    assert not arrived
    assert np.isclose(facts.eef.position[2], 0.12)


def test_a_long_rise_is_not_taken_for_standing_still():
    """Sideways it gets no nearer for 40 steps, then it arrives."""
    high = Reach(np.array([0.3, 0.0, 1.0]), downward(np.pi / 2), travel=1.0)
    assert run(move(brick_and_bin(), lambda _: high, OPEN, max_steps=300), brick_and_bin())[1]
