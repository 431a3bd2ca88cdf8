"""Check that this machine can run Hone, and say what to do where it cannot.

Nothing is assumed from version numbers alone where it can be tried: a small scene is really drawn, a small C program is
really built and run against MuJoCo's own library, and a recorded episode is really replayed (checkup.py).

With `--checkpoint FOLDER` it checks a policy instead: which convention looks broken (see hone/evaluation/diagnosis.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.table import Table

from hone.cache import cache_dir
from hone.cli import system
from hone.cli.output import emit_json, people
from hone.cli.setup import HF_LIBERO, installed_hf_libero
from hone.errors import HoneError

NEEDED_DISK_GB = 2.0
"""Cached scenes, checkpoints and videos of a few runs."""

PROBE_TIMEOUT_S = 90.0
"""Longest wait for a probe in its own process: a broken driver can hang for ever."""

DRAW_PROBE = """
import mujoco, numpy as np
model = mujoco.MjModel.from_xml_string('''
<mujoco><worldbody><light pos="0 0 3"/><camera name="eye" pos="0 0 1"/>
<geom type="sphere" size=".2" rgba="1 0 0 1"/></worldbody></mujoco>''')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 64, 64) as renderer:
    renderer.update_scene(data, camera="eye")
    picture = renderer.render().astype(int)
red = (picture[..., 0] > picture[..., 1] + 60) & (picture[..., 0] > picture[..., 2] + 60)
print(int(red.sum()))
"""

NATIVE_PROBE = """
#include <mujoco/mujoco.h>
int probe(void) { return mj_version() == mjVERSION_HEADER ? mj_version() : -1; }
"""


@dataclass(frozen=True)
class Config:
    checkpoint: Path | None = None
    """Folder of a policy to check (config.json and model.safetensors), instead of this machine."""
    suite: str = "libero_object"
    """Benchmark suite the policy is tried on."""
    task: int = 0
    """Task it is tried on: one it was trained for."""
    episodes: int = 6
    """Episodes of each variant, from sampled placements."""
    assets: str = "standin"
    """Asset pack it is tried on, as in `hone eval`."""
    json: bool = False
    """Print one JSON object on standard output instead of the table."""


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    status: Literal["ok", "warning", "failed"]
    found: str
    todo: str = ""
    """What to do about it; empty where all is well."""


def run(config: Config) -> int:
    checks: list[Check] = []
    console = people()
    with console.status("checking"):
        checks.extend(all_checks() if config.checkpoint is None else of_policy(config))
    ready = all(check.status != "failed" for check in checks)
    if config.json:
        emit_json({"ready": ready, "checks": [asdict(check) for check in checks]})
    else:
        console.print(table(checks))
        if config.checkpoint is not None:
            console.print("Nothing looks broken." if ready else "Mend the failed lines.")
        else:
            console.print("Hone can run here." if ready else "Hone cannot run here until the failed lines are mended.")
    return 0 if ready else 1


def all_checks() -> Iterator[Check]:
    yield python()
    yield package("torch", "2.7", None)
    yield package("mujoco", "3.3", "3.9")
    yield package("robosuite", "1.4.0", "1.4.1")
    yield hf_libero()
    yield torchvision()
    yield drawing()
    yield native_engine()
    yield cache_folder()
    yield disk()
    yield processors()
    yield from simulation()


def simulation() -> Iterator[Check]:
    """What can only be tried where the simulator can be imported."""
    try:
        import hone.cli.checkup as checkup
    except ImportError as error:
        yield Check("simulation", "failed", f"cannot be imported: {error}", "mend the lines above first")
        return
    yield checkup.assets()
    yield from checkup.simulation()


def of_policy(config: Config) -> Iterator[Check]:
    from hone.cli import checkup

    assert config.checkpoint is not None
    return checkup.check_policy(config.checkpoint, config.suite, config.task, config.episodes, config.assets)


def table(checks: list[Check]) -> Table:
    marks = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[red]failed[/]"}
    grid = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "check", "found", "what to do"):
        grid.add_column(heading, overflow="fold")
    for check in checks:
        grid.add_row(marks[check.status], check.name, check.found, check.todo)
    return grid


def python() -> Check:
    found = sys.version.split()[0]
    if sys.version_info < (3, 11):  # noqa: UP036 - tried, not assumed
        return Check("Python", "failed", found, "use Python 3.11 or newer")
    return Check("Python", "ok", found)


def package(name: str, at_least: str, below: str | None) -> Check:
    """Whether `name` is installed in a version that fits."""
    wanted = f"{name}>={at_least}" + (f",<{below}" if below else "")
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "failed", "not installed", f"pip install '{wanted}'")
    if _numbers(found) < _numbers(at_least) or (below is not None and _numbers(found) >= _numbers(below)):
        return Check(name, "failed", found, f"pip install '{wanted}'")
    return Check(name, "ok", found)


def hf_libero() -> Check:
    found = installed_hf_libero()
    if found is None or importlib.util.find_spec("libero") is None:
        return Check("hf-libero", "failed", "not installed", "hone setup")
    if found != HF_LIBERO:
        return Check("hf-libero", "warning", found, f"tested with {HF_LIBERO}: hone setup")
    return Check("hf-libero", "ok", found)


def torchvision() -> Check:
    """hf-libero's own requirements install a torchvision that does not fit a CPU torch and breaks model imports."""
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", "ok", "not installed (not needed)")
    version = metadata.version("torchvision")
    try:
        fits = _python("import torchvision").returncode == 0
    except subprocess.TimeoutExpired:
        fits = False
    if fits:
        return Check("torchvision", "ok", version)
    return Check("torchvision", "warning", f"{version}, does not fit this torch", "pip uninstall torchvision")


def drawing() -> Check:
    """Draw a red ball in another process, first as MUJOCO_GL says, then by whatever else works."""
    asked = os.environ.get("MUJOCO_GL", "")
    backends = [asked] if asked else []
    backends += [name for name in (("cgl",) if sys.platform == "darwin" else ("egl", "osmesa")) if name != asked]
    failures: list[str] = []
    for backend in backends:
        try:
            done = _python(DRAW_PROBE, MUJOCO_GL=backend, PYOPENGL_PLATFORM=backend)
        except subprocess.TimeoutExpired:
            failures.append(f"{backend}: no answer in {PROBE_TIMEOUT_S:.0f} s")
            continue
        if done.returncode == 0 and done.stdout.strip() not in ("", "0"):
            if backend == backends[0]:
                return Check("drawing", "ok", backend)
            return Check("drawing", "warning", f"{backend}; not {', '.join(failures)}", f"export MUJOCO_GL={backend}")
        lines = done.stderr.strip().splitlines()
        failures.append(f"{backend}: {lines[-1] if lines else 'an empty picture'}")
    return Check(
        "drawing", "failed", "; ".join(failures), f"apt-get install {system.EGL_PACKAGES} (or {system.OSMESA_PACKAGES})"
    )


def native_engine() -> Check:
    """Build a function against MuJoCo's headers and library, and call it."""
    compiler = system.c_compiler()
    if compiler is None:
        return Check("C compiler", "failed", "none", "apt-get install gcc libc6-dev")
    if importlib.util.find_spec("mujoco") is None:
        return Check("C compiler", "warning", f"{compiler}, not tried without mujoco")
    import mujoco

    home = Path(mujoco.__file__).parent
    libraries = sorted([*home.glob("libmujoco.so*"), *home.glob("libmujoco*.dylib")])
    if not libraries:
        return Check("C compiler", "failed", f"no libmujoco in {home}", "pip install --force-reinstall mujoco")
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder) / "probe.c", Path(folder) / "probe.so"
        source.write_text(NATIVE_PROBE.replace("mjVERSION_HEADER", str(mujoco.mj_version())))
        command = [compiler, "-shared", "-fPIC", f"-I{home / 'include'}", "-o", str(built), str(source)]
        command += [str(libraries[0]), f"-Wl,-rpath,{home}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
        if done.returncode != 0:
            return Check("C compiler", "failed", _last_line(done.stderr), "apt-get install gcc libc6-dev")
        answer = ctypes.CDLL(str(built)).probe()
    if answer != mujoco.mj_version():
        return Check("C compiler", "failed", "built against another MuJoCo", "pip install --force-reinstall mujoco")
    return Check("C compiler", "ok", compiler)


def cache_folder() -> Check:
    """Exists (or can be made), can be written, and is nobody else's to write: cached models are loaded unasked."""
    elsewhere = "choose another: export HONE_CACHE=/some/folder"
    try:
        folder = cache_dir()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except HoneError as error:
        return Check("cache folder", "failed", str(error), elsewhere)
    except OSError as error:
        return Check("cache folder", "failed", f"cannot write {cache_dir()}: {error.strerror}", elsewhere)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o022:
        return Check("cache folder", "warning", f"{folder}, mode {mode:o}", f"chmod 700 {folder}")
    return Check("cache folder", "ok", f"{folder}, mode {mode:o}")


def disk() -> Check:
    places = {"here": Path.cwd()}
    with contextlib.suppress(HoneError):  # the line above says what is wrong with it
        places["cache"] = cache_dir()
    free = {name: shutil.disk_usage(path).free / 1e9 for name, path in places.items()}
    found = ", ".join(f"{gigabytes:.1f} GB ({name})" for name, gigabytes in free.items())
    if min(free.values()) < NEEDED_DISK_GB:
        return Check("free disk", "warning", found, f"free {NEEDED_DISK_GB:.0f} GB, or move HONE_CACHE")
    return Check("free disk", "ok", found)


def processors() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("processors", "ok", f"{usable} usable")


def _python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PROBE_TIMEOUT_S,
        env={**os.environ, **environment},
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"


def _numbers(version: str) -> tuple[int, ...]:
    """(2, 13, 0) of "2.13.0+cpu"."""
    parts = version.split("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())
