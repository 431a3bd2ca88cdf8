"""What each part of the agentic loop adds to plain GRPO, from the same start and with as many rollouts.

The matrix and the seeds are named here beforehand; settings were chosen on other seeds (100 and up). Every row of the
table, arm and seed leaves a line in results/agentic.jsonl; what has one is skipped, and a run that was stopped goes on.

    python benchmarks/agentic.py
    python benchmarks/agentic.py --rows one_shot --seeds 70
    python benchmarks/agentic.py --table
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from hone.cli.progress import TerminalProgress
from hone.evaluation.run_folder import read_rows
from hone.training.ladder import ROWS, run_arm
from rows import RESULTS, append_row, finished

SEEDS = (73, 74, 75)
"""Rows of 70 and 71 are of commit 07de160; what failed there was looked at, and the hinter mended after it."""
MATRIX: dict[str, tuple[str, ...]] = {
    "no_demonstrations": ("cloned", "guided", "hints_alone", "random_hints", "grpo_binary", "credit"),
    "one_shot": ("cloned", "grpo_binary", "agentic", "guided", "hints_alone", "credit", "adaptive"),
    "one_shot_images": ("cloned", "agentic", "grpo_binary"),
    "long": ("cloned", "grpo_binary", "agentic", "hints_alone"),
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
    table: bool = False
    """Print the table of what is there of these seeds, draw `docs/agentic.svg`, and run nothing."""


def main(config: Config) -> None:
    if config.table:
        lines = [line for line in read_rows(RESULTS / "agentic.jsonl") if line["seed"] in config.seeds]
        print_table(lines)
        draw(lines, RESULTS.parent.parent / "docs" / "agentic.svg")
        return
    for seed in config.seeds:
        for name in config.rows:
            for arm in config.arms or MATRIX[name]:
                if not finished("agentic", row=name, arm=arm, seed=seed):
                    line = run_arm(ROWS[name], arm, seed, config.output / name, TerminalProgress())
                    append_row("agentic", {**line, "command": f"python benchmarks/agentic.py --seeds {seed}"})


def print_table(lines: Sequence[Mapping[str, Any]]) -> None:
    """One line per row and arm, its seeds side by side; a seed that never reached a rate has a dash."""
    print("| row | arm | seeds | success, % | worst task, % | rollouts | rollouts to 80 % |")
    print("|---|---|---|---|---|---|---|")
    for name in MATRIX:
        found = [line for line in lines if line["row"] == name]
        for arm in dict.fromkeys([*MATRIX[name], *(line["arm"] for line in found)]):
            of_arm = sorted((line for line in found if line["arm"] == arm), key=lambda line: line["seed"])
            if not of_arm:
                continue
            cells = [
                [str(line["seed"]) for line in of_arm],
                [f"{line['success_rate']:.1%} [{line['low']:.1%}, {line['high']:.1%}]" for line in of_arm],
                [f"{line['worst_task']:.0%}" for line in of_arm],
                [f"{line['rollouts']:,}" for line in of_arm],
                [str(line["rollouts_until"]["80"] or "-") for line in of_arm],
            ]
            print(f"| {name} | {arm} | " + " | ".join(", ".join(cell).replace("%", "") for cell in cells) + " |")


def draw(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Success on validation placements against rollouts: a panel per row, a colour per arm, a line per seed."""
    from matplotlib import pyplot

    pyplot.rcParams.update(
        {"svg.hashsalt": "hone", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    named = [arm for arms in MATRIX.values() for arm in arms]
    arms = list(dict.fromkeys([*named, *(line["arm"] for line in lines)]))
    rows = [name for name in MATRIX if any(line["row"] == name and "curve" in line for line in lines)]
    figure, panels = pyplot.subplots(1, len(rows), figsize=(3.6 * len(rows), 3.2), sharey=True)
    for panel, name in zip(panels, rows, strict=True):
        drawn = [line for line in lines if line["row"] == name and "curve" in line]
        for arm in dict.fromkeys(line["arm"] for line in drawn):
            for line in (line for line in drawn if line["arm"] == arm):
                rollouts, success = zip(*line["curve"], strict=True)
                label = arm if line["seed"] == min(other["seed"] for other in drawn if other["arm"] == arm) else None
                colour, rates = f"C{arms.index(arm) % 10}", [100 * rate for rate in success]
                panel.plot(rollouts, rates, color=colour, marker="o", markersize=3, label=label)
        panel.set(title=name.replace("_", " "), xlabel="rollouts", ylim=(-2, 102))
        panel.set_xlim(left=0)
        panel.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.02))
    panels[0].set_ylabel("success without hints, %")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
