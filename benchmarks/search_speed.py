"""How fast a search steps beside the engine alone, and what a node weighs.

    python benchmarks/search_speed.py

One process, one thread, processor time (other work may run beside it). Each leaf kind apart: a value on the state
tokens' features, a value on features of rendered pictures, a full rollout. Policies and values are untrained: their
answers do not matter here. Rows in results/search_speed.jsonl.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import tyro

from hone.envs.libero.environment import LiberoConfig, LiberoEnvironment
from hone.envs.libero.suites import task
from hone.planning.candidates import CandidateConfig
from hone.planning.mcts import MctsConfig
from hone.planning.tree_search import SearchConfig, SearchPlanning
from hone.planning.value import ValueConfig, ValueHead
from hone.policies.learned import LearnedPolicy
from hone.policies.small import SmallPolicyConfig
from hone.training.rollout import EpisodeRequest
from hone.types import Observation, Placement
from rows import append_row, finished

NAME = "search_speed"


@dataclass(frozen=True)
class Config:
    suite: str = "libero_object"
    task: int = 0
    slots: int = 4
    """Real episodes that are searched together."""
    wave: int = 4
    simulations: tuple[int, ...] = (16, 64, 256)
    """Of a value leaf; a rollout leaf gets a sixteenth of them."""


def main(config: Config) -> None:
    torch.set_num_threads(1)
    for physics in ("fast", "exact"):
        for leaf in ("state value", "rendered value", "rollout"):
            for simulations in config.simulations:
                count = max(4, simulations // 16) if leaf == "rollout" else simulations
                keys = {"suite": config.suite, "physics": physics, "leaf": leaf, "simulations": count}
                if not finished(NAME, **keys):
                    row = measure(config, leaf, count, LiberoConfig(physics=physics))
                    print({**keys, **row}, flush=True)
                    append_row(NAME, {**keys, **row})


def measure(config: Config, leaf: str, simulations: int, base: LiberoConfig) -> dict[str, Any]:
    inputs = "images" if leaf == "rendered value" else "state"
    policy = SmallPolicyConfig(inputs=inputs).build(0)
    env_config = base.seen_by(policy.spec)
    env = env_config.build(config.slots)
    slots = list(range(config.slots))
    which = task(config.suite, config.task)
    env.reset(slots, [which] * len(slots), [Placement("sampled", i) for i in slots])
    observation = env.observe(slots)
    policy.fit_normalization(Observation.cat([observation, observation]))
    policy.requires_grad_(False)
    features = policy.encode(observation)
    alone = engine_alone(env, policy, observation, simulations)

    share = 1.0 if leaf == "rollout" else 0.0
    search = SearchConfig(MctsConfig(simulations, config.wave), CandidateConfig(), rollout_share=share)
    planning = SearchPlanning(search, env_config, ValueHead(ValueConfig(), features.pooled.shape[1]).eval())
    lookahead = planning.build(policy, config.slots)
    own = policy.propose(features, None, 1, None)[0].select(torch.zeros(len(slots), dtype=torch.long))
    asked = [EpisodeRequest(i, which, Placement("sampled", i), i, greedy=True) for i in slots]
    warm = replace(search, mcts=replace(search.mcts, simulations=config.wave))
    replace(planning, config=warm).build(policy, config.slots).decide(
        env, slots, asked, observation, features, own, lambda: None
    )
    memory, started = resident_mib(), time.process_time()
    lookahead.decide(env, slots, asked, observation, features, own, lambda: None)
    seconds = time.process_time() - started
    grown = resident_mib() - memory
    reports = [lookahead.finish(slot).report["search"] for slot in slots]
    steps, nodes = (sum(report[name] for report in reports) for name in ("simulator_steps", "most_nodes"))
    lookahead.close()
    env.close()
    return {
        "simulations_per_second": sum(report["simulations"] for report in reports) / seconds,
        "simulator_steps_per_second": steps / seconds,
        "engine_steps_per_second": alone,
        "share_of_engine": steps / seconds / alone,
        "nodes": nodes,
        "mib_per_node": grown / nodes,
        "depth": max(max(report["depths"]) for report in reports),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def engine_alone(env: LiberoEnvironment, policy: LearnedPolicy, observation: Observation, simulations: int) -> float:
    """Control steps a second of the same slots, executing the policy's noisy chunks one after the other, not looking.

    They start where the search starts and are put back there every few chunks, as a search puts its copies back.
    """
    slots = list(range(env.num_slots))
    generators = [torch.Generator().manual_seed(slot) for slot in slots]
    features = policy.encode(observation)
    start = env.snapshot(slots)
    steps, seconds = 0, 0.0
    for turn in range(max(8, min(simulations, 64))):
        chunks = policy.propose(features, None, 1, generators)[0].chunks[:, 0].numpy().astype(np.float32)
        if turn % 8 == 0:
            env.restore(slots, start)
        started = time.process_time()
        result = env.step(slots, chunks)
        seconds += time.process_time() - started
        steps += int(result.steps.sum())
    env.restore(slots, start)
    return steps / seconds


def resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
