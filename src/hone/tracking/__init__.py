"""Where the curves of a run are drawn: TensorBoard always, others when asked for. None needs a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hone.errors import unknown_name
from hone.tracking.base import OpensTracker, Tracker
from hone.tracking.tensorboard import TensorBoardTracker
from hone.tracking.trackio import TrackioTracker
from hone.tracking.wandb import WandbTracker

TRACKERS: dict[str, OpensTracker] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
    "trackio": TrackioTracker,
}


def open_trackers(
    names: Sequence[str], folder: Path, config: Mapping[str, Any], resume_after: int | None
) -> list[Tracker]:
    """One tracker per name; all of them or none."""
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
    opened: list[Tracker] = []
    try:
        for name in dict.fromkeys(names):
            opened.append(TRACKERS[name](folder, dict(config), resume_after))
    except Exception:
        for tracker in opened:
            tracker.close()
        raise
    return opened
