"""From hints to a policy without them, on tasks that were never demonstrated: one round, state tokens.

    python benchmarks/hint_distillation.py

Clones from one demonstration of each of seven libero_object tasks, lets the policy act on nine libero_spatial tasks
with the rule hinter's hints, distils what succeeded, and measures the policy without hints on other sampled placements.
The expert is never asked about libero_spatial. Success of the practice is the simulator's own.
Rows: benchmarks/results/hint_distillation.jsonl.
"""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from hints import Config as HintsConfig
from hints import cloned, measure, tasks_of
from hone.envs.libero.environment import LiberoConfig
from hone.exploration.distillation import DistillationConfig, distill, lessons
from hone.exploration.guidance import Guidance
from hone.exploration.hinter import RuleHinter
from hone.seeding import derive_seed, torch_generator
from hone.training.rollout import EpisodeRequest
from hone.training.workers import RolloutPool
from hone.types import Placement
from rows import append_row

PRACTICE = range(128, 2048)
"""Sampled placements that are practised on; those that are measured lie below."""


@dataclass(frozen=True)
class Config:
    seed: int = 0
    per_task: int = 8
    """Hinted episodes per task."""
    placements: int = 3
    """Measured placements per task."""
    exploration: float = 0.02
    steps: int = 600
    """Steps of distillation."""
    learning_rate: float = 5e-4
    workers: int = 0
    slots: int = 36


def main(config: Config) -> None:
    hints = HintsConfig(
        name="",
        asked="libero_spatial:0-3,5-9",
        placements=config.placements,
        workers=config.workers,
        slots=config.slots,
    )
    trained, asked = tasks_of(hints.trained), tasks_of(hints.asked)
    policy = cloned(hints, trained, config.seed)
    policy.train_encoder = False
    policy.exploration = config.exploration
    requests = [
        EpisodeRequest(
            number,
            task,
            Placement("sampled", PRACTICE[derive_seed(config.seed, "practice", task.index, i) % len(PRACTICE)]),
            derive_seed(config.seed, "practice episode", task.index, i),
            hinted=True,
        )
        for number, (task, i) in enumerate((t, i) for t in asked for i in range(config.per_task))
    ]
    env = LiberoConfig(physics="fast").seen_by(policy.spec)
    with RolloutPool(env, policy, config.workers, config.slots) as pool:
        practice = pool.collect(requests, keep="features", guidance=Guidance(RuleHinter(policy.chunk_length)))
    solved = [t.success for t in practice]
    given = lessons(policy, practice, solved)
    before = measure(hints, policy, asked, "none", config.seed)
    assert given is not None, "no hinted episode succeeded"
    how = DistillationConfig(steps=config.steps, learning_rate=config.learning_rate)
    metrics = distill(policy, given, how, torch_generator(config.seed, "distil"))
    after = measure(hints, policy, asked, "none", config.seed)
    row = {
        "seed": config.seed,
        "practised": len(practice),
        "solved": sum(solved),
        "env_steps": sum(t.steps for t in practice),
        **metrics,
        "before": before,
        "after": after,
    }
    print(row, flush=True)
    append_row("hint_distillation", row)


if __name__ == "__main__":
    main(tyro.cli(Config))
