"""Episodes per second of the same rollouts in this process, in worker processes, and in Ray actors; and what is sent.

    python benchmarks/ray_scaling.py                # settings in turn, three rounds, medians
    python benchmarks/ray_scaling.py --rounds 5

A small state policy, untrained (its answers do not matter: every episode runs to the cap), libero_object on
stand-ins. A cluster of this machine alone, so it shows what Ray costs, and no more growth than the machine has cores.
One row per setting in results/ray_scaling.jsonl, and one of message sizes.
"""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import dataclass

import numpy as np
import ray
import torch
import tyro

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import tasks
from hone.policies.learned import LearnedPolicy
from hone.policies.small import SmallPolicyConfig
from hone.training.broadcast import Versions, to_bytes
from hone.training.pools import Pool, open_pool
from hone.training.rollout import EpisodeRequest, Keep
from hone.types import Placement, Task
from rows import append_row

SETTINGS: tuple[tuple[str | None, int], ...] = (
    (None, 0),
    (None, 1),
    (None, 2),
    ("local", 1),
    ("local", 2),
    ("local", 4),
)
"""Ray or not, and how many workers."""


@dataclass(frozen=True)
class Config:
    episodes: int = 40
    step_cap: int = 120
    slots: int = 8
    rounds: int = 3


def main(config: Config) -> None:
    torch.set_num_threads(1)
    task = tasks("libero_object")[0]
    policy = SmallPolicyConfig(inputs="state").build()
    env = LiberoConfig(step_cap=config.step_cap, physics="fast").seen_by(policy.spec)
    env.prepare([task])
    fit_statistics(policy, env, task)
    requests = [EpisodeRequest(i, task, Placement("sampled", i), seed=i) for i in range(config.episodes)]
    seconds: dict[tuple[str | None, int], list[float]] = {setting: [] for setting in SETTINGS}
    steps = 0
    places = sum(workers for ray_address, workers in SETTINGS if ray_address)
    ray.init(address="local", num_cpus=places, include_dashboard=False, log_to_driver=False)
    with_pools = {setting: open_pool(env, policy, setting[1], config.slots, setting[0]) for setting in SETTINGS}
    for pool in with_pools.values():  # everybody has started before anything is timed
        pool.collect(requests[: 2 * pool.num_workers + 1])
    for _ in range(config.rounds):
        for setting, pool in with_pools.items():
            started = time.perf_counter()
            steps = sum(trajectory.steps for trajectory in pool.collect(requests))
            seconds[setting].append(time.perf_counter() - started)
    load = round(os.getloadavg()[0], 1)
    for (address, workers), taken in seconds.items():
        median = float(np.median(taken))
        row = {
            "kind": "speed",
            "ray": address,
            "workers": workers,
            "episodes_per_second": round(config.episodes / median, 2),
            "steps_per_second": round(steps / median, 1),
            "rounds": config.rounds,
            "load": load,
        }
        print(row, flush=True)
        append_row("ray_scaling", row)
    sizes = message_sizes(with_pools[SETTINGS[0]], policy, requests[:4])
    print(sizes)
    append_row("ray_scaling", {"kind": "bytes", **sizes})
    for pool in with_pools.values():
        pool.close()


def fit_statistics(policy: LearnedPolicy, env: LiberoConfig, task: Task) -> None:
    """Those of one scene, as it begins."""
    slots = list(range(8))
    built = env.build(len(slots))
    built.reset(slots, [task] * len(slots), [Placement("sampled", index) for index in slots])
    policy.fit_normalization(built.observe(slots))
    built.close()


def message_sizes(pool: Pool, policy: LearnedPolicy, requests: list[EpisodeRequest]) -> dict[str, int]:
    """What goes over the wire: weights in full, what an update of the head changes, an episode by what it keeps."""
    versions = Versions(policy)
    full = len(to_bytes(dict(policy.state_dict())))
    with torch.no_grad():
        for parameter in policy.head.parameters():
            parameter += 1e-3
    versions.update(policy)
    sizes = {"weights_full": full, "weights_after_an_update_of_the_head": len(to_bytes(versions.since(0)))}
    keeps: tuple[Keep, ...] = ("nothing", "features", "observations")
    for keep in keeps:
        sent = [len(pickle.dumps(trajectory)) for trajectory in pool.collect(requests, keep=keep)]
        sizes[f"episode_keeping_{keep}"] = int(np.mean(sent))
    return sizes


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
