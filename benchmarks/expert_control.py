"""The control for the expert: what cloning alone reaches when the expert demonstrates far more, and without resting.

The demo improves a clone of nine demonstrations by practice, without asking the expert again. This clones from 300
undisturbed demonstrations of the same three tasks (about 35,000 control steps; the demo's practice takes some 200,000)
and evaluates on the same 150 official episodes. One row per seed in results/expert_control.jsonl; it resumes.

    python benchmarks/expert_control.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from hone.data.episodes import read_headers
from rows import append_row, finished

SEEDS = (50, 51, 52)
TASKS = ("0", "1", "2")
PER_TASK = 100
CLONE_STEPS = 600


def hone(*arguments: str) -> str:
    command = [sys.executable, "-m", "hone.cli", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    for seed in SEEDS:
        if finished("expert_control", seed=seed):
            continue
        started = time.monotonic()
        folder = Path("runs") / "benchmark-expert-control" / f"seed-{seed}"
        demos, policy = str(folder / "demos"), str(folder / "policy")
        common = ("--seed", str(seed))
        hone("demos", "--tasks", *TASKS, "--per-task", str(PER_TASK), "--slots", "24", "--output", demos, *common)
        training = ("--training.steps", str(CLONE_STEPS), "--training.image-shift", "4")
        hone("clone", "--demos", demos, "--output", policy, *training, *common)
        result = json.loads(hone("eval", "--policy", policy, "--tasks", *TASKS, "--json"))
        append_row(
            "expert_control",
            {
                "seed": seed,
                "demonstrations": len(TASKS) * PER_TASK,
                "env_steps": sum(header.steps for header in read_headers(Path(demos))),
                "clone_steps": CLONE_STEPS,
                **{key: result[key] for key in ("success_rate", "successes", "episodes", "low", "high", "faults")},
                "wall_minutes": (time.monotonic() - started) / 60,
                "protocol_hash": result["protocol_hash"],
            },
        )


if __name__ == "__main__":
    main()
