"""TensorBoard: `tensorboard --logdir runs`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorBoardTracker:
    def __init__(self, folder: Path, config: dict[str, Any], resume_after: int | None) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter  # slow to import

        purge_step = None if resume_after is None else resume_after + 1
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge_step)

    def log(self, scalars: Mapping[str, float], iteration: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, iteration)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
