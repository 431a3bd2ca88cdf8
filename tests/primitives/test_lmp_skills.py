"""The verbs of language movement primitives, on a scene without a simulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scenes import brick_and_bin, step

from hone.primitives.execution import choose_grasp
from hone.primitives.lmp import LmpParameters, roll_out
from hone.primitives.lmp_proposers import rule_based_weights, zero_weights
from hone.primitives.lmp_skills import DROP_M, carry, follow, push, reach, transfer
from hone.primitives.skills import CLOSE, OPEN

GOAL = np.array([0.1, 0.1, 0.15, np.pi / 2, 1.0])
INSIDE = brick_and_bin().regions["bin_inside"].pose.position


def run(skill, facts, act=step):
    commands = []
    try:
        command = next(skill)
        while True:
            commands.append(command)
            facts = act(facts, command.action)
            command = skill.send(facts)
    except StopIteration as end:
        return (*end.value, commands)


def start_of(facts, closed: float = 0.0):
    return np.array([*facts.eef.position, np.pi / 2, closed])


def closing_late():
    weights = LmpParameters.zero().weights
    weights[4] = [-1.0] * 10 + [1.0]
    return weights


def test_follows_a_bent_path_and_closes_at_its_end():
    facts, weights = brick_and_bin(), closing_late()
    weights[2, :4] = 0.5
    path = roll_out(start_of(facts), GOAL, weights)
    places = []

    def watched(facts, action):
        places.append(facts.eef.position)
        return step(facts, action)

    end, arrived, commands = run(follow(facts, path), facts, watched)
    assert arrived
    assert np.linalg.norm(end.eef.position - GOAL[:3]) < 0.006
    off = [np.linalg.norm(path[:, :3] - place, axis=1).min() for place in places]
    assert max(off) < 0.015
    assert max(place[2] for place in places) > path[:, 2].max() - 0.01
    closing = [command.action[6] == CLOSE for command in commands]
    assert sum(np.diff(closing)) == 1
    assert np.linalg.norm(places[int(np.argmax(closing))] - GOAL[:3]) < 0.006


def test_with_all_weights_zero_the_hand_closes_on_the_way():
    facts = brick_and_bin()
    path = roll_out(start_of(facts), GOAL, np.zeros((5, 11)))
    _, _, commands = run(follow(facts, path), facts)
    first = int(np.argmax([command.action[6] == CLOSE for command in commands]))
    assert 2 < first < len(commands) // 2


def test_stops_where_it_is_blocked_or_told_to():
    facts = brick_and_bin()
    path = roll_out(start_of(facts), GOAL, closing_late())
    _, arrived, commands = run(follow(facts, path), facts, lambda facts, action: facts)
    assert not arrived
    assert len(commands) < 120
    _, arrived, commands = run(follow(facts, path, lambda facts: True), facts)
    assert not arrived
    assert commands == []


def test_brings_the_brick_into_the_bin():
    facts = brick_and_bin()
    grasp = choose_grasp(facts, "brick", INSIDE, [])
    assert grasp is not None
    heard = []
    skill = transfer(facts, grasp, "brick", INSIDE, rule_based_weights, note=lambda movement, _: heard.append(movement))
    end, done, _ = run(skill, facts)
    assert done
    assert end.gripper_width_m > 0.06
    assert np.linalg.norm(end.objects["brick"].position[:2] - end.objects["bin"].position[:2]) < 0.03
    _, carried = heard
    bottom = carried.goal[2] + carried.cylinders[0].bottom
    assert bottom == pytest.approx(0.105 + DROP_M)  # the bin's rim


def test_reach_says_when_it_holds_nothing():
    facts = brick_and_bin()
    grasp = choose_grasp(facts, "brick", INSIDE, [])
    assert grasp is not None
    away = replace(facts, objects={**facts.objects, "brick": facts.objects["bin"]})
    _, held, _ = run(reach(away, grasp, zero_weights), away)
    assert not held


def test_push_comes_onto_the_thing_and_drags_it_with_closed_fingers():
    facts, goal = brick_and_bin(), np.array([0.0, 0.05, 0.03])
    heard = []

    def act(facts, action):
        """Without a simulator: the brick goes along with fingers that are on it."""
        after = step(facts, action)
        brick = facts.objects["brick"]
        on_it = np.linalg.norm((brick.position - facts.eef.position)[:2]) < 0.03 and facts.eef.position[2] < 0.075
        moved = brick.position + (after.eef.position - facts.eef.position) * [1, 1, 0] * on_it
        return replace(after, objects={**after.objects, "brick": replace(brick, position=moved)})

    skill = push(facts, "brick", goal, zero_weights, note=lambda movement, _: heard.append(movement))
    end, done, commands = run(skill, facts, act)
    assert done
    assert end.objects["brick"].position[1] == pytest.approx(0.05, abs=0.016)
    assert heard[0].goal[1] == pytest.approx(-0.1 + 0.026)  # ahead of the brick's middle, which is at y = -0.1
    assert heard[0].goal[2] > 0.06
    assert all(command.action[6] == CLOSE for command in commands)


@pytest.mark.parametrize("table", [0.0, -0.2])
def test_where_nothing_stands_a_thing_is_let_go_above_the_table(table):
    facts, heard = replace(brick_and_bin(brick_x=-0.1, brick_y=0.0), table_m=table), []
    over = np.array([0.1, -0.3, 0.0])
    next(carry(facts, "brick", over, zero_weights, note=lambda movement, _: heard.append(movement)))
    underside = heard[0].goal[2] - facts.eef.position[2]  # it is at 0 and follows the hand
    assert underside == pytest.approx(table + DROP_M)


def test_opening_is_a_row_of_its_own():
    facts = replace(brick_and_bin(), gripper_width_m=0.0)
    goal = start_of(facts, closed=0.0) + np.array([0.0, 0.0, 0.05, 0.0, 0.0])
    path = roll_out(start_of(facts, closed=1.0), goal, np.zeros((5, 11)))
    end, arrived, commands = run(follow(facts, path), facts)
    assert arrived
    assert end.gripper_width_m > 0.06
    assert commands[-1].action[6] == OPEN
