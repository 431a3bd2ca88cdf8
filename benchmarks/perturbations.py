"""How a policy stands perturbations: each kind alone, paired with none.

    python benchmarks/perturbations.py --policy runs/demo/checkpoints/latest/policy --tasks 0 1 2
    python benchmarks/perturbations.py --policy skills --suite libero_goal --placement-kind sampled \\
        --kinds objects arm instruction --levels 3 --step-cap 900

One row per kind and level in results/perturbations.jsonl; it resumes. Of a policy that plans, a row also says why it
failed, once per failed episode: the reason of the refusal, or the sub-goals that it missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from hone.envs.libero.perturb import KINDS
from rows import append_row, finished


@dataclass(frozen=True)
class Config:
    policy: str
    name: str = ""
    """What the policy is called in the rows; by default as given."""
    suite: str = "libero_object"
    tasks: tuple[int, ...] = ()
    """All of the suite if none is given."""
    placements: int = 10
    placement_kind: Literal["official", "sampled"] = "official"
    kinds: tuple[str, ...] = tuple(KINDS)
    levels: tuple[int, ...] = (1, 3)
    step_cap: int | None = None
    workers: int = 2


def main(config: Config) -> None:
    asked = ["none", *(f"{kind}:{level}" for kind in config.kinds for level in config.levels)]
    for perturbation in asked:
        keys: dict[str, Any] = {
            "policy": config.name or config.policy,
            "suite": config.suite,
            "perturbation": perturbation,
            "placements": config.placements,
            "placement_kind": config.placement_kind,
        }
        if not finished("perturbations", **keys):
            append_row("perturbations", {**keys, **measure(config, perturbation)})


def measure(config: Config, perturbation: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        command = [sys.executable, "-m", "hone.cli", "eval", "--policy", config.policy, "--suite", config.suite]
        command += ["--placements", str(config.placements), "--placement-kind", config.placement_kind]
        command += ["--workers", str(config.workers), "--output", str(output), "--json"]
        command += ["--tasks", *map(str, config.tasks)] if config.tasks else []
        command += ["--env.step-cap", str(config.step_cap)] if config.step_cap else []
        command += ["--env.perturb", perturbation] if perturbation != "none" else []
        result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        episodes = json.loads(output.read_text())["episode_results"]
    kept = ("success_rate", "successes", "episodes", "low", "high", "held_rate", "faults", "protocol_hash")
    failed = [episode for episode in episodes if episode["status"] != "error" and not episode["success"]]
    causes = Counter(cause(episode) for episode in failed if episode["report"] is not None)
    return {**{key: result[key] for key in kept}, "refinements": result.get("refinements"), "causes": dict(causes)}


def cause(episode: dict[str, Any]) -> str:
    report = episode["report"]
    if report["refusal"] is not None:
        return f"refused: {report['refusal']['reason']}: {report['refusal']['message']}"
    return f"{episode['task']}: missed {', '.join(report['missed']) or 'nothing by its own count'}"


if __name__ == "__main__":
    main(tyro.cli(Config))
