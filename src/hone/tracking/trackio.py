"""Trackio: a local database under $TRACKIO_DIR (by default the run's own folder); `trackio show` draws it.

A run that goes on is continued under the same name. Trackio prints to standard output, which belongs to `--json`, so
what it prints goes to standard error.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from hone.errors import HoneError


class TrackioTracker:
    def __init__(self, folder: Path, config: dict[str, Any], resume_after: int | None) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(folder.resolve() / "trackio"))  # read once, when it is imported
        with redirect_stdout(sys.stderr):
            try:
                trackio = importlib.import_module("trackio")
            except ImportError as error:
                raise HoneError("trackio is not installed; pip install 'hone-vla[trackio]'.") from error
            self._run = trackio.init(
                project="hone",
                name=folder.name,
                config=config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, scalars: Mapping[str, float], iteration: int) -> None:
        with redirect_stdout(sys.stderr):
            self._run.log(dict(scalars), step=iteration)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self._run.finish()
