"""A simulation that diverged, written down so that it can be run again: its start, and every action since."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from hone.cache import cache_dir, write_atomically
from hone.envs.libero.suites import task as find_task
from hone.types import Placement, Task


@dataclass(frozen=True)
class Incident:
    """`actions` were given in turn from `placement` on; the last of them is where the simulation diverged.

    `config` holds the fields of the `LiberoConfig` it was run with.
    """

    task: Task
    placement: Placement
    actions: Float32[np.ndarray, "T 7"]
    config: Mapping[str, Any]

    def save(self) -> Path:
        """Write it into the cache folder; the same incident is one file."""
        start = {"suite": self.task.suite, "task": self.task.index, "placement": [*vars(self.placement).values()]}
        description = json.dumps({**start, "config": dict(self.config)}, sort_keys=True)
        content = io.BytesIO()
        np.savez(content, description=np.array(description), actions=self.actions)
        digest = hashlib.sha256(description.encode() + self.actions.tobytes()).hexdigest()[:12]
        path = cache_dir() / "incidents" / f"{self.task.suite}-{self.task.index}-{digest}.npz"
        write_atomically(path, content.getvalue())
        return path

    @classmethod
    def load(cls, path: Path) -> Incident:
        with np.load(path, allow_pickle=False) as file:
            description, actions = json.loads(str(file["description"])), file["actions"]
        kind, index = description["placement"]
        task = find_task(description["suite"], description["task"])
        # JSON has no tuples
        config = {k: tuple(v) if isinstance(v, list) else v for k, v in description["config"].items()}
        return cls(task, Placement(kind, index), actions, config)
