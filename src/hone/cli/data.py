"""Exchange demonstrations with LeRobot: `hone data export` writes a LeRobotDataset v3.0, `hone data import` reads one.

Needs pyarrow: `pip install 'hone-vla[data]'`. docs/data.md says what the columns mean.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from hone.cli.data_check import Check, check
from hone.cli.demos import summary
from hone.cli.output import emit_json, people
from hone.cli.progress import TerminalProgress
from hone.data.episodes import read_headers
from hone.data.lerobot_format import Convention


@dataclass(frozen=True)
class Export:
    """Write recorded episodes, failures included and marked, as a LeRobotDataset v3.0."""

    demos: Path
    """Folder of episodes, as `hone demos` writes it."""
    output: Path
    """Folder of the new data set."""
    json: bool = False
    """Print a summary as one JSON object on standard output."""


@dataclass(frozen=True)
class Import:
    """Make Hone episodes of a LeRobotDataset v3.0 of LIBERO, so that `hone clone` can learn from them."""

    dataset: Path
    """Folder of the data set: the one with meta/, data/ and videos/ in it."""
    output: Path
    """Folder the episodes are written to."""
    image_size: int = 84
    """Pixels on a side that pictures are resized to; 84 is what the built-in policy reads."""
    convention: Convention = field(default_factory=Convention)
    """What the numbers of the data set mean."""
    json: bool = False
    """Print a summary as one JSON object on standard output."""


@dataclass(frozen=True)
class Config:
    """Options of `hone data`."""

    action: Annotated[
        Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[Import, tyro.conf.subcommand("import")]
        | Annotated[Check, tyro.conf.subcommand("check")],
        tyro.conf.arg(name=""),
    ]


def run(config: Config) -> int:
    if isinstance(config.action, Check):
        return check(config.action)
    return _export(config.action) if isinstance(config.action, Export) else _import(config.action)


def _export(config: Export) -> int:
    from hone.data.lerobot_writer import export_lerobot

    started = time.monotonic()
    total = len(read_headers(config.demos))
    with TerminalProgress().stage("exporting", total) as step:
        written = export_lerobot(config.demos, config.output, on_episode=lambda _: step(1))
    people().print(
        f"{written['episodes']} episodes ({written['successes']} successes, {written['frames']} frames, "
        f"{written['megabytes']} MiB) in {config.output} ({time.monotonic() - started:.0f} s)"
    )
    if config.json:
        emit_json({**written, "output": str(config.output)})
    return 0


def _import(config: Import) -> int:
    from hone.data.lerobot_reader import LerobotReader
    from hone.data.sources import import_episodes

    started = time.monotonic()
    reader = LerobotReader(config.dataset, config.convention, config.image_size)
    with TerminalProgress().stage("importing", len(reader)) as step:
        import_episodes(reader, config.output, on_episode=lambda _: step(1))
    result = summary(read_headers(config.output))
    people().print(
        f"{result['episodes']} episodes ({result['successes']} successes) in {config.output} "
        f"({time.monotonic() - started:.0f} s)"
    )
    if config.json:
        emit_json({**result, "output": str(config.output)})
    return 0
