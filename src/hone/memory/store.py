"""The store of adaptations: one self-describing file per entry, so that no index can break or disagree with it.

    FOLDER/entries/<hash>.safetensors   embedding and weight delta; everything else as JSON in the header
    FOLDER/writer.lock                  held (flock) by the one process that is writing

A file's name is the hash of its content. It is written under another name, flushed to disk and renamed; so an entry is
there whole or not at all, damage shows, and readers need no lock. A killed writer loses the entry it was writing and
its lock goes with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hone.cache import write_atomically, write_error
from hone.errors import HoneError
from hone.memory.deltas import Weights

log = logging.getLogger(__name__)

FORMAT = "hone-memory-1"
EMBEDDING, DELTA = "embedding", "delta/"
"""Names of an entry's tensors: the embedding, and the delta's tensors behind a prefix."""
LOCK_TIMEOUT_S = 60.0
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError)
"""What reading a file that is no entry raises."""


@dataclass(frozen=True)
class Entry:
    """One task's adaptation, without its weights.

    `key` names the base weights and the encoder (`deltas.base_key`). `success` is that of the weights kept; `history`
    has one success rate per adaptation of this task that was ever remembered, oldest first. `details` is plain JSON.
    """

    key: str
    suite: str
    task: str
    instruction: str
    embedding: Float32[np.ndarray, " E"]
    success: float
    iterations: int
    history: tuple[float, ...] = ()
    written_at: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    """Hash of the stored file; empty before it is stored."""

    def same_task(self, other: Entry) -> bool:
        return (self.key, self.suite, self.task) == (other.key, other.suite, other.task)


class EntryStore:
    """Entries on disk: many readers, one writer at a time, at most `capacity` entries, one per base and task."""

    def __init__(self, folder: Path, capacity: int = 100) -> None:
        if capacity < 1:
            raise HoneError(f"the memory's capacity is {capacity}; it must hold at least one entry.")
        self.folder = folder
        self.capacity = capacity
        self._entries = folder / "entries"
        self._known: dict[str, Entry] = {}  # a file never changes under its name
        self._refused: set[str] = set()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._entries.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HoneError(f"cannot keep a memory in '{folder}': {error.strerror}. Give another folder.") from error

    def entries(self) -> list[Entry]:
        """Every entry that can be read, oldest first. One that cannot is refused with a warning, once."""
        found = {}
        for path in self._entries.glob("*.safetensors"):
            entry = self._known.get(path.stem) or self._read_header(path)
            if entry is not None:
                found[path.stem] = entry
        self._known = found
        return sorted(found.values(), key=lambda entry: (entry.written_at, entry.id))

    def delta(self, entry: Entry) -> dict[str, Tensor] | None:
        """The entry's weight delta; `None`, with a warning, if its file is damaged, and if it was evicted meanwhile."""
        try:
            content = self._path(entry.id).read_bytes()
            if _digest(content) != entry.id:
                raise ValueError("its content does not match its checksum")
            tensors = safetensors.torch.load(content)
        except FileNotFoundError:
            return None
        except DAMAGED as error:
            self.refuse(entry.id, str(error))
            return None
        return {name.removeprefix(DELTA): tensor for name, tensor in tensors.items() if name.startswith(DELTA)}

    def refuse(self, entry_id: str, why: str) -> None:
        """Say once that an entry is not used, and why."""
        if entry_id not in self._refused:
            self._refused.add(entry_id)
            log.warning("memory entry '%s' is not used: %s. Delete it if this persists.", self._path(entry_id), why)

    def put(self, entry: Entry, delta: Weights) -> Entry:
        """Store an adaptation; it is on disk, whole, when this returns. Gives the entry as it is kept.

        Of several adaptations of one task from one base the most successful is kept (of equals, the latest), with the
        history of all. If the store is then over capacity, `least_worth` says who leaves. Raises `HoneError` where the
        disk is full or another writer does not finish.
        """
        with self._writing():
            for leftover in self._entries.glob(".*"):  # of a writer that was killed
                leftover.unlink(missing_ok=True)
            earlier = [old for old in self.entries() if old.same_task(entry)]
            history = (*(rate for old in earlier for rate in old.history), entry.success)
            best = max(earlier, key=lambda old: old.success, default=entry)
            kept_delta = self.delta(best) if best.success > entry.success else None
            kept = replace(
                entry if kept_delta is None else best, history=history, written_at=max(time.time(), entry.written_at)
            )
            content = _encode(kept, kept_delta or delta)
            kept = replace(kept, id=_digest(content))
            write_atomically(self._path(kept.id), content)
            for old in earlier:
                self._path(old.id).unlink(missing_ok=True)
            everything = self.entries()
            while len(everything) > self.capacity:
                leaving = least_worth(everything, kept)
                log.info("the memory is full: '%s' leaves it", leaving.instruction)
                self._path(leaving.id).unlink(missing_ok=True)
                everything.remove(leaving)
        return kept

    def _path(self, entry_id: str) -> Path:
        return self._entries / f"{entry_id}.safetensors"

    def _read_header(self, path: Path) -> Entry | None:
        try:
            with safe_open(path, framework="pt") as file:
                return _decode(file.metadata(), file.get_tensor(EMBEDDING), path.stem)
        except FileNotFoundError:  # evicted since the folder was listed
            return None
        except DAMAGED as error:
            self.refuse(path.stem, f"it cannot be read ({error})")
            return None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Only one process writes at a time. The lock ends with its holder, however that ends."""
        try:
            file = (self.folder / "writer.lock").open("a")
        except OSError as error:
            raise write_error(self.folder / "writer.lock", error) from error
        with file:
            deadline = time.monotonic() + LOCK_TIMEOUT_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise HoneError(
                            f"another process has been writing to '{self.folder}' for {LOCK_TIMEOUT_S:.0f} s; "
                            "nothing was stored."
                        ) from error
                    time.sleep(0.02)
            yield


def least_worth(entries: Sequence[Entry], newest: Entry) -> Entry:
    """Who leaves a full store: an entry of another base first, the oldest; else the one whose loss costs least.

    An entry's worth is `success * (1 - c)`, with `c` the cosine similarity of the nearest other task of the same base:
    what its task would lose if the neighbour stood in for it to the extent that they are alike. Of equal worth, the
    less successful leaves, then the older. `newest` is judged like the others.

    Departure from the paper (arXiv 2605.22896), which says "coverage and success" and no more.
    """
    others = [entry for entry in entries if entry.key != newest.key]
    if others:
        return min(others, key=lambda entry: entry.written_at)

    def worth(entry: Entry) -> tuple[float, float, float]:
        nearest = max((cosine(entry.embedding, other.embedding) for other in entries if other is not entry), default=0)
        return (round(entry.success * (1 - nearest), 6), entry.success, entry.written_at)

    return min(entries, key=worth)


def cosine(a: Float32[np.ndarray, " E"], b: Float32[np.ndarray, " E"]) -> float:
    """Cosine similarity in [-1, 1]; 0 where either is the zero vector (a blank sentence)."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / length, -1.0, 1.0)) if length > 0 else 0.0


def _encode(entry: Entry, delta: Weights) -> bytes:
    header = asdict(entry)
    del header["embedding"], header["id"]
    tensors = {f"{DELTA}{name}": tensor.detach().cpu().contiguous() for name, tensor in delta.items()}
    tensors[EMBEDDING] = torch.from_numpy(entry.embedding.copy())
    return safetensors.torch.save(tensors, metadata={"format": FORMAT, "entry": json.dumps(header)})


def _decode(metadata: Mapping[str, str] | None, embedding: Tensor, entry_id: str) -> Entry:
    if metadata is None or metadata.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    header = json.loads(metadata["entry"])
    entry = Entry(
        key=str(header["key"]),
        suite=str(header["suite"]),
        task=str(header["task"]),
        instruction=str(header["instruction"]),
        embedding=embedding.numpy(),
        success=float(header["success"]),
        iterations=int(header["iterations"]),
        history=tuple(float(rate) for rate in header["history"]),
        written_at=float(header["written_at"]),
        details=dict(header["details"]),
        id=entry_id,
    )
    if embedding.dtype != torch.float32 or embedding.ndim != 1 or not np.isfinite(entry.embedding).all():
        raise ValueError(f"its embedding {list(embedding.shape)} is no row of finite numbers")
    if not (0 <= entry.success <= 1 and np.isfinite(entry.written_at)):
        raise ValueError(f"success {entry.success} or time {entry.written_at} is out of range")
    return entry


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
