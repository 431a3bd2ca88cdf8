"""A policy to start from: cloned from a few demonstrations by the scripted expert."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hone.data.demonstrations import collect_demonstrations
from hone.data.demonstrators import demonstrator_for
from hone.envs.base import EnvironmentConfig
from hone.evaluation.progress import Progress
from hone.policies import load_policy
from hone.policies.learned import LearnedPolicy
from hone.policies.small import SmallPolicyConfig
from hone.primitives.expert import Manner
from hone.seeding import derive_seed, torch_generator
from hone.training.behavior_cloning import BehaviorCloningConfig, clone
from hone.types import Task


def cloned_policy(
    folder: Path,
    tasks: Sequence[Task],
    *,
    demos: int,
    manner: Manner,
    network: SmallPolicyConfig,
    cloning: BehaviorCloningConfig,
    env: EnvironmentConfig,
    slots: int,
    seed: int,
    progress: Progress,
) -> LearnedPolicy:
    """The policy in `folder`, which is cloned first if it is not there, from `demos` demonstrations of each task."""
    if folder.exists():
        return load_policy(folder)
    network = network.fitted_to(env.seen_by(network.spec).spec)
    with progress.stage("demonstrating", demos * len(tasks)) as step:
        stage = env.seen_by(network.spec).for_demonstrations().build(slots)
        try:
            episodes = collect_demonstrations(
                stage,
                tasks,
                per_task=demos,
                seed=seed,
                manner=manner,
                demonstrator=demonstrator_for(env, manner),
                on_progress=lambda episode: step(1 if episode.status == "success" else 0),
            )
        finally:
            stage.close()
    policy = network.build(derive_seed(seed, "weights") % 2**31)
    with progress.stage("cloning", cloning.steps) as step:
        clone(
            policy,
            episodes,
            cloning,
            torch_generator(seed, "clone"),
            on_step=lambda done: step(1, f"loss {done.loss:.4f}"),
        )
    policy.save_pretrained(folder)
    return policy
