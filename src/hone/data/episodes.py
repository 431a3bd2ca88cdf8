"""Hone's episode format: a folder with `dataset.json` and one `episodes/000000.npz` per episode.

`dataset.json` says what all episodes share: the format's version, the `Spec` their numbers follow, and where they come
from. An episode file holds plain arrays, one row per control step, and a JSON string with the rest; nothing in it is
ever executed. Every file is written under another name and renamed, so an interrupted writer leaves whole episodes.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hone.cache import write_atomically
from hone.errors import HoneError
from hone.specs import Spec
from hone.types import Episode, Placement, Status, Task

FORMAT = "hone-episodes"
VERSION = 1
REQUIRED = ("proprio", "actions", "executed")
OPTIONAL = ("images", "state")
UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)
"""What NumPy, zipfile and json raise on damaged files."""


@dataclass(frozen=True)
class Dataset:
    """What the episodes of a folder share. `provenance`: how they were made (JSON)."""

    spec: Spec
    provenance: dict[str, Any]


@dataclass(frozen=True)
class EpisodeHeader:
    """An episode without its arrays."""

    task: Task
    placement: Placement
    status: Status
    steps: int
    metadata: dict[str, Any]


class EpisodeWriter:
    """Adds episodes to a folder; an existing one is continued if its spec and provenance are the same."""

    def __init__(self, folder: Path, spec: Spec, provenance: dict[str, Any]) -> None:
        self.folder = folder
        provenance = json.loads(json.dumps(provenance))
        description = folder / "dataset.json"
        if description.exists():
            _check_same(folder, read_dataset(folder), Dataset(spec, provenance))
        else:
            data = {"format": FORMAT, "version": VERSION, "spec": spec.to_json(), "provenance": provenance}
            write_atomically(description, json.dumps(data, indent=2).encode())
        self._next = 1 + max((int(path.stem) for path in _files(folder)), default=-1)

    def write(self, episode: Episode) -> Path:
        """Store an episode; it is on disk, whole, when this returns."""
        path = self.folder / "episodes" / f"{self._next:06d}.npz"
        header = {
            "task": asdict(episode.task),
            "placement": asdict(episode.placement),
            "status": episode.status,
            "steps": len(episode),
            "metadata": episode.metadata,
        }
        arrays = {name: getattr(episode, name) for name in REQUIRED}
        arrays |= {name: array for name in OPTIONAL if (array := getattr(episode, name)) is not None}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, header=np.array(json.dumps(header)), **arrays)
        write_atomically(path, buffer.getvalue())
        self._next += 1
        return path


def read_dataset(folder: Path) -> Dataset:
    """What the episodes in `folder` share."""
    path = folder / "dataset.json"
    if (folder / "meta" / "info.json").exists():
        raise HoneError(
            f"'{folder}' is a LeRobot data set. `hone data import --dataset {folder} --output …` makes episodes of it."
        )
    if not path.exists():
        raise HoneError(
            f"'{folder}' holds no demonstrations (no dataset.json). `hone demos --output {folder}` makes some."
        )
    try:
        data = json.loads(path.read_text())
        if data["format"] != FORMAT or data["version"] != VERSION:
            raise HoneError(
                f"'{path}' has format '{data['format']}' version {data['version']}; this Hone reads '{FORMAT}' version "
                f"{VERSION}. Record the episodes again, or use the Hone that wrote them."
            )
        return Dataset(Spec.from_json(data["spec"]), data["provenance"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HoneError(
            f"'{path}' is not a readable dataset description ({error}). Record the episodes again."
        ) from error


def read_headers(folder: Path) -> list[EpisodeHeader]:
    """Every episode in the folder, in the order written, without its arrays."""
    read_dataset(folder)
    return [header for _, header, _ in _open(folder)]


def read_episodes(
    folder: Path, tasks: Sequence[Task] | None = None, status: Status | None = "success"
) -> list[Episode]:
    """The episodes in the folder, in the order written; of some tasks only, of one status only (`None`: of every)."""
    return list(iterate_episodes(folder, tasks, status))


def iterate_episodes(
    folder: Path, tasks: Sequence[Task] | None = None, status: Status | None = "success"
) -> Iterator[Episode]:
    """What `read_episodes` gives, one at a time: for folders that do not fit into memory."""
    read_dataset(folder)
    for path, header, arrays in _open(folder):
        if (tasks is not None and header.task not in tasks) or (status is not None and header.status != status):
            continue
        yield _read(path, header, arrays)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "episodes").glob("*.npz") if path.stem.isdigit())


def _open(folder: Path) -> Iterator[tuple[Path, EpisodeHeader, Any]]:
    for path in _files(folder):
        try:
            # By way of memory: NumPy leaves a file that it cannot read open.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                data = json.loads(str(arrays["header"]))
                header = EpisodeHeader(
                    Task(**data["task"]),
                    Placement(**data["placement"]),
                    data["status"],
                    data["steps"],
                    data["metadata"],
                )
                yield path, header, arrays
        except UNREADABLE as error:
            raise _corrupt(path, error) from error


def _read(path: Path, header: EpisodeHeader, arrays: Any) -> Episode:
    try:
        columns = {name: arrays[name] for name in (*REQUIRED, *OPTIONAL) if name in arrays or name in REQUIRED}
    except UNREADABLE as error:
        raise _corrupt(path, error) from error
    for name, column in columns.items():
        if len(column) != header.steps:
            raise _corrupt(path, f"'{name}' has {len(column)} rows, not {header.steps}")
    return Episode(header.task, header.placement, header.status, metadata=header.metadata, **columns)


def _corrupt(path: Path, why: object) -> HoneError:
    return HoneError(f"episode file '{path}' is damaged ({why}). Delete it, and record that episode again.")


def _check_same(folder: Path, old: Dataset, new: Dataset) -> None:
    before = {**old.spec.to_json(), **old.provenance}
    after = {**new.spec.to_json(), **new.provenance}
    differing = [
        f"{name}: there {before.get(name)!r}, now {after.get(name)!r}"
        for name in sorted({*before, *after})
        if json.dumps(before.get(name)) != json.dumps(after.get(name))
    ]
    if differing:
        raise HoneError(
            f"'{folder}' holds episodes made otherwise ({'; '.join(differing)}). "
            "Choose another folder, or the same options."
        )
