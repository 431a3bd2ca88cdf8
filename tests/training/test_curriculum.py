"""What is practised next follows from how it went."""

from __future__ import annotations

import pytest

from hone.envs.libero.suites import tasks as find_tasks
from hone.training.curriculum import Curriculum, share_groups, wanted, widened


def test_exploration_widens_while_nothing_succeeds():
    widening, seen = 1.0, []
    for success in (0.0, 0.0, 0.0, 0.05, 0.2, 0.2, 0.2, 0.9):
        widening = widened(widening, success)
        seen.append(round(widening, 3))
    assert seen == [1.5, 2.25, 2.5, 2.5, 1.667, 1.111, 1.0, 1.0]


def test_tasks_that_fail_get_more_groups_and_solved_ones_a_few():
    tasks = find_tasks("libero_object")[:3]
    shares = share(tasks, [0.0, 1.0, 0.5])
    assert shares == [7, 1, 4]  # 1.1 : 0.1 : 0.6 of 12 = 7.3 : 0.7 : 4
    assert share(tasks, [0.3] * 3) == [4, 4, 4]
    for groups in (1, 2, 7, 12):
        assert len(share_groups(tasks, [0.2, 0.9, 0.4], groups)) == groups


def share(tasks, success_of):
    curriculum = Curriculum(tasks)
    curriculum.success_of = success_of
    return [curriculum.groups(12).count(task) for task in tasks]


def test_learnability_is_highest_where_half_the_episodes_succeed():
    worth = [wanted("learnability", success) for success in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert worth == pytest.approx([0.1, 0.85, 1.1, 0.85, 0.1])
    assert {wanted("uniform", success) for success in (0.0, 0.5, 1.0)} == {1.1}


def test_success_is_a_running_mean_of_the_tasks_that_ran():
    tasks = find_tasks("libero_object")[:3]
    curriculum = Curriculum(tasks)
    curriculum.update([(tasks[0], True), (tasks[0], False), (tasks[1], False)], success=1 / 3)
    assert curriculum.success_of == [0.5, 0.25, 0.5]
    again = Curriculum(tasks)
    again.load_state_dict(curriculum.state_dict())
    assert again.groups(7) == curriculum.groups(7)
