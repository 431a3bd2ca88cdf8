"""How a policy stands perturbations: success on official states, each kind alone at one level, paired with none.

    python benchmarks/perturbations.py --policy runs/demo/checkpoints/latest/policy --tasks 0 1 2

One row per kind in results/perturbations.jsonl; it resumes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import tyro

from hone.envs.libero.perturb import KINDS
from rows import append_row, finished


@dataclass(frozen=True)
class Config:
    policy: str
    name: str = "demo"
    """What the policy is called in the rows."""
    suite: str = "libero_object"
    tasks: tuple[int, ...] = (0, 1, 2)
    placements: int = 10
    levels: tuple[int, ...] = (1, 3)


def main(config: Config) -> None:
    asked = ["none", *(f"{kind}:{level}" for kind in KINDS for level in config.levels)]
    for perturbation in asked:
        keys = {"policy": config.name, "perturbation": perturbation, "placements": config.placements}
        if finished("perturbations", **keys):
            continue
        command = [sys.executable, "-m", "hone.cli", "eval", "--policy", config.policy, "--suite", config.suite]
        command += ["--tasks", *map(str, config.tasks), "--placements", str(config.placements), "--json"]
        if perturbation != "none":
            command += ["--env.perturb", perturbation]
        result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        kept = ("success_rate", "successes", "episodes", "low", "high", "faults", "protocol_hash")
        append_row("perturbations", {**keys, **{key: result[key] for key in kept}})


if __name__ == "__main__":
    main(tyro.cli(Config))
