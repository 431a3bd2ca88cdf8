"""Clone a policy from recorded demonstrations (behaviour cloning)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hone.cli.output import emit_json, people
from hone.cli.progress import TerminalProgress
from hone.data.episodes import read_dataset, read_episodes
from hone.errors import HoneError
from hone.policies.small import SmallPolicyConfig
from hone.seeding import torch_generator
from hone.training.behavior_cloning import BehaviorCloningConfig, clone


@dataclass(frozen=True)
class Config:
    """Options of `hone clone`."""

    demos: Path
    """Folder of demonstrations, as `hone demos` writes it."""
    output: Path
    """Folder the policy is written to."""
    seed: int = 0
    """Seed of the weights and of the training batches."""
    network: SmallPolicyConfig = field(default_factory=SmallPolicyConfig)
    """The policy."""
    training: BehaviorCloningConfig = field(default_factory=BehaviorCloningConfig)
    """The training."""
    json: bool = False
    """Print the final metrics as one JSON object on standard output."""


def run(config: Config) -> int:
    if config.output.exists():
        raise HoneError(f"'{config.output}' exists already. Give another --output.")
    episodes = read_episodes(config.demos)
    policy = config.network.fitted_to(read_dataset(config.demos).spec).build(config.seed)
    with TerminalProgress().stage("cloning", config.training.steps) as step:
        metrics = clone(
            policy,
            episodes,
            config.training,
            torch_generator(config.seed, "clone"),
            on_step=lambda done: step(1, f"loss {done.loss:.4f}"),
        )
    policy.save_pretrained(config.output)
    people().print(f"policy written to {config.output} (loss {metrics['loss']:.4f})")
    if config.json:
        emit_json({**metrics, "policy": str(config.output)})
    return 0
