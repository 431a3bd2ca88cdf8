"""Turn the folder of a run into one HTML page that needs nothing else: no network, no scripts, no other files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hone.cli.output import emit_json, people
from hone.evaluation.report import write_report


@dataclass(frozen=True)
class Config:
    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run, such as runs/demo, or the file that `hone eval --output` wrote."""
    output: Path | None = None
    """Where to write the page; report.html in the run's folder by default."""
    json: bool = False
    """Print {"report": path} on standard output."""


def run(config: Config) -> int:
    path = write_report(config.run, config.output)
    if config.json:
        emit_json({"report": str(path)})
    else:
        people().print(f"Wrote {path}", soft_wrap=True, highlight=False)
    return 0
