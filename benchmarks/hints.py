"""Does a cloned policy follow hints, and do hints open tasks it was never shown? State tokens, sampled placements.

    python benchmarks/hints.py --name object7 --trained libero_object:0-6 --asked libero_object:7-9 --seeds 0 1 2

A policy is cloned from one demonstration of each trained task, with motion phrases; then it acts greedily, without a
hint, with the rule hinter's and with random hints, on the trained and on the asked tasks. Nothing is learned meanwhile.
Rows: benchmarks/results/hints.jsonl, one per seed, arm and set of tasks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import tyro

from hone.data.demonstrations import collect_demonstrations
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import task as find_task
from hone.evaluation.stats import wilson_interval
from hone.exploration.guidance import Guidance
from hone.exploration.hinter import RandomHinter, RuleHinter
from hone.policies.learned import LearnedPolicy
from hone.policies.small import SmallPolicyConfig
from hone.seeding import derive_seed, torch_generator
from hone.training.behavior_cloning import BehaviorCloningConfig, clone
from hone.training.rollout import EpisodeRequest
from hone.training.workers import RolloutPool
from hone.types import Placement, Task
from rows import append_row


@dataclass(frozen=True)
class Config:
    name: str
    """What the rows are called."""
    trained: str = "libero_object:0-6"
    """Suite and tasks that are demonstrated."""
    asked: str = "libero_object:7-9"
    """Suite and tasks that are not."""
    seeds: tuple[int, ...] = (0, 1, 2)
    kinds: tuple[Literal["asked", "trained"], ...] = ("asked", "trained")
    demos: int = 1
    placements: int = 20
    """Sampled placements per task and arm."""
    step_cap: int = 280
    workers: int = 2
    slots: int = 10
    clone: BehaviorCloningConfig = field(
        default_factory=lambda: BehaviorCloningConfig(steps=1500, hinted=0.5, drills=0.5)
    )
    network: SmallPolicyConfig = field(default_factory=lambda: SmallPolicyConfig(inputs="state", follows_hints=True))
    arms: tuple[str, ...] = ("rule", "none", "random")


def tasks_of(text: str) -> tuple[Task, ...]:
    """`libero_object:0-6` or `libero_goal:1,3`."""
    suite, numbers = text.split(":")
    chosen = []
    for part in numbers.split(","):
        low, _, high = part.partition("-")
        chosen += range(int(low), int(high or low) + 1)
    return tuple(find_task(suite, index) for index in chosen)


def cloned(config: Config, tasks: tuple[Task, ...], seed: int) -> LearnedPolicy:
    env = LiberoConfig(images=False, state_tokens="objects_v1", stop_at_success=False, physics="fast").build(
        config.slots
    )
    episodes = collect_demonstrations(env, tasks, per_task=config.demos, seed=seed)
    env.close()
    policy = config.network.build(derive_seed(seed, "weights") % 2**31)
    clone(policy, episodes, config.clone, torch_generator(seed, "clone"))
    return policy


def measure(config: Config, policy: LearnedPolicy, tasks: tuple[Task, ...], arm: str, seed: int) -> dict:
    hinter = RandomHinter() if arm == "random" else RuleHinter(policy.chunk_length)
    requests = [
        EpisodeRequest(
            number,
            task,
            Placement("sampled", index),
            derive_seed(seed, "hints", task.suite, task.index, index),
            greedy=True,
            hinted=arm != "none",
        )
        for number, (task, index) in enumerate((t, i) for t in tasks for i in range(config.placements))
    ]
    env = LiberoConfig(physics="fast", step_cap=config.step_cap).seen_by(policy.spec)
    with RolloutPool(env, policy, config.workers, config.slots) as pool:
        trajectories = pool.collect(requests, guidance=None if arm == "none" else Guidance(hinter))
    successes = sum(t.success for t in trajectories)
    low, high = wilson_interval(successes, len(trajectories))
    per_task = {
        task.name: float(np.mean([t.success for t in trajectories if t.request.task == task])) for task in tasks
    }
    return {
        "arm": arm,
        "seed": seed,
        "successes": successes,
        "episodes": len(trajectories),
        "success_rate": successes / len(trajectories),
        "low": low,
        "high": high,
        "per_task": per_task,
    }


def main(config: Config) -> None:
    trained, asked = tasks_of(config.trained), tasks_of(config.asked)
    for seed in config.seeds:
        started = time.monotonic()
        policy = cloned(config, trained, seed)
        print(f"cloned after {time.monotonic() - started:.0f} s", flush=True)
        for kind in config.kinds:
            tasks = asked if kind == "asked" else trained
            for arm in config.arms:
                row = measure(config, policy, tasks, arm, seed)
                print(config.name, kind, row, f"{time.monotonic() - started:.0f} s", flush=True)
                append_row("hints", {"name": config.name, "kind": kind, **row})


if __name__ == "__main__":
    main(tyro.cli(Config))
