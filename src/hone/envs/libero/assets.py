"""Which meshes and shapes a scene is made of: the project's own stand-ins, or LIBERO's originals from a folder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hone.errors import HoneError

ORIGINAL_ASSETS_VARIABLE = "HONE_LIBERO_ASSETS"


@dataclass(frozen=True)
class AssetPack:
    """A folder in LIBERO's asset layout. `digest` changes when anything that shapes a scene changes."""

    name: str
    folder: Path
    digest: str


@lru_cache
def asset_pack(name: str) -> AssetPack:
    """`standin` (made by this project, offline), `original` (folder in `$HONE_LIBERO_ASSETS`), or a folder's path."""
    if name == "standin":
        from hone.envs.libero.standins import standin_assets

        folder = standin_assets()
    elif name == "original":
        if ORIGINAL_ASSETS_VARIABLE not in os.environ:
            raise HoneError(
                f"asset pack 'original' needs the folder of LIBERO's assets in ${ORIGINAL_ASSETS_VARIABLE}; "
                "it is not set. Without the files use 'standin'."
            )
        folder = Path(os.environ[ORIGINAL_ASSETS_VARIABLE])
    else:
        folder = Path(name)
    if not (folder / "scenes").is_dir():
        raise HoneError(
            f"no LIBERO assets in '{folder}' (expected sub-folders scenes/, textures/, stable_hope_objects/, …). "
            "Known packs: 'standin', 'original', or the path of such a folder."
        )
    return AssetPack(name if name == "standin" else "original", folder, _digest(folder))


def _digest(folder: Path) -> str:
    """Hash of every description file's text and every other file's name and size."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(path.read_bytes() if path.suffix == ".xml" else str(path.stat().st_size).encode())
    return digest.hexdigest()[:16]
