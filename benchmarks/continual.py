"""Task after task: LIBERO's forward transfer, backward transfer and area under the curve, with and without memory.

Each arm practises the same tasks in the same order from one policy, cloned from one demonstration of each of them, with
as many rollouts. One line per arm and seed in results/continual.jsonl; what has one is skipped, and a run that was
stopped goes on. The seeds are named here beforehand; rates are on validation placements (see hone.training.continual).

    python benchmarks/continual.py
    python benchmarks/continual.py --seeds 80 --arms memory sequential
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from hone.cli.progress import TerminalProgress
from hone.training.continual import ARMS, learn_in_turn
from hone.training.improve import starting_policy
from hone.training.ladder import ARMS as LEARNERS
from hone.training.ladder import ROWS
from rows import append_row, finished

SEEDS = (80, 81, 82)


@dataclass(frozen=True)
class Config:
    arms: tuple[str, ...] = tuple(ARMS)
    """What a task starts from."""
    seeds: tuple[int, ...] = SEEDS
    """Seeds, in this order: every arm of one before the next."""
    tasks: tuple[int, ...] = (0, 1, 2, 3, 5)
    """Tasks of libero_spatial, in this order."""
    learner: str = "credit"
    """Arm of the ladder that each task is practised by."""
    groups: int = 6
    """Groups per update."""
    iterations: int = 6
    """Updates per task."""
    output: Path = Path("runs") / "benchmark-continual"
    """Folder of the runs."""


def main(config: Config) -> None:
    row = ROWS["one_shot"]
    budget = {"groups": config.groups, "iterations": config.iterations}
    for seed in config.seeds:
        keys = {"seed": seed, "suite": row.suite, "numbers": list(config.tasks), "learner": config.learner, **budget}
        start = config.output / f"start-{seed}-{'-'.join(map(str, config.tasks))}"
        practice = replace(row.practice, suite=row.suite, tasks=config.tasks, seed=seed)
        starting_policy(practice, start, practice.chosen_tasks, TerminalProgress())
        practice = replace(
            practice,
            policy=start,
            evaluate_every=1,
            final_placements=10,
            probe_placements=1,
            **budget,
            **LEARNERS[config.learner],
        )
        for arm in config.arms:
            if not finished("continual", arm=arm, **keys):
                folder = config.output / f"{start.name}-{arm}-{config.learner}"
                line = learn_in_turn(practice, arm, folder, TerminalProgress())
                command = f"python benchmarks/continual.py --seeds {seed} --arms {arm}"
                append_row("continual", {**keys, **line, "command": command})


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
