"""The seam between a run and what draws its curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Tracker(Protocol):
    """Takes the scalars of a run. Everything it writes stays in the run's folder unless its user's own settings (an API
    key in the environment, say) send it elsewhere."""

    def log(self, scalars: Mapping[str, float], iteration: int) -> None:
        """`scalars` by "group/name", of one training iteration or one evaluation."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class OpensTracker(Protocol):
    """Opens a tracker for a run; after `resume_after`, what came later is to be forgotten where that is possible."""

    def __call__(self, folder: Path, config: dict[str, Any], resume_after: int | None) -> Tracker: ...
