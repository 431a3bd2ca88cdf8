"""`hone bench engine`: runs hf-libero and Hone's engine in turn, on the same states and actions.

Nothing is drawn. Speeds are medians over the rounds; a ratio is the median over rounds of Hone's speed by hf-libero's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from hone.cli.output import emit_json, people
from hone.cli.progress import TerminalProgress
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.suites import task as find_task
from hone.errors import HoneError


@dataclass(frozen=True)
class Config:
    """How fast the engine steps, beside hf-libero."""

    tasks: tuple[str, ...] = ("libero_object:0", "libero_spatial:0", "libero_goal:0", "libero_10:0")
    """Tasks, as SUITE:NUMBER."""
    assets: str = "standin"
    """Asset pack: `standin`, `original`, or a folder."""
    slots: tuple[int, ...] = (1, 8, 32)
    """Batch sizes."""
    threads: tuple[int, ...] = (1,)
    """Stepping threads."""
    steps: int = 200
    """Random control steps; an expert's episode is as long as it is."""
    rounds: int = 5
    """Turns that each contestant takes."""
    json: bool = False
    """Print one JSON object on standard output."""


def run(config: Config) -> int:
    from hone.envs.libero.benchmark import Contestant, compare, expert_actions, latencies, random_actions

    if min(config.steps, config.rounds, *config.slots, *config.threads) < 1:
        raise HoneError("steps, rounds, slots and threads must each be at least 1.")
    pack = asset_pack(config.assets)
    tasks = [_task(name) for name in config.tasks]
    contestants = [
        Contestant(physics, slots, threads)
        for physics in ("exact", "fast")
        for slots in config.slots
        for threads in config.threads
        if threads <= slots
    ]
    rows, starts = [], []
    with TerminalProgress().stage("measuring", 2 * len(tasks)) as step:
        for task in tasks:
            starts.append({"suite": task.suite, "task": task.index, **latencies(task, pack)})
            rows += compare(task, pack, random_actions(config.steps), "random", contestants, config.rounds)
            step(1)
            actions = expert_actions(task, config.assets)
            if actions is not None:
                rows += compare(task, pack, actions, "expert", contestants, config.rounds)
            step(1)
    console = people()
    console.print(table(rows))
    if config.json:
        emit_json({"rows": rows, "latencies": starts, "rounds": config.rounds, "load": os.getloadavg()[0]})
    return 0


def table(rows: list[dict[str, Any]]) -> Table:
    grid = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("task", "actions", "profile", "slots", "threads", "steps/s", "hf-libero", "ratio", "|Δqpos|"):
        grid.add_column(name, justify="left" if name in ("task", "actions", "profile") else "right", no_wrap=True)
    for row in rows:
        grid.add_row(
            f"{row['suite'].removeprefix('libero_')} {row['task']}",
            *(str(row[name]) for name in ("actions", "profile", "slots", "threads")),
            f"{row['steps_per_second']:.0f}",
            f"{row['reference_steps_per_second']:.0f}",
            f"{row['ratio']:.1f}",
            f"{row['max_abs_qpos_difference']:.0e}",
        )
    return grid


def _task(name: str) -> Any:
    suite, _, index = name.partition(":")
    return find_task(suite, index or "0")
