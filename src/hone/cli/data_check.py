"""`hone data check`: what is wrong with a data set, and what a policy could learn from it instead of the task."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.markup import escape
from rich.table import Table

from hone.cli.output import emit_json, people
from hone.data.findings import Finding, Level, worst
from hone.data.libero_hdf5 import Hdf5Convention
from hone.data.rlds import RldsConvention
from hone.errors import HoneError

COLOURS: dict[Level, str] = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "dim"}


@dataclass(frozen=True)
class Check:
    """Audit a data set: is it whole, what do its numbers look like, which shortcuts does it offer, how diverse is it?

    Reads a LeRobotDataset v3.0, Hone's episodes, LIBERO's HDF5 and RLDS in TFRecords. Exit code 1 if a check fails.
    """

    dataset: tyro.conf.Positional[Path]
    """Folder (or HDF5 file) of the data set."""
    episodes: int = 400
    """Episodes whose numbers are read, evenly spread over the data set. Its integrity is checked in whole."""
    hdf5: Hdf5Convention = field(default_factory=Hdf5Convention)
    """What an HDF5 file does not say itself."""
    rlds: RldsConvention = field(default_factory=RldsConvention)
    """What an RLDS data set does not say itself."""
    json: bool = False
    """Print findings and numbers as one JSON object on standard output."""


def check(config: Check) -> int:
    from hone.data.check import check as audited
    from hone.data.sources import Conventions

    if config.episodes < 1:
        raise HoneError(f"--episodes is {config.episodes}; read at least one.")
    started = time.monotonic()
    result = audited(config.dataset, config.episodes, Conventions(hdf5=config.hdf5, rlds=config.rlds))
    console = people()
    about = result.numbers
    if "episodes" in about:
        part = "" if about["read"] == about["episodes"] else f" (numbers of {about['read']} of them, evenly spread)"
        console.print(f"{about['kind']}: {about['episodes']} episodes{part}, {len(about['tasks'])} tasks")
    console.print(_table(result.findings))
    tally = _tally(result.findings)
    console.print(
        f"{tally['fail']} failed, {tally['warn']} to look at, {tally['pass']} passed "
        f"({time.monotonic() - started:.0f} s). docs/data.md says what each check means."
    )
    if config.json:
        findings = [finding.to_json() for finding in result.findings]
        outcome = {"dataset": str(config.dataset), "result": worst(result.findings)}
        emit_json({**outcome, "findings": findings, "numbers": result.numbers})
    return 1 if tally["fail"] else 0


def _table(findings: tuple[Finding, ...]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            table.add_row("", f"[bold]{group}[/bold]", "")
        advice = f"\n[dim]→ {escape(finding.advice)}[/dim]" if finding.advice else ""
        colour = COLOURS[finding.level]
        mark = f"[{colour}]{finding.level.upper()}[/{colour}]"
        table.add_row(mark, finding.check, escape(finding.said) + advice)
    return table


def _tally(findings: tuple[Finding, ...]) -> dict[Level, int]:
    return {level: sum(finding.level == level for finding in findings) for level in COLOURS}
