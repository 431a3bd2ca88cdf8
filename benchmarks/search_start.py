"""A policy that half works, for the benchmark of searches: cloned longer and longer until it does.

A fixed number of cloning steps leaves one seed's policy with 5 % success and another's with 40 %. So the demonstrations
are cloned from scratch with more and more steps, and the first policy that solves `ENOUGH` of sampled validation
placements is taken. Official initial states have no part in it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from hone.data.demonstrations import collect_demonstrations
from hone.data.demonstrators import demonstrator_for
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.state_tokens import StateTokens
from hone.envs.libero.suites import tasks as suite_tasks
from hone.evaluation.run_folder import write_json
from hone.evaluation.runner import Setup, evaluate, protocol_card
from hone.policies import load_policy
from hone.policies.learned import LearnedPolicy
from hone.policies.small import SmallPolicyConfig
from hone.primitives.expert import Manner
from hone.seeding import derive_seed, torch_generator
from hone.training.behavior_cloning import BehaviorCloningConfig, clone
from hone.training.improve import VALIDATION_SEEDS
from hone.training.workers import RolloutPool

log = logging.getLogger(__name__)

ENOUGH = 0.35
VALIDATION = tuple(VALIDATION_SEEDS[:4])
"""Sampled placements of each task."""


@dataclass(frozen=True)
class Start:
    """How the half-trained policy of a suite is made: demonstrations of each task, and cloning steps in turn."""

    demos: int
    steps: tuple[int, ...]
    state_tokens: StateTokens = "objects_v1"
    """What it reads of the scene."""


def half_trained(folder: Path, suite: str, start: Start, env: LiberoConfig, slots: int, seed: int) -> LearnedPolicy:
    """The policy in `folder`, made first if it is not there; `start.json` beside it says how. The last of the ladder is
    taken if none is good enough."""
    if folder.exists():
        return load_policy(folder)
    network = SmallPolicyConfig(inputs="state", state_tokens=start.state_tokens)
    network = network.fitted_to(env.seen_by(network.spec).spec)
    stage = env.seen_by(network.spec).for_demonstrations().build(slots)
    try:
        episodes = collect_demonstrations(
            stage, suite_tasks(suite), per_task=start.demos, seed=seed, demonstrator=demonstrator_for(env, Manner())
        )
    finally:
        stage.close()
    tried: dict[int, float] = {}
    for steps in start.steps:
        policy = network.build(derive_seed(seed, "weights") % 2**31)
        clone(policy, episodes, BehaviorCloningConfig(steps=steps), torch_generator(seed, "clone"))
        tried[steps] = success(policy, suite, env, slots)
        log.info("%s, seed %d: %d cloning steps, %.0f %%", suite, seed, steps, 100 * tried[steps])
        if tried[steps] >= ENOUGH or steps == start.steps[-1]:
            write_json(folder.parent / "start.json", {"demos": start.demos, "tried": tried})
            policy.save_pretrained(folder)  # last, since this is what says that it is done
            break
    return load_policy(folder)


def success(policy: LearnedPolicy, suite: str, env: LiberoConfig, slots: int) -> float:
    """On sampled validation placements."""
    with RolloutPool(env, policy, 0, slots) as pool:
        setup = Setup(suite_tasks(suite), "sampled", VALIDATION)
        result = evaluate(pool, policy, setup, lambda s: protocol_card(s, env, policy), hold=False)
    return result.summary()["success_rate"]
