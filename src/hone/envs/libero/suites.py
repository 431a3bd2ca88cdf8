"""LIBERO's task suites: names, instructions, step caps, BDDL files and the stored initial states.

Listing tasks reads hf-libero's task map and file names only; neither robosuite nor the rest of hf-libero is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import logging
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from hone.cache import cache_dir, write_atomically
from hone.envs.libero import hf
from hone.errors import HoneError, unknown_name
from hone.types import Task

log = logging.getLogger(__name__)

STEP_CAPS = {
    "libero_spatial": 280,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
"""Control steps an episode may take, per suite: the caps published scores use."""
SUITES = tuple(STEP_CAPS)


@lru_cache
def tasks(suite: str) -> tuple[Task, ...]:
    """Every task of a suite, in the benchmark's order (its task order 0)."""
    step_cap(suite)
    path = hf.libero_root() / "benchmark" / "libero_suite_task_map.py"
    spec = importlib.util.spec_from_file_location("_hone_libero_task_map", path)
    assert spec is not None
    assert spec.loader is not None
    task_map = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(task_map)  # a literal dictionary; importing it through `libero.libero` would ask questions
    names = task_map.libero_task_map[suite]
    return tuple(Task(suite, index, name, _instruction(name)) for index, name in enumerate(names))


def task(suite: str, which: int | str) -> Task:
    """The task with this index, digits of an index, or name."""
    known = tasks(suite)
    if isinstance(which, str) and not which.isdigit():
        for candidate in known:
            if candidate.name == which:
                return candidate
        raise unknown_name(f"{suite} task", which, [candidate.name for candidate in known])
    index = int(which)
    if not 0 <= index < len(known):
        raise HoneError(f"suite '{suite}' has tasks 0-{len(known) - 1}, not {index}.")
    return known[index]


def step_cap(suite: str) -> int:
    """Control steps after which an episode of this suite is cut off."""
    if suite not in STEP_CAPS:
        raise unknown_name("suite", suite, SUITES)
    return STEP_CAPS[suite]


def bddl_file(task: Task) -> Path:
    """The task's problem description inside hf-libero."""
    return _wheel_file(task, "bddl_files", ".bddl")


@lru_cache(maxsize=128)
def official_initial_states(task: Task) -> Float64[np.ndarray, "50 S"]:
    """The benchmark's stored initial states, flattened (time, qpos, qvel): for evaluation only. Read-only.

    hf-libero ships them as pickles. They are converted once to a plain array in the cache, by a loader that allows
    nothing but the reconstruction of a NumPy array.
    """
    source = _wheel_file(task, "init_files", ".pruned_init")
    stat = source.stat()
    cached = cache_dir() / "initial_states" / f"{task.suite}-{task.name}-{stat.st_size}-{stat.st_mtime_ns}.npy"
    states = _read_array(cached)
    if states is None:
        states = _convert(source)
        buffer = io.BytesIO()
        np.save(buffer, states, allow_pickle=False)
        write_atomically(cached, buffer.getvalue())
    states.setflags(write=False)
    return states


def _instruction(name: str) -> str:
    """LIBERO's rule: the file name's words, after the scene for the tasks of LIBERO-100 (`KITCHEN_SCENE10_put_…`)."""
    words = name.split("_")
    if name[0].isupper():
        scene = next(i for i, word in enumerate(words) if word.startswith("SCENE"))
        words = words[scene + 1 :]
    return " ".join(words)


def _wheel_file(task: Task, kind: str, suffix: str) -> Path:
    path = hf.libero_root() / kind / task.suite / f"{task.name}{suffix}"
    if not path.exists():
        raise HoneError(f"hf-libero has no '{path.name}' in {kind}/{task.suite}. Install hf-libero==0.1.4 again.")
    return path


def _read_array(path: Path) -> np.ndarray | None:
    """The cached array, or None where there is none that can be read."""
    if not path.exists():
        return None
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        log.warning("cached initial states %s are damaged; converting them again", path.name)
        return None


def _convert(source: Path) -> np.ndarray:
    import torch

    # Where NumPy keeps the functions that rebuild an array depends on its version.
    numpy_core = importlib.import_module("numpy._core" if hasattr(np, "_core") else "numpy.core")
    allowed = [
        (numpy_core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        type(np.dtype(np.float64)),
    ]
    with torch.serialization.safe_globals(allowed):
        states = torch.load(source, weights_only=True)
    return np.ascontiguousarray(states, dtype=np.float64)
