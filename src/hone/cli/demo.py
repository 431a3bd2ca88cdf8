"""The demo: three LIBERO-Object tasks, three demonstrations each, better within minutes on two CPU cores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hone.cli.improve import improve_and_report
from hone.primitives.expert import Manner
from hone.training.behavior_cloning import BehaviorCloningConfig
from hone.training.improve import ImproveConfig


@dataclass(frozen=True)
class Config:
    """Options of `hone demo`. Everything else is the recipe in `demo_recipe`."""

    output: Path = Path("runs/demo")
    """Folder of the run. A demo that was stopped goes on when the same command is given again."""
    seed: int = 0
    """Seeds everything."""
    json: bool = False
    """Print the summary as one JSON object on standard output."""


def demo_recipe(output: Path, seed: int) -> ImproveConfig:
    """The settings of the demo: the first three tasks, demonstrated three times each with rests, as people do.

    A policy without memory cannot know how long it has rested, so its clone often rests for ever, and practice cures it
    of that. Demonstrations without rests leave little to improve: cloning alone then has 94 % (LOG.md).
    """
    return ImproveConfig(
        output=output,
        suite="libero_object",
        tasks=(0, 1, 2),
        demos=3,
        manner=Manner(longest_rest=19),
        seed=seed,
        clone=BehaviorCloningConfig(steps=300, image_shift=4),
        groups=12,
        iterations=28,
        evaluate_every=4,
    )


def run(config: Config) -> int:
    return improve_and_report(demo_recipe(config.output, config.seed), config.json)


def resume_hint(config: Any) -> str:
    return f"the same command goes on where it stopped ({config.output})"
