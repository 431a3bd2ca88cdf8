"""Weights & Biases, offline unless $WANDB_MODE says otherwise: `wandb sync RUN/wandb/offline-run-*` sends it later.

A run that goes on is another piece of the same run (same id); Weights & Biases puts the pieces together by step.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hone.errors import HoneError


class WandbTracker:
    def __init__(self, folder: Path, config: dict[str, Any], resume_after: int | None) -> None:
        try:
            wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise HoneError("wandb is not installed; pip install 'hone-vla[wandb]'.") from error
        self._run = wandb.init(
            project="hone",
            name=folder.name,
            id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            dir=str(folder),
            config=config,
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )
        self._run.define_metric("*", step_metric="iteration")

    def log(self, scalars: Mapping[str, float], iteration: int) -> None:
        # Several calls may belong to one iteration (training and evaluation); a step number must not go back.
        self._run.log({**scalars, "iteration": iteration})

    def close(self) -> None:
        self._run.finish()
