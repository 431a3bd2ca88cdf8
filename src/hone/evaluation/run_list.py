"""The runs below a folder: what each has come to, and how several compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hone.errors import HoneError
from hone.evaluation.results import EvaluationResult, paired_difference
from hone.evaluation.run_folder import RunFolder, read_json, read_rows
from hone.evaluation.stats import Difference
from hone.policies.pretrained import WEIGHTS_NAME

DEPTH = 3
"""How far below the folder runs are looked for: benchmarks keep theirs in folders of their own."""


@dataclass(frozen=True)
class RunEntry:
    """One line of the list. `None` where the run has not come so far, or does not say."""

    name: str
    path: Path
    suite: str | None
    seed: int | None
    state: str
    """"finished", "stopped after update 12 of 30", or "started"."""
    before: EvaluationResult | None
    after: EvaluationResult | None
    minutes: float | None
    rollouts: int | None

    @property
    def difference(self) -> Difference | None:
        if self.before is None or self.after is None:
            return None
        return paired_difference(self.before, self.after)

    def to_json(self) -> dict[str, Any]:
        difference = self.difference
        return {
            "name": self.name,
            "path": str(self.path),
            "suite": self.suite,
            "seed": self.seed,
            "state": self.state,
            "before": None if self.before is None else _tally(self.before),
            "after": None if self.after is None else _tally(self.after),
            "difference": None if difference is None else [difference.mean, difference.low, difference.high],
            "minutes": self.minutes,
            "rollouts": self.rollouts,
        }


def find_runs(folder: Path) -> list[RunEntry]:
    """Every run at or below `folder`, by name. Raises `HoneError` if there is none."""
    if not folder.is_dir():
        raise HoneError(f"there is no folder '{folder}'; runs are in 'runs' unless --output said otherwise.")
    paths = {config.parent for depth in range(DEPTH + 1) for config in folder.glob("*/" * depth + "config.json")}
    runs = sorted(path for path in paths if not (path / WEIGHTS_NAME).exists())  # a policy has a config.json too
    if not runs:
        raise HoneError(f"there is no run in '{folder}' (a run has a config.json); `hone improve` makes one.")
    return [run_entry(path, "" if path == folder else path.relative_to(folder).as_posix()) for path in runs]


def run_entry(path: Path, name: str = "") -> RunEntry:
    """The run in `path`, whatever part of it is there."""
    run = RunFolder(path)
    if not run.config.exists():
        raise HoneError(f"'{path}' is not a run: it has no config.json. `hone runs list {path.parent}` shows what is.")
    config = read_json(run.config)
    metrics = read_rows(run.metrics)
    done = metrics[-1]["iteration"] if metrics else 0
    if run.summary.exists():
        state = "finished"
    elif done:
        state = f"stopped after update {done} of {config.get('iterations', '?')}"
    else:
        state = "started"
    return RunEntry(
        name=name or path.resolve().name,
        path=path,
        suite=config.get("suite"),
        seed=config.get("seed"),
        state=state,
        before=_evaluation(run.evaluation_before),
        after=_evaluation(run.evaluation_after),
        minutes=read_json(run.clock)["minutes"] if run.clock.exists() else None,
        rollouts=metrics[-1].get("rollouts") if metrics else None,
    )


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side. `settings`: name to the value in each, where they differ.

    `difference`: success after the second run minus after the first, on the same placements; `None` with the reason in
    `incomparable` where that cannot be said.
    """

    first: RunEntry
    second: RunEntry
    settings: dict[str, tuple[Any, Any]]
    difference: Difference | None
    incomparable: str


def compare_runs(first: Path, second: Path) -> Comparison:
    """What two runs did differently, and which ended better."""
    a, b = run_entry(first), run_entry(second)
    ours, theirs = _flat(read_json(RunFolder(first).config)), _flat(read_json(RunFolder(second).config))
    differing = {
        key: (ours.get(key), theirs.get(key))
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key) and key != "output"
    }
    difference, why = None, ""
    for run in (a, b):
        if run.after is None:
            why = f"'{run.name}' has no evaluation after practice ({run.state})."
    if a.after is not None and b.after is not None:
        try:
            difference = paired_difference(_without_noise(a.after), _without_noise(b.after))
        except HoneError as error:
            why = str(error)
    return Comparison(a, b, differing, difference, why)


def _without_noise(result: EvaluationResult) -> EvaluationResult:
    """A greedy evaluation draws nothing, so its seed tells no two of them apart."""
    if result.protocol.decoding != "greedy":
        return result
    episodes = tuple(replace(episode, seed=0) for episode in result.episodes)
    return replace(result, episodes=episodes, protocol=replace(result.protocol, seeds=(0,)))


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"grpo": {"epochs": 4}} as {"grpo.epochs": 4}, as the options are called."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _evaluation(path: Path) -> EvaluationResult | None:
    return EvaluationResult.load(path) if path.exists() else None


def _tally(result: EvaluationResult) -> dict[str, Any]:
    summary = result.summary()
    return {key: summary[key] for key in ("success_rate", "successes", "episodes", "low", "high", "faults")}
