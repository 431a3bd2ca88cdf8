"""Where Hone keeps what it can make again: composed scenes, stand-in assets, converted arrays. Private to the user."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from hone.errors import HoneError


def cache_dir() -> Path:
    """`$HONE_CACHE`, else `$XDG_CACHE_HOME/hone`, else `~/.cache/hone`. Created readable by its owner only."""
    if "HONE_CACHE" in os.environ:
        folder = Path(os.environ["HONE_CACHE"])
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hone"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HoneError(
            f"cannot create the cache folder '{folder}': {error.strerror}. Set $HONE_CACHE to a folder you can write."
        ) from error
    return folder


def write_atomically(path: Path, content: bytes) -> None:
    """Write `path` complete or not at all: a temporary file beside it, flushed to disk, then renamed.

    Raises `HoneError` where the disk is full or the folder cannot be written.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> HoneError:
    """One line that says why `path` could not be written and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HoneError(
            f"no space left to write '{path}'. Free some, or set $HONE_CACHE (for cached files) to another disk."
        )
    return HoneError(f"cannot write '{path}': {error.strerror or error}.")
