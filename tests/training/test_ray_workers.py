"""Rollouts on Ray actors: equal to those in one process, and losing an actor, a node or the head costs no episode."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.training.toy_environment import TASKS, ToyConfig, forward_policy

from hone.errors import HoneError
from hone.training import ray_workers
from hone.training.pools import Pool, open_pool
from hone.training.ray_workers import RayPool
from hone.training.rollout import EpisodeRequest
from hone.training.workers import RolloutPool
from hone.types import Placement

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'hone-vla[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore:.*:ResourceWarning", "ignore:.*unclosed.*", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two CPUs of this machine. Its sockets need a short path; its actors must find the tests."""
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        _temp_dir=folder,
        log_to_driver=False,
        object_store_memory=10**8,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def requests(count: int, greedy: bool = True) -> list[EpisodeRequest]:
    return [EpisodeRequest(i, TASKS[0], Placement("sampled", i), seed=i, greedy=greedy) for i in range(count)]


def outcome(trajectories) -> list[tuple]:
    return [(t.request.episode_id, t.status, t.steps) for t in trajectories]


def test_actors_give_what_one_process_gives(cluster):
    with RolloutPool(ToyConfig(), forward_policy(0.5), 0, 3) as local:
        expected = outcome(local.collect(requests(7)))
    heard = []
    with open_pool(ToyConfig(), forward_policy(0.5), 3, 3, "local") as pool:  # three wanted, and room for two
        assert isinstance(pool, Pool)
        assert outcome(pool.collect(requests(7), on_episode=heard.append)) == expected
        assert outcome(pool.collect(requests(7), hold_steps=5)) == expected
    assert len(heard) == 7


@pytest.mark.parametrize(
    "trouble", ["kill", *(pytest.param(name, marks=pytest.mark.slow) for name in ("stop", "hang in look"))]
)
def test_an_actor_lost_once_costs_no_episode(cluster, tmp_path, monkeypatch, caplog, trouble):
    monkeypatch.setattr(ray_workers, "SILENCE_S", 4.0)
    heard = []
    config = ToyConfig(trouble, once=str(tmp_path / "happened"))
    with caplog.at_level(logging.WARNING), RayPool(config, forward_policy(0.5), 2, 2) as pool:
        trajectories = pool.collect(requests(6), on_episode=heard.append)
        assert pool.restarts == 1
    assert [t.request.episode_id for t in trajectories] == list(range(6))
    assert sorted(t.request.episode_id for t in heard) == list(range(6))
    assert all(t.success for t in trajectories)
    assert re.search("was lost|was silent", caplog.text)


@pytest.mark.slow
def test_an_actor_killed_by_ray_costs_no_episode(cluster):
    heard = []
    with RayPool(ToyConfig(), forward_policy(0.5), 2, 2) as pool:

        def kill_once(trajectory) -> None:
            heard.append(trajectory.request.episode_id)
            if len(heard) == 1:
                ray.kill(pool._workers[1].actor)

        assert all(t.success for t in pool.collect(requests(8), on_episode=kill_once))
    assert sorted(heard) == list(range(8))


@pytest.mark.slow
def test_what_ends_its_actor_again_and_again_is_a_fault_and_its_neighbours_finish(cluster):
    with RayPool(ToyConfig("crash"), forward_policy(0.5), 1, 4) as pool:
        trajectories = pool.collect(requests(6))
        assert pool.restarts == 3
    assert [t.status for t in trajectories] == ["success", "success", "error", "success", "success", "success"]
    assert "attempt 3" in str(trajectories[2].fault)


def test_no_cluster_and_no_workers_are_one_line(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(HoneError, match=r"no Ray cluster to join at '127\.0\.0\.1:1'"):
        RayPool(ToyConfig(), forward_policy(0.5), 1, 1, "127.0.0.1:1")
    with pytest.raises(HoneError, match="write `auto`, `local`, or HOST:PORT"):
        RayPool(ToyConfig(), forward_policy(0.5), 1, 1, "nonsense")
    with pytest.raises(HoneError, match="at least 1"):
        open_pool(ToyConfig(), forward_policy(0.5), 0, 1, "local")
