"""What each part of the agentic loop adds to plain GRPO, from the same start and with as many rollouts.

The matrix and the seeds are named here beforehand; settings were chosen on other seeds (100 and up). Every row of the
table, arm and seed leaves a line in results/agentic.jsonl; what has one is skipped, and a run that was stopped goes on.

    python benchmarks/agentic.py
    python benchmarks/agentic.py --rows one_shot --seeds 70
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from hone.cli.progress import TerminalProgress
from hone.training.ladder import ROWS, run_arm
from rows import append_row, finished

SEEDS = (70, 71, 72)
MATRIX: dict[str, tuple[str, ...]] = {
    "no_demonstrations": ("cloned", "guided", "hints_alone", "random_hints", "grpo_binary", "credit"),
    "one_shot": ("cloned", "grpo_binary", "agentic", "guided", "hints_alone", "credit", "adaptive"),
}


@dataclass(frozen=True)
class Config:
    rows: tuple[str, ...] = tuple(MATRIX)
    """Lines of the table."""
    arms: tuple[str, ...] = ()
    """Arms; those of the matrix, if none is given."""
    seeds: tuple[int, ...] = SEEDS
    """Seeds, in this order: every arm of one before the next."""
    output: Path = Path("runs") / "benchmark-agentic"
    """Folder of the runs."""


def main(config: Config) -> None:
    for seed in config.seeds:
        for name in config.rows:
            for arm in config.arms or MATRIX[name]:
                if not finished("agentic", row=name, arm=arm, seed=seed):
                    line = run_arm(ROWS[name], arm, seed, config.output / name, TerminalProgress())
                    append_row("agentic", {**line, "command": f"python benchmarks/agentic.py --seeds {seed}"})


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
