"""Record demonstrations: a scripted expert acts, from sampled placements, seen by the policy's cameras.

LIBERO's expert reads object poses from the simulator; `--env gym:ID` records in a gymnasium environment, by the expert
that its declaration names. A run that was stopped goes on when the same command is given again.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hone.cli.output import emit_json, people
from hone.cli.progress import TerminalProgress
from hone.data.demonstrations import demonstrate, requests
from hone.data.demonstrators import Demonstrator, demonstrator_for
from hone.data.episodes import EpisodeHeader, EpisodeWriter, read_headers
from hone.envs.base import EnvironmentConfig
from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError
from hone.primitives.expert import Manner


@dataclass(frozen=True)
class Config:
    """Options of `hone demos`."""

    suite: str = "libero_object"
    """Benchmark suite. The expert picks and places: it cannot do tasks with drawers, doors or knobs."""
    tasks: tuple[int, ...] = ()
    """Task numbers within the suite; all of them if none is given."""
    per_task: int = 3
    """Successful demonstrations of each task."""
    output: Path = Path("runs/demos")
    """Folder the episodes are written to."""
    seed: int = 0
    """Seed of the placements, the noise and the rests."""
    manner: Manner = field(default_factory=Manner)
    """How the demonstrations are given."""
    slots: int = 4
    """Demonstrations recorded side by side."""
    env: EnvironmentConfig = field(default_factory=lambda: LiberoConfig().for_demonstrations())
    """The environment. LIBERO goes on after success, so that a demonstration ends with letting go."""
    json: bool = False
    """Print a summary as one JSON object on standard output."""


def resume_hint(config: Config) -> str:
    return f"run the same command again: the episodes in {config.output} are kept"


def within(environment: EnvironmentConfig) -> Config:
    return Config(suite=environment.suite, env=environment.for_demonstrations())


def run(config: Config) -> int:
    if config.slots < 1:
        raise HoneError(f"slots is {config.slots}; use at least one.")
    started = time.monotonic()
    chosen = config.env.tasks(config.suite, config.tasks)
    demonstrator = demonstrator_for(config.env, config.manner)
    progress = TerminalProgress()
    with progress.stage("preparing scenes (once)", len(chosen)) as step:
        for task in chosen:
            config.env.prepare([task])
            step(1)
    writer = EpisodeWriter(config.output, config.env.spec, provenance(config, demonstrator))
    wanted = requests(chosen, config.per_task, read_headers(config.output))
    env = config.env.build(config.slots)
    total = config.per_task * len(chosen)
    try:
        with progress.stage("demonstrating", total, done=total - len(wanted)) as step:
            recorded = demonstrate(env, wanted, seed=config.seed, manner=config.manner, demonstrator=demonstrator)
            for episode in recorded:
                writer.write(episode)
                step(1 if episode.status == "success" else 0, f"{episode.status} in {len(episode)} steps")
    finally:
        env.close()
    headers = read_headers(config.output)
    result = {**summary(headers), "seconds": round(time.monotonic() - started, 1)}
    console = people()
    for name, tally in result["per_task"].items():
        console.print(f"  {tally['successes']:>3}/{tally['episodes']:<3} {tally['mean_steps']:>6.1f} steps  {name}")
    console.print(f"{result['successes']} demonstrations in {config.output} ({result['seconds']:.0f} s)")
    if config.json:
        emit_json({**result, "output": str(config.output)})
    succeeded = {(h.task, h.metadata["number"]) for h in headers if h.status == "success"}
    return 0 if all((task, number) in succeeded for task in chosen for number in range(config.per_task)) else 1


def provenance(config: Config, demonstrator: Demonstrator) -> dict[str, Any]:
    """How the episodes were made; a folder is continued only by the same."""
    same_everywhere = ("num_threads", "cores", "engine", "assets")
    return {
        "expert": demonstrator.version,
        "privilege": demonstrator.privilege,
        "placements": "sampled",
        "seed": config.seed,
        **asdict(config.manner),
        "asset_pack": config.env.asset_label,
        **{name: value for name, value in asdict(config.env).items() if name not in same_everywhere},
    }


def summary(headers: list[EpisodeHeader]) -> dict[str, Any]:
    """Episodes and successes, together and per task; steps are those of the successes."""
    per_task = {}
    for name in sorted({header.task.name for header in headers}):
        per_task[name] = _tally([header for header in headers if header.task.name == name])
    return {**_tally(headers), "per_task": per_task}


def _tally(headers: list[EpisodeHeader]) -> dict[str, Any]:
    steps = [header.steps for header in headers if header.status == "success"]
    mean = sum(steps) / len(steps) if steps else 0.0
    return {"episodes": len(headers), "successes": len(steps), "mean_steps": round(mean, 1)}
