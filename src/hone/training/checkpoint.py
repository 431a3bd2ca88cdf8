"""Checkpoints: folders that are complete or not there at all, read back without pickle.

    RUN/checkpoints/latest              name of the folder to resume from
    RUN/checkpoints/best                name of the folder with the best score so far, if scores were given
    RUN/checkpoints/000012/policy/      what the policy's `save_pretrained` writes
                          /trainer.safetensors   tensors: optimizer moments, generator states
                          /state.json            counters, learning rate, ...
                          /manifest.json         SHA-256 of every other file: what makes damage visible

A checkpoint is written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from hone.cache import write_atomically, write_error
from hone.errors import HoneError

log = logging.getLogger(__name__)

_PARTIAL = ".partial-"
"""Prefix of a checkpoint that is still being written, or whose writer was killed."""


@runtime_checkable
class Saveable(Protocol):
    """What a checkpoint needs of a policy."""

    def save_pretrained(self, folder: str | Path) -> None: ...


class CheckpointError(HoneError):
    """A checkpoint that cannot be written or read."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read back. The policy is loaded by its own `from_pretrained(checkpoint.policy_folder)`."""

    folder: Path
    iteration: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]

    @property
    def policy_folder(self) -> Path:
        return self.folder / "policy"


def save_checkpoint(
    run_folder: Path,
    iteration: int,
    policy: Saveable,
    *,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    keep: int = 3,
    best: bool = False,
) -> Path:
    """Write a checkpoint, point `latest` (and, if `best`, `best`) at it; delete all but the last `keep` and the best.

    `tensors` go to safetensors, `state` must be JSON (integers of any size included). Raises `HoneError` where the disk
    is full or the folder cannot be written; the checkpoints that were there stay as they are.
    """
    if keep < 1:
        raise CheckpointError(f"keep is {keep}, but at least one checkpoint must be kept to resume from.")
    root = run_folder / "checkpoints"
    folder = root / f"{iteration:06d}"
    partial = root / f"{_PARTIAL}{folder.name}"
    try:
        for leftover in root.glob(f"{_PARTIAL}*"):
            shutil.rmtree(leftover)
        partial.mkdir(parents=True)
        policy.save_pretrained(partial / "policy")
        (partial / "trainer.safetensors").write_bytes(safetensors.torch.save(_contiguous(tensors)))
        (partial / "state.json").write_text(json.dumps({"iteration": iteration, "state": dict(state)}, indent=1))
        (partial / "manifest.json").write_text(json.dumps(_digests(partial), indent=1))
        if folder.exists():  # a resumed run comes by here again
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    write_atomically(root / "latest", f"{folder.name}\n".encode())
    if best:
        write_atomically(root / "best", f"{folder.name}\n".encode())
    _delete_old(root, keep)
    return folder


def load_latest(run_folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or `None` if the run has none at all.

    `latest` is tried first, then the others from new to old. A damaged one is skipped with a warning that names it; if
    there are checkpoints but none is whole, `CheckpointError` says so: starting anew in silence would hide a lost run.
    """
    root = run_folder / "checkpoints"
    folders = sorted((path for path in root.glob("[0-9]*") if path.is_dir()), key=lambda path: path.name, reverse=True)
    pointed = _pointer(root / "latest")
    folders.sort(key=lambda path: path.name != pointed)  # stable: the others stay from new to old
    for folder in folders:
        try:
            return load_checkpoint(folder)
        except CheckpointError as error:
            log.warning("%s Trying the one before.", error)
    if folders:
        raise CheckpointError(
            f"all {len(folders)} checkpoints in '{root}' are damaged; delete the folder to start the run anew."
        )
    return None


def load_best(run_folder: Path) -> Checkpoint | None:
    """The checkpoint that `best` points to, or `None` if there is none. Raises `CheckpointError` if it is damaged."""
    name = _pointer(run_folder / "checkpoints" / "best")
    return load_checkpoint(run_folder / "checkpoints" / name) if name else None


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read one checkpoint folder; raises `CheckpointError` naming the first file that is missing or damaged."""
    try:
        expected = json.loads((folder / "manifest.json").read_text())
        found = _digests(folder)
        for name, digest in expected.items():
            if found.get(name) != digest:
                raise CheckpointError(f"checkpoint '{folder}': {name} is {'damaged' if name in found else 'missing'}.")
        document = json.loads((folder / "state.json").read_text())
        tensors = safetensors.torch.load((folder / "trainer.safetensors").read_bytes())
        return Checkpoint(folder, document["iteration"], tensors, document["state"])
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint '{folder}' cannot be read ({error}).") from error


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` but the manifest itself."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def _pointer(path: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip() or None
    return None


def _delete_old(root: Path, keep: int) -> None:
    folders = sorted(path for path in root.glob("[0-9]*") if path.is_dir())
    spared = {_pointer(root / "latest"), _pointer(root / "best")}
    for folder in folders[:-keep]:
        if folder.name not in spared:
            shutil.rmtree(folder, ignore_errors=True)
