"""Procedural stand-ins for LIBERO's assets: same files, bodies, joints and sites, small shapes made by this project.

With them hf-libero composes the scenes of all 130 tasks unchanged, offline. Scores of pretrained policies count only on
LIBERO's original assets.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from hone.cache import cache_dir, write_error


@lru_cache
def _pack() -> tuple[str, dict[str, bytes]]:
    """The files, and a hash of their names and contents."""
    from hone.envs.libero.standins.pack import pack_files

    files = pack_files()
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16], files


def standin_assets() -> Path:
    """The folder of the stand-in pack in LIBERO's asset layout, written into the cache where it is not there yet.

    The folder's name holds a hash of its content, so a changed pack is a new folder. A file that is missing or altered
    is written again. Raises `HoneError` where the disk is full.
    """
    key, files = _pack()
    folder = cache_dir() / "assets" / f"standin-{key}"
    if folder.exists():
        if all(_same(folder / path, content) for path, content in files.items()):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-"))
        try:
            for path, content in files.items():
                (building / path).parent.mkdir(parents=True, exist_ok=True)
                (building / path).write_bytes(content)
            try:
                os.rename(building, folder)
            except OSError:
                if not folder.exists():  # another process finished first: its files are the same
                    raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def _same(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False
