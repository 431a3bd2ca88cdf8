"""From the instruction to the goal without demonstrations: success of planners and movements on official states.

    python benchmarks/language_to_motion.py --policies skills lmp --placements 50

Privileged: the planner and the movements read object poses, so these numbers compare with nothing that sees pixels
only. Tuned on sampled placements. Extended cap of 900 control steps; a success within the suite's own cap is counted
beside it. One row per policy, planner and task in results/language_to_motion.jsonl; it resumes. `--table` prints what
is there, and of libero_90 one per scene.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from hone.envs.libero.suites import step_cap, tasks
from hone.evaluation.run_folder import read_rows
from hone.evaluation.stats import wilson_interval
from rows import RESULTS, append_row, finished

CAP = 900
SUITES = ("libero_object", "libero_spatial", "libero_goal", "libero_10", "libero_90")


@dataclass(frozen=True)
class Config:
    suites: tuple[str, ...] = SUITES
    policies: tuple[str, ...] = ("skills", "lmp")
    planner: str = "grammar"
    placements: int = 50
    """Official initial states per task, from 0."""
    assets: str = "standin"
    workers: int = 1
    table: bool = False
    """Print the table of what is there and measure nothing."""


def main(config: Config) -> None:
    if config.table:
        print_table()
        return
    for suite in config.suites:
        for policy in config.policies:
            for task in tasks(suite):
                keys = {
                    "policy": policy,
                    "planner": config.planner,
                    "suite": suite,
                    "task": task.index,
                    "assets": config.assets,
                    "placements": config.placements,
                }
                if not finished("language_to_motion", **keys):
                    append_row("language_to_motion", {**keys, **measure(config, policy, suite, task.index)})


def measure(config: Config, policy: str, suite: str, index: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        command = [sys.executable, "-m", "hone.cli", "eval", "--policy", policy, "--planning.planner", config.planner]
        command += ["--suite", suite, "--tasks", str(index), "--placements", str(config.placements)]
        command += ["--env.step-cap", str(CAP), "--workers", str(config.workers), "--slots", "4", "--json"]
        command += ["--env.assets", config.assets, "--output", str(output)]
        summary = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        episodes = json.loads(output.read_text())["episode_results"]
    own = step_cap(suite)
    return {
        "episodes": summary["episodes"],
        "successes": summary["successes"],
        "within_own_cap": sum(e["success"] and e["steps"] <= own for e in episodes),
        "held": sum(bool(e["held"]) for e in episodes),
        "steps": [e["steps"] for e in episodes if e["success"]],
        "failed_placements": [e["placement"]["index"] for e in episodes if not e["success"]],
        "refusals": summary["refusals"],
        "refinements": summary["refinements"],
        "interventions": summary["interventions"],
        "faults": summary["faults"],
        "core_seconds": round(summary["cost"]["core_seconds"], 1),
        "protocol_hash": summary["protocol_hash"],
    }


def print_table() -> None:
    groups, scenes = defaultdict(list), defaultdict(list)
    for row in read_rows(RESULTS / "language_to_motion.jsonl"):
        settings = (row["policy"], row["planner"], row["suite"], row["assets"], row["placements"])
        groups[settings].append(row)
        if row["suite"] == "libero_90":
            room, rest = tasks("libero_90")[row["task"]].name.split("SCENE")
            scene = f"{room}SCENE{rest.split('_')[0]}"
            scenes[row["policy"], row["planner"], scene, row["placements"]].append(row)
    print(
        "| policy, planner | suite | tasks x states | within 900 steps | within the suite's cap | held | tried again |"
    )
    print("|---|---|---|---|---|---|---|")
    in_order = sorted(groups.items(), key=lambda item: (item[0][3] != "standin", SUITES.index(item[0][2]), item[0][0]))
    for (policy, planner, suite, assets, placements), rows in in_order:
        again = sum(row["refinements"] for row in rows)
        cells = [f"{policy}, {planner}", f"{suite} ({assets})", f"{len(rows)} x {placements}", *rates(rows), str(again)]
        print(f"| {' | '.join(cells)} |")
    print("\n| policy, planner | scene | tasks x states | within 900 steps | within the suite's cap | held |")
    print("|---|---|---|---|---|---|")
    for (policy, planner, scene, placements), rows in scenes.items():
        print(f"| {' | '.join([f'{policy}, {planner}', scene, f'{len(rows)} x {placements}', *rates(rows)])} |")


def rates(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Success in percent with its 95 % interval: within 900 steps, within the suite's cap, held."""
    episodes = sum(row["episodes"] for row in rows)
    cells = []
    for key in ("successes", "within_own_cap", "held"):
        count = sum(row[key] for row in rows)
        low, high = wilson_interval(count, episodes)
        cells.append(f"{100 * count / episodes:.1f} % [{100 * low:.1f}, {100 * high:.1f}]")
    return cells


if __name__ == "__main__":
    main(tyro.cli(Config))
