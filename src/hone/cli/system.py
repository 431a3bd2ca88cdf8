"""What a machine must have before anything is installed: Python, a C compiler, an OpenGL library without a screen.

Standard library only, so that `make` can run this file with the bare interpreter (`python3 -I src/hone/cli/system.py`)
and say which Debian package is missing before it downloads anything. `hone doctor` uses the same checks.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

EGL_PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri"
OSMESA_PACKAGES = "libosmesa6"
EGL_DRIVERS = ("libEGL_mesa.so.0", "libEGL_nvidia.so.0")
OSMESA_LIBRARIES = ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")


def gl_backend() -> str | None:
    """What `MUJOCO_GL` should be here: "egl", "osmesa", "cgl" (macOS), or `None` if nothing can draw."""
    if sys.platform == "darwin":
        return "cgl"
    if _loads("libEGL.so.1") and any(map(_loads, EGL_DRIVERS)):
        return "egl"
    return "osmesa" if any(map(_loads, OSMESA_LIBRARIES)) else None


def c_compiler() -> str | None:
    """Path of a C compiler, or `None`."""
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


def compiles(compiler: str) -> bool:
    """Whether `compiler` can build a shared library that includes a system header."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text("#include <math.h>\ndouble probe(double x) { return sqrt(x); }\n")
        command = [compiler, "-shared", "-fPIC", "-o", str(Path(folder) / "probe.so"), str(source), "-lm"]
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def missing() -> list[str]:
    """One line for each thing that is missing: what it is and how to get it."""
    lines: list[str] = []
    # Tested and not assumed: `make` runs this file with whatever interpreter was found.
    if sys.version_info < (3, 11):  # noqa: UP036
        lines.append(f"Python 3.11 or newer (this is {sys.version.split()[0]}): apt-get install python3")
    if importlib.util.find_spec("ensurepip") is None:
        lines.append("Python's venv module: apt-get install python3-venv")
    compiler = c_compiler()
    if compiler is None:
        lines.append("a C compiler: apt-get install gcc libc6-dev")
    elif not compiles(compiler):
        lines.append(f"the C headers ({compiler} cannot build a small library): apt-get install gcc libc6-dev")
    if gl_backend() is None:
        lines.append(f"OpenGL without a screen: apt-get install {EGL_PACKAGES}  (or: {OSMESA_PACKAGES})")
    return lines


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    problems = missing()
    for problem in problems:
        print(f"missing: {problem}", file=sys.stderr)
    if problems:
        print("The commands are for Debian and Ubuntu; other systems have the same libraries.", file=sys.stderr)
    sys.exit(1 if problems else 0)
