"""The control for the expert: what cloning alone reaches where the expert acts for as long as practice did.

The expert is asked about the very tasks that are measured, which no other arm may do beyond the demonstrations stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hone.data.demonstrations import demonstrate, requests
from hone.envs.base import EnvironmentConfig
from hone.errors import HoneError
from hone.evaluation.progress import Progress
from hone.evaluation.run_folder import read_json, write_json
from hone.policies import load_policy
from hone.policies.learned import LearnedPolicy
from hone.policies.small import SmallPolicyConfig
from hone.primitives.expert import Manner
from hone.seeding import derive_seed, torch_generator
from hone.training.behavior_cloning import BehaviorCloningConfig, clone
from hone.types import Episode, Task

SHORTEST = 20
"""Control steps; no demonstration is shorter."""


@dataclass(frozen=True)
class Asked:
    """What the expert was asked for: successful demonstrations, and the control steps of all, failures included."""

    demonstrations: int
    env_steps: int


def cloned_within(
    folder: Path,
    tasks: Sequence[Task],
    budget: int,
    *,
    manner: Manner,
    network: SmallPolicyConfig,
    cloning: BehaviorCloningConfig,
    env: EnvironmentConfig,
    slots: int,
    seed: int,
    progress: Progress,
) -> tuple[LearnedPolicy, Asked]:
    """A policy cloned from as many demonstrations of `tasks` as `budget` control steps allow; from `folder` if it is
    there. It is cloned for as many optimizer steps as see each recorded step about once, and no fewer than `cloning`
    says."""
    account = folder / "asked.json"
    if account.exists():
        return load_policy(folder), Asked(**read_json(account))
    stage = env.seen_by(network.spec).for_demonstrations().build(slots)
    try:
        with progress.stage("demonstrating (control steps)", budget) as step:
            episodes: list[Episode] = []
            taken = 0
            wanted = requests(tasks, budget // SHORTEST + 1)
            for episode in demonstrate(stage, wanted, seed=seed, manner=manner):
                episodes.append(episode)
                taken += len(episode)
                step(len(episode))
                if taken >= budget:  # what others are in the middle of is not used
                    break
    finally:
        stage.close()
    episodes.sort(key=lambda e: (e.task, e.metadata["number"], e.metadata["attempt"]))
    solved = [episode for episode in episodes if episode.status == "success"]
    if not solved:
        raise HoneError(f"the expert solved nothing in {budget} control steps; give practice a larger budget.")
    once = sum(map(len, solved)) // cloning.batch_size
    cloning = replace(cloning, steps=max(cloning.steps, once))
    policy = network.build(derive_seed(seed, "weights") % 2**31)
    with progress.stage("cloning", cloning.steps) as step:
        generator = torch_generator(seed, "clone")
        clone(policy, solved, cloning, generator, on_step=lambda done: step(1, f"loss {done.loss:.4f}"))
    policy.save_pretrained(folder)
    asked = Asked(len(solved), taken)
    write_json(account, asdict(asked))
    return policy, asked
