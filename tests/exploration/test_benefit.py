"""Hints are wanted where those who hear them do better."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hone.exploration.benefit import Benefit
from hone.training.rollout import EpisodeRequest, Trajectory
from hone.types import Placement, Task

EASY, HARD = (Task("toy", index, name, name) for index, name in enumerate(("easy", "hard")))


def ran(task: Task, hinted: bool, count: int) -> list[Trajectory]:
    request = EpisodeRequest(0, task, Placement("sampled", 0), seed=0, hinted=hinted)
    return [Trajectory(request, "failure", 1, np.array([1], np.int32)) for _ in range(count)]


def test_means_run_per_task_and_apart():
    benefit = Benefit()
    assert benefit.plain(HARD) == 0.0
    assert not benefit.helps(HARD)  # until shown
    assert not benefit.known(EASY)
    benefit.update(
        [*ran(EASY, False, 2), *ran(HARD, True, 2), *ran(HARD, False, 2)], [True, True, True, False, False, False]
    )
    assert (benefit.plain(EASY), benefit.plain(HARD)) == (1.0, 0.0)
    assert benefit.known(EASY)
    assert benefit.helps(HARD)
    benefit.update(ran(HARD, False, 4), [True] * 4)
    assert benefit.plain(HARD) == 0.5
    assert not benefit.helps(HARD)  # as often without them
    assert benefit.plain(EASY) == 1.0


def test_a_resumed_run_goes_on_alike():
    first, second = Benefit(), Benefit()
    first.update([*ran(EASY, True, 1), *ran(EASY, False, 1)], [True, False])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict()
    assert second.helps(EASY)


def test_the_simulators_own_success_is_not_read():
    class Blind(Trajectory):
        @property
        def success(self) -> bool:
            raise AssertionError("read")

    (trajectory,) = ran(EASY, False, 1)
    blind = Blind(trajectory.request, trajectory.status, 1, trajectory.executed)
    benefit = Benefit()
    benefit.update([replace(blind)], [True])
    assert benefit.plain(EASY) == pytest.approx(1.0)
