"""The engine's claims: `hone bench engine` on four tasks, both profiles, batches of 1, 8 and 32; then two threads.

Leaves one row per task, profile, actions and batch in results/engine.jsonl, and one of latencies per task.

    python benchmarks/engine.py [--assets original]
"""

from __future__ import annotations

import json
import subprocess
import sys

from rows import append_row

RUNS = (
    ("--steps", "100"),
    ("--steps", "100", "--tasks", "libero_object:0", "--slots", "32", "--threads", "1", "2"),
)


def main() -> None:
    for options in RUNS:
        measure(*options, *sys.argv[1:])


def measure(*options: str) -> None:
    command = [sys.executable, "-m", "hone.cli", "bench", "engine", "--json", *options]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    for row in result["rows"]:
        append_row("engine", {**row, "rounds": result["rounds"], "load": round(result["load"], 1)})
    for row in result["latencies"]:
        append_row("engine", {**row, "kind": "latencies", "load": round(result["load"], 1)})


if __name__ == "__main__":
    main()
