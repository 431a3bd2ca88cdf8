"""Meta-World's MT10 behind Hone's loop: the scripted experts, a clone of them, and what practice adds.

State policy (privileged: object poses and the goal, as Meta-World's own benchmarks have it), no pictures, one core.
Three kinds of row in results/metaworld.jsonl, each resumed where it was stopped:

    expert     Meta-World's scripted policies on sampled placements, all ten tasks, until each has 5 successes
    clone      one policy cloned from these, on 10 official placements (seeds from 1,000,000) of each task
    practice   the first three tasks, two demonstrations each: cloned, then GRPO; one row per seed

    python benchmarks/metaworld.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hone.evaluation.run_folder import RunFolder, read_rows
from rows import append_row, finished

SEEDS = (120, 121, 122)
FOLDER = Path("runs") / "benchmark-metaworld"
ENV = ["--env", "gym:Meta-World/MT10", "--env.images", "--env.no-draws"]
STATE = ["--network.inputs", "state"]
STEP_CAP = ["--env.step-cap", "250"]
PRACTICE = ["--tasks", "0", "1", "2", "--demos", "2", "--clone.steps", "400", "--exploration", "0.1"]
PRACTICE += ["--final-exploration", "0.06", "--groups", "6", "--group-size", "8", "--iterations", "10"]
PRACTICE += ["--train-step-cap", "150", "--workers", "0", "--evaluate-every", "5", "--curve-placements", "5"]
PRACTICE += ["--final-placements", "20", "--probe-placements", "5"]


def hone(*arguments: str) -> dict[str, Any]:
    """What the verb prints under `--json`."""
    command = [sys.executable, "-m", "hone.cli", *arguments, "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def practice(seed: int) -> None:
    if finished("metaworld", kind="practice", seed=seed):
        return
    output = FOLDER / f"practice-{seed}"
    command = ["improve", *ENV, *STATE, *STEP_CAP, *PRACTICE, "--seed", str(seed), "--output", str(output)]
    summary = hone(*command)
    curve = [
        {key: row[key] for key in ("rollouts", "success_rate", "low", "high", "successes", "episodes")}
        for row in read_rows(RunFolder(output).evaluations)
    ]
    keys = ("before", "after", "paired_difference", "probes", "minutes", "env_steps", "rollouts", "faults")
    row = {key: summary[key] for key in keys}
    append_row("metaworld", {"kind": "practice", "seed": seed, **row, "curve": curve, "command": spelled(command)})


def expert_and_clone(seed: int) -> None:
    demos, policy = FOLDER / f"demos-{seed}", FOLDER / f"clone-{seed}"
    asked = ["demos", *ENV, "--per-task", "5", "--manner.noise", "0.2", "--seed", str(seed), "--output", str(demos)]
    if not finished("metaworld", kind="expert", seed=seed):
        append_row("metaworld", {"kind": "expert", "seed": seed, **hone(*asked), "command": spelled(asked)})
    if finished("metaworld", kind="clone", seed=seed):
        return
    if not policy.exists():
        hone("clone", "--demos", str(demos), *STATE, "--seed", str(seed), "--output", str(policy))
    command = ["eval", *ENV, *STEP_CAP, "--policy", str(policy), "--placements", "10", "--workers", "0"]
    append_row("metaworld", {"kind": "clone", "seed": seed, **hone(*command), "command": spelled(command)})


def spelled(command: list[str]) -> str:
    return "hone " + " ".join(command)


def main() -> None:
    practice(SEEDS[0])
    expert_and_clone(SEEDS[0])
    for seed in SEEDS[1:]:
        practice(seed)


if __name__ == "__main__":
    main()
