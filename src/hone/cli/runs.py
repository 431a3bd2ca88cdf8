"""List, compare and resume runs: `hone runs`, `hone runs compare A B`, `hone runs resume A`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from hone.cli.output import emit_json, people
from hone.errors import HoneError
from hone.evaluation.results import EvaluationResult
from hone.evaluation.run_folder import RunFolder, read_json
from hone.evaluation.run_list import Comparison, RunEntry, compare_runs, find_runs
from hone.evaluation.settings import read_settings
from hone.evaluation.stats import Difference


@dataclass(frozen=True)
class List:
    """Every run below a folder: how far it came, success before and after."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """Where the runs are."""
    json: bool = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True)
class Compare:
    """Two runs: the settings in which they differ, and which ended better on the same placements."""

    first: Annotated[Path, tyro.conf.Positional]
    """Folder of a run."""
    second: Annotated[Path, tyro.conf.Positional]
    """Folder of another."""
    json: bool = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True)
class Resume:
    """Go on with a stopped run of `hone improve` or `hone demo`, with the settings it was started with."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    ray: str | None = None
    """Go on on a Ray cluster (`auto`, HOST:PORT or `local`), whether the run began on one or not. docs/clusters.md."""
    json: bool = False
    """Print the summary as one JSON object on standard output."""


@dataclass(frozen=True)
class Config:
    """Options of `hone runs`."""

    action: Annotated[
        Annotated[List, tyro.conf.subcommand("list")]
        | Annotated[Compare, tyro.conf.subcommand("compare")]
        | Annotated[Resume, tyro.conf.subcommand("resume")],
        tyro.conf.arg(name=""),
    ] = field(default_factory=List)


def run(config: Config) -> int:
    if isinstance(config.action, List):
        return _list(config.action)
    if isinstance(config.action, Compare):
        return _compare(config.action)
    return _resume(config.action)


def resume_hint(config: Config) -> str:
    return "run the same command again"


def _list(config: List) -> int:
    runs = find_runs(config.folder)
    if config.json:
        emit_json({"runs": [entry.to_json() for entry in runs]})
        return 0
    headings = ["run", "suite", "seed", "state", "before", "after", "difference, points", "rollouts", "minutes"]
    rows = [headings, *map(_cells, runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        people().print(line.rstrip(), soft_wrap=True, highlight=False, markup=False)
    return 0


def _cells(entry: RunEntry) -> list[str]:
    minutes = None if entry.minutes is None else f"{entry.minutes:.1f}"
    return [
        entry.name,
        *(_text(value) for value in (entry.suite, entry.seed, entry.state)),
        _rate(entry.before),
        _rate(entry.after),
        _points(entry.difference),
        *(_text(value) for value in (entry.rollouts, minutes)),
    ]


def _compare(config: Compare) -> int:
    comparison = compare_runs(config.first, config.second)
    if config.json:
        emit_json(_as_json(comparison))
        return 0
    console = people()
    for entry in (comparison.first, comparison.second):
        console.print(f"{entry.name}: {entry.state}; {_rate(entry.before)} → {_rate(entry.after)}", highlight=False)
    for name, (ours, theirs) in comparison.settings.items():
        console.print(f"  {name}: {ours} and {theirs}", highlight=False)
    if not comparison.settings:
        console.print("  the settings are the same")
    if comparison.difference is None:
        console.print(f"[yellow]Not comparable: {comparison.incomparable}[/]", highlight=False)
    else:
        console.print(f"second minus first, same placements: {_points(comparison.difference)} points", highlight=False)
    return 0


def _as_json(comparison: Comparison) -> dict[str, Any]:
    difference = comparison.difference
    return {
        "first": comparison.first.to_json(),
        "second": comparison.second.to_json(),
        "settings": {name: list(values) for name, values in comparison.settings.items()},
        "difference": None if difference is None else [difference.mean, difference.low, difference.high],
        "incomparable": comparison.incomparable,
    }


def _resume(config: Resume) -> int:
    import hone.envs.registered.declaration  # noqa: F401  (a run may have been in such an environment)
    from hone.cli.improve import improve_and_report  # imports torch and the simulator; listing needs neither
    from hone.training.improve import ImproveConfig

    path = RunFolder(config.run).config
    if not path.exists():
        raise HoneError(f"there is no run at '{config.run}'. `hone runs` lists what there is.")
    data = read_json(path)
    if not {"suite", "iterations", "groups", "grpo"} <= data.keys() <= {field.name for field in fields(ImproveConfig)}:
        raise HoneError(f"'{config.run}' was not made by `hone improve`; give the command again that made it.")
    settings = read_settings(ImproveConfig, data, str(path))
    if settings.output.resolve() != config.run.resolve():
        raise HoneError(
            f"'{config.run}' was started as '{settings.output}'; go to the folder it was started from, or edit "
            f'"output" in {path} if it was moved.'
        )
    return improve_and_report(settings, config.json, ray=config.ray)


def _rate(result: EvaluationResult | None) -> str:
    if result is None:
        return "-"
    summary = result.summary()
    if not summary["episodes"]:
        return f"{summary['faults']} faults"
    return f"{100 * summary['success_rate']:.1f} % [{100 * summary['low']:.1f}, {100 * summary['high']:.1f}]"


def _points(difference: Difference | None) -> str:
    if difference is None:
        return "-"
    return f"{100 * difference.mean:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
