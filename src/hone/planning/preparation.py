"""What a search needs beforehand, from one lot of the policy's own episodes: a value, and a library of chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hone.data.demonstrations import PLACEMENTS
from hone.errors import HoneError
from hone.planning.macros import fit_library
from hone.planning.value import ValueConfig, experience, fit_value
from hone.seeding import derive_seed, numpy_generator, torch_generator
from hone.training.rollout import EpisodeRequest, Trajectory
from hone.types import Placement, Task

LIBRARY = "library.npz"
VALUES = "values.npy"
"""What the value says of every state it was trained or tested on: a control draws from these."""
CHUNK_VALUE = "chunk"
"""Folder of the value of chunks, within that of the value of states."""
MOST_CHUNKS = 3000
"""Of which medoids are sought: their distances are held in memory all at once."""


@dataclass(frozen=True)
class PreparationConfig:
    """Episodes to learn from, and what is kept of them."""

    episodes: int = 24
    """Per task, each from an initial state of its own."""
    noise: float = 0.05
    """Exploration scale at which the policy acts in them."""
    library: int = 64
    """Macro-actions kept."""
    seed: int = 0
    """Seed of placements, noise, weights and split."""

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.library < 1 or not self.noise > 0:
            raise HoneError(
                f"episodes {self.episodes} and library {self.library} must be at least 1, noise {self.noise} positive."
            )


def practice_requests(tasks: Sequence[Task], config: PreparationConfig) -> list[EpisodeRequest]:
    """Sampled placements of the range that training draws from."""
    asked = []
    for task in tasks:
        generator = numpy_generator(config.seed, "value placements", task.suite, task.index)
        drawn = generator.choice(np.arange(PLACEMENTS.start, PLACEMENTS.stop), config.episodes, replace=False)
        for number, index in enumerate(drawn):
            seed = derive_seed(config.seed, "value episode", task.suite, task.index, number)
            asked.append(EpisodeRequest(len(asked), task, Placement("sampled", int(index)), seed))
    return asked


def fit(
    episodes: Sequence[Trajectory], config: ValueConfig, preparation: PreparationConfig, folder: Path
) -> dict[str, Any]:
    """Train both values and choose the library; all three are written to `folder`."""
    seed = preparation.seed
    chunks = [t.candidate.chunk[: t.decisions - 1].numpy() for t in episodes if t.success and t.candidate is not None]
    if not chunks:
        raise HoneError(
            f"none of the policy's {len(episodes)} episodes succeeded, so nothing can be learned of what is promising; "
            "start from a policy that half works."
        )
    generator = numpy_generator(seed, "library")
    every = np.concatenate(chunks).astype(np.float32)
    library = fit_library(generator.permutation(every)[:MOST_CHUNKS], preparation.library, generator)
    found: dict[str, Any] = {"library": len(library.chunks), "episodes": len(episodes)}
    for name, inputs, where in (("states", "features", folder), ("chunks", "chunk", folder / CHUNK_VALUE)):
        settings = replace(config, inputs=inputs)
        known = experience(episodes, settings)
        head, found[name] = fit_value(known, settings, torch_generator(seed, "value", name), seed)
        head.save(where)
        if inputs == "features":
            np.save(folder / VALUES, head(known.inputs).numpy())
    library.save(folder / LIBRARY)
    return found
