"""Recordings of other formats as Hone's episodes: which format lies there, and how it comes in.

A source knows its episodes before it reads them, and what cannot be read raises `HoneError` with the place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from hone.data import lerobot_format as lf
from hone.data.episodes import EpisodeWriter
from hone.data.lerobot_reader import LerobotReader
from hone.data.libero_hdf5 import Hdf5Convention, LiberoHdf5Reader
from hone.data.motion import idle
from hone.data.rlds import RldsConvention, RldsReader
from hone.errors import HoneError
from hone.specs import Spec
from hone.types import ACTION_DIM, Episode

Kind = Literal["lerobot", "hone", "hdf5", "rlds"]


@runtime_checkable
class EpisodeSource(Protocol):
    """Iterates over its episodes, in Hone's convention."""

    spec: Spec

    @property
    def provenance(self) -> dict[str, Any]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Episode]: ...


def kind_of(path: Path) -> Kind:
    """What kind of data set lies at `path`. Raises `HoneError` where there is none that Hone knows."""
    if not path.exists():
        raise HoneError(f"'{path}' does not exist. Give the folder (or HDF5 file) of a data set.")
    if path.is_file():
        if path.suffix in (".hdf5", ".h5"):
            return "hdf5"
        raise HoneError(f"'{path}' is no data set. Hone reads a LeRobotDataset's folder, *.hdf5, *.tfrecord-*.")
    if lf.is_lerobot(path):
        return "lerobot"
    if (path / "dataset.json").exists():
        return "hone"
    if any(path.rglob("*.hdf5")):
        return "hdf5"
    if any(path.rglob("*.tfrecord*")):
        return "rlds"
    raise HoneError(
        f"'{path}' is no data set that Hone reads: no meta/info.json (LeRobotDataset v3.0), no dataset.json (Hone's), "
        "no *.hdf5 (LIBERO's), no *.tfrecord-* (RLDS) in it."
    )


@dataclass(frozen=True)
class Conventions:
    """What the numbers of each format mean where it does not say so itself."""

    lerobot: lf.Convention = field(default_factory=lf.Convention)
    hdf5: Hdf5Convention = field(default_factory=Hdf5Convention)
    rlds: RldsConvention = field(default_factory=RldsConvention)


def open_source(path: Path, conventions: Conventions, image_size: int) -> EpisodeSource:
    """The reader of what lies at `path`. Raises `HoneError` where its declarations do not fit."""
    kind = kind_of(path)
    if kind == "lerobot":
        return LerobotReader(path, conventions.lerobot, image_size)
    if kind == "hdf5":
        return LiberoHdf5Reader(path, conventions.hdf5, image_size)
    if kind == "rlds":
        return RldsReader(path, conventions.rlds, image_size)
    raise HoneError(f"'{path}' holds Hone's own episodes already; `hone clone --demos {path}` learns from them.")


def import_episodes(
    source: EpisodeSource,
    destination: Path,
    *,
    drop_idle: bool = False,
    on_episode: Callable[[Episode], None] | None = None,
) -> None:
    """Write a source's episodes in Hone's format; `destination` is there whole or not at all."""
    if destination.exists():
        raise HoneError(f"'{destination}' exists already. Give another --output.")
    partial = destination.with_name(f".{destination.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        writer = EpisodeWriter(partial, source.spec, {**source.provenance, "idle_steps_dropped": drop_idle})
        for episode in source:
            writer.write(without_idle(episode) if drop_idle else episode)
            if on_episode is not None:
                on_episode(episode)
        partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def without_idle(episode: Episode) -> Episode:
    """The episode without the steps that ask for nothing (`motion.idle`); one that never moves is kept as it is.

    OpenVLA executes what is left anew and records what is then seen (arXiv:2406.09246). Here rows are left out of the
    recording, so where the arm was still settling, one picture and the next may lie further apart than a step.
    """
    kept = ~idle(episode.actions.astype(np.float64), ACTION_DIM - 1)
    if not kept.any():
        return episode
    return replace(
        episode,
        proprio=episode.proprio[kept],
        actions=episode.actions[kept],
        executed=episode.executed[kept],
        images=None if episode.images is None else episode.images[kept],
        state=None if episode.state is None else episode.state[kept],
        metadata={**episode.metadata, "idle_steps_dropped": int((~kept).sum())},
    )
