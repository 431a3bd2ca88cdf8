"""Nodes that join and leave. Slow: every node is a handful of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.training.toy_environment import TASKS, ToyConfig, forward_policy

from hone.training import ray_cluster
from hone.training.ray_workers import RayPool
from hone.training.rollout import EpisodeRequest
from hone.types import Placement

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'hone-vla[ray]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning", "ignore:.*unclosed.*", "ignore::FutureWarning"),
]


@pytest.fixture
def one_node(monkeypatch) -> Iterator[Any]:
    """A cluster whose head has one CPU, and this process connected to it."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray_cluster.leave()
    cluster.shutdown()


def requests(count: int) -> list[EpisodeRequest]:
    return [EpisodeRequest(i, TASKS[0], Placement("sampled", i), seed=i, greedy=True) for i in range(count)]


@pytest.mark.timeout(300)
def test_a_node_that_joins_is_used_and_one_that_leaves_costs_no_episode(one_node):
    with RayPool(ToyConfig(), forward_policy(0.5), 2, 2) as pool:
        assert all(t.success for t in pool.collect(requests(4)))
        assert sorted(bool(worker.where) for worker in pool._workers) == [False, True], "there is room for one"
        node = one_node.add_node(num_cpus=1, object_store_memory=10**8)
        deadline = time.monotonic() + 200
        while not all(worker.where for worker in pool._workers) and time.monotonic() < deadline:
            pool.collect(requests(40))
        assert all(worker.where for worker in pool._workers), "the other has a place now"
        heard: list[int] = []

        def leave_once(trajectory) -> None:
            heard.append(trajectory.request.episode_id)
            if len(heard) == 1:
                one_node.remove_node(node, allow_graceful=False)

        trajectories = pool.collect(requests(60), on_episode=leave_once)
    assert [t.request.episode_id for t in trajectories] == list(range(60))
    assert sorted(heard) == list(range(60))
    assert all(t.success for t in trajectories)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_a_head_that_is_lost_is_one_error_and_no_hang(how: str, monkeypatch):
    """In a process of its own, which has to end too."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run([sys.executable, "-c", _LOSE_THE_HEAD, how], capture_output=True, text=True, timeout=250)
    assert "rounds: the head of the Ray cluster has not answered" in done.stdout, done.stderr


_LOSE_THE_HEAD = """
import os, signal, sys
from ray.cluster_utils import Cluster
from tests.training.toy_environment import TASKS, ToyConfig, forward_policy
from hone.errors import HoneError
from hone.training import ray_cluster, ray_workers
from hone.training.rollout import EpisodeRequest
from hone.types import Placement

ray_workers.HEAD_S = 10.0
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8})
ray_cluster.connect(cluster.address, 1)
head = cluster.head_node.all_processes["gcs_server"][0].process.pid
requests = [EpisodeRequest(i, TASKS[0], Placement("sampled", i), seed=i, greedy=True) for i in range(100)]
try:
    with ray_workers.RayPool(ToyConfig(), forward_policy(0.5), 1, 2) as pool:
        pool.collect(requests[:4])
        os.kill(head, getattr(signal, sys.argv[1]))
        rounds = 0
        while rounds < 1000:
            pool.collect(requests)
            rounds += 1
except HoneError as error:
    print(f"after {rounds} rounds: {error}", flush=True)
finally:
    cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
"""
