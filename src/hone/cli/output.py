"""Where a verb prints: people read standard error, programs read standard output."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console


def people() -> Console:
    """A console on standard error, so that standard output stays one JSON object under `--json`."""
    return Console(stderr=True)


def emit_json(data: Any) -> None:
    """Print `data` as one JSON object on standard output."""
    print(json.dumps(data, indent=2, allow_nan=False))
