"""Worker processes: killing one loses no episode and duplicates none."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from tests.training.toy_environment import TASKS, ToyConfig, ToyEnvironment, forward_policy

from hone.errors import HoneError
from hone.training import workers
from hone.training.rollout import EpisodeRequest
from hone.training.workers import RolloutPool
from hone.types import Observation, Placement


@dataclass(frozen=True)
class SlowToy(ToyConfig):
    def build(self, num_slots: int) -> ToyEnvironment:
        return SlowEnvironment(self, num_slots)


class SlowEnvironment(ToyEnvironment):
    def observe(self, slots: Sequence[int]) -> Observation:
        time.sleep(0.4)
        return super().observe(slots)


@dataclass(frozen=True)
class NeverBuilds(ToyConfig):
    def build(self, num_slots: int) -> ToyEnvironment:
        os._exit(7)


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


@pytest.mark.parametrize(
    ("trouble", "warning"),
    [
        ("kill", "was killed from outside"),
        ("stop", "does not answer signals"),
        ("hang in look", r"during 'look'|_maybe \(toy_environment.py"),
    ],
)
def test_a_worker_lost_once_costs_no_episode(tmp_path, caplog, monkeypatch, trouble, warning):
    monkeypatch.setattr(workers, "SILENCE_S", 3.0)
    monkeypatch.setattr(workers, "STACK_S", 1.0)
    heard = []
    config = ToyConfig(trouble, once=str(tmp_path / "happened"))
    with caplog.at_level(logging.WARNING), RolloutPool(config, forward_policy(0.5), 2, 2) as pool:
        trajectories = pool.collect(requests(6), on_episode=heard.append)
        assert pool.restarts == 1
    assert [t.request.episode_id for t in trajectories] == list(range(6))
    assert sorted(t.request.episode_id for t in heard) == list(range(6))
    assert all(t.success for t in trajectories)
    assert re.search(warning, caplog.text)


def test_a_hang_is_named_by_the_frames_it_hangs_in(caplog, monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "SILENCE_S", 2.0)
    config = ToyConfig("hang in look", once=str(tmp_path / "happened"))
    with caplog.at_level(logging.WARNING), RolloutPool(config, forward_policy(0.5), 1, 1) as pool:
        pool.collect([requests(3)[2]])
    assert re.search(r"silent for 2 s in _maybe \(toy_environment.py:\d+\) < observe \(toy_environment.py", caplog.text)


def test_slow_is_not_silent(monkeypatch):
    """Six looks of 0.4 s each take longer together than the limit; each alone is a sign of life."""
    monkeypatch.setattr(workers, "SILENCE_S", 1.5)
    with RolloutPool(SlowToy(), forward_policy(0.5), 1, 1) as pool:
        assert all(t.success for t in pool.collect(requests(3)))
        assert pool.restarts == 0


@pytest.mark.parametrize(
    ("trouble", "status", "restarts"),
    [("crash", "failure", 2), ("kill", "error", 3), ("crash in look", "error", 3)],
)
def test_what_comes_back_is_the_policys_only_if_its_actions_crash_the_simulator(trouble, status, restarts):
    """Episode 2 ends every worker that runs it. Its neighbours in the same worker are innocent and finish."""
    with RolloutPool(ToyConfig(trouble), forward_policy(0.5), 1, 4) as pool:
        trajectories = pool.collect(requests(6))
        assert pool.restarts == restarts
    assert [t.status for t in trajectories] == ["success", "success", status, "success", "success", "success"]
    assert f"attempt {restarts}" in str(trajectories[2].fault)


def test_workers_that_end_before_they_begin_stop_the_run():
    """A script without a main guard, or an environment that cannot be built: no restart will mend it."""
    with (
        RolloutPool(NeverBuilds(), forward_policy(0.5), 2, 4) as pool,
        pytest.raises(HoneError, match=r"end before their first episode \(the last one crashed \(exit code 7\)\)"),
    ):
        pool.collect(requests(40))
    assert pool.restarts <= 6
