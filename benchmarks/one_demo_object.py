"""The start line: all ten LIBERO-Object tasks, one demonstration each, image policy, plain GRPO, one seed.

Leaves one row in results/one_demo_object.jsonl: success before and after, and the curve against rollouts and
core-minutes. The run itself resumes (runs/benchmark-one-demo-object).

    python benchmarks/one_demo_object.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hone.evaluation.run_folder import RunFolder, read_rows
from rows import append_row, finished

SEED = 0
OUTPUT = Path("runs") / "benchmark-one-demo-object"
COMMAND = ["improve", "--suite", "libero_object", "--demos", "1", "--seed", str(SEED), "--output", str(OUTPUT)]
OPTIONS = ["--clone.steps", "400", "--clone.image-shift", "4", "--groups", "20", "--iterations", "30"]
OPTIONS += ["--evaluate-every", "10", "--curve-placements", "10", "--probe-placements", "10"]


def main() -> None:
    if finished("one_demo_object", seed=SEED):
        return
    command = [sys.executable, "-m", "hone.cli", *COMMAND, *OPTIONS, "--json"]
    summary = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    curve = [
        {
            "rollouts": row["rollouts"],
            "core_minutes": 2 * row["minutes"],
            **{key: row[key] for key in ("success_rate", "low", "high", "successes", "episodes")},
        }
        for row in read_rows(RunFolder(OUTPUT).evaluations)
    ]
    keys = ("before", "after", "paired_difference", "probes", "minutes", "env_steps", "rollouts", "faults")
    append_row(
        "one_demo_object",
        {
            "seed": SEED,
            **{key: summary[key] for key in keys},
            "curve": curve,
            "protocol_hash": summary["after"]["protocol_hash"],
            "command": "hone " + " ".join(COMMAND + OPTIONS),
        },
    )


if __name__ == "__main__":
    main()
