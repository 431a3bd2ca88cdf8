"""Builds and loads engine.c and thinning.c: once per source, MuJoCo version, compiler flags and machine, kept in the
user's cache.

MuJoCo's wheel brings its own headers and library, so a C compiler is all that is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import mujoco

from hone.cache import cache_dir, write_error
from hone.errors import HoneError

# No contraction to fused multiply-adds: results must not depend on what the compiler finds to fuse.
FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-pthread")


@lru_cache
def load_engine() -> ctypes.CDLL:
    """The engine's library, built first if the cache has none. Calls through it release the GIL.

    Raises `HoneError` where there is no C compiler or it fails.
    """
    return _load("engine")


@lru_cache
def load_thinning() -> ctypes.CDLL:
    """The library of thinning.c; otherwise as `load_engine`."""
    return _load("thinning")


def _load(name: str) -> ctypes.CDLL:
    source = Path(__file__).with_name(f"{name}.c")
    folder = Path(mujoco.__file__).parent
    # MuJoCo is loaded already (`import mujoco`), so the library's reference to it resolves to that very copy.
    mujoco_library = _mujoco_library(folder)
    identity = (source.read_text(), mujoco.__version__, *FLAGS, platform.machine(), sys.platform)
    key = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16]
    path = cache_dir() / "engine" / f"{name}-{key}.so"
    if not path.exists():
        _build(source, path, folder / "include", mujoco_library)
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        # Cut short by a full disk, or built on another system that shares this home folder: once more, then give up.
        _build(source, path, folder / "include", mujoco_library)
        return ctypes.CDLL(str(path))


def _mujoco_library(folder: Path) -> Path:
    for name in (f"libmujoco.so.{mujoco.__version__}", f"libmujoco.{mujoco.__version__}.dylib"):
        if (folder / name).exists():
            return folder / name
    raise HoneError(
        f"found no MuJoCo library in '{folder}' to link the native engine with. "
        "Install the `mujoco` wheel from PyPI, or choose engine='numpy' (same results, slower)."
    )


def _build(source: Path, path: Path, include: Path, mujoco_library: Path) -> None:
    """Compile to a temporary file beside `path`, then rename: several processes may do so at once."""
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise HoneError(
            "the native engine needs a C compiler once and found none (cc, gcc, clang, $CC). Install one (Debian: "
            "`apt-get install gcc libc6-dev`, or build-essential), or choose engine='numpy' (same results, slower)."
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise write_error(path, error) from error
    os.close(descriptor)
    command = [*compiler.split(), *FLAGS, f"-I{include}", str(source), str(mujoco_library), "-lm", "-o", temporary]
    command.append(f"-Wl,-rpath,{mujoco_library.parent}")
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise HoneError(
                f"compiling the native engine with '{compiler}' failed: {_first_error(result.stderr)}. "
                "Is the C library's development package there (Debian: build-essential)? Or choose engine='numpy'."
            )
        os.replace(temporary, path)
    except FileNotFoundError as error:
        raise HoneError(
            f"the C compiler '{compiler}' does not exist; set $CC to one, or choose engine='numpy'."
        ) from error
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _first_error(messages: str) -> str:
    lines = [line for line in messages.splitlines() if "error" in line.lower()] or messages.splitlines()
    return lines[0] if lines else "no message"
