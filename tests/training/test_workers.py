"""Worker processes: killing one loses no episode and duplicates none."""

from __future__ import annotations

import logging

from tests.training.toy_environment import TASKS, ToyConfig, forward_policy

from hone.training.rollout import EpisodeRequest
from hone.training.workers import RolloutPool
from hone.types import Placement


def requests(count: int) -> list[EpisodeRequest]:
    return [EpisodeRequest(i, TASKS[0], Placement("sampled", i), seed=i, greedy=True) for i in range(count)]


def outcome(trajectories) -> list[tuple]:
    return [(t.request.episode_id, t.status, t.steps) for t in trajectories]


def test_processes_give_what_one_process_gives():
    with RolloutPool(ToyConfig(), forward_policy(0.5), 0, 3) as local:
        expected = outcome(local.collect(requests(7)))
    heard = []
    with RolloutPool(ToyConfig(), forward_policy(0.5), 2, 3) as pool:
        assert outcome(pool.collect(requests(7), on_episode=heard.append)) == expected
        assert outcome(pool.collect(requests(7), hold_steps=5)) == expected
    assert len(heard) == 7
    assert [episode for episode, _, _ in expected] == list(range(7))


def test_a_killed_worker_is_replaced_and_its_episodes_run_again(tmp_path, caplog):
    config = ToyConfig(die_once=str(tmp_path / "died"))
    with caplog.at_level(logging.WARNING), RolloutPool(config, forward_policy(0.5), 2, 2) as pool:
        trajectories = pool.collect(requests(6))
        assert pool.restarts == 1
    assert [t.request.episode_id for t in trajectories] == list(range(6))
    assert all(t.success for t in trajectories)
    assert "died; restarting it" in caplog.text


def test_a_worker_that_keeps_dying_is_a_fault_not_a_failure():
    with RolloutPool(ToyConfig(always_die=True), forward_policy(0.5), 1, 4) as pool:
        trajectories = pool.collect(requests(3))
    assert {t.status for t in trajectories} == {"error"}
    assert "3 attempts" in str(trajectories[0].fault)
