"""The only door to hf-libero and robosuite: finds them, imports them quietly, composes a task's scene.

hf-libero asks a question on standard input at its first import, downloads assets when it finds none, and its `reset`
swallows every exception and tries again for ever. None of this happens through here: it is given a configuration of
Hone's own, the folder of an asset pack, and a bounded number of resets.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hone.cache import cache_dir, write_atomically
from hone.errors import HoneError
from hone.types import Task

HORIZON = 100_000
"""Episode length given to robosuite: long enough never to matter, since Hone counts steps itself."""
RESET_ATTEMPTS = 20
INSTALL = "pip install --no-deps hf-libero==0.1.4"


@lru_cache
def libero_root() -> Path:
    """The package folder of hf-libero (with bddl_files/, init_files/, benchmark/), found without importing it."""
    spec = importlib.util.find_spec("libero")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        root = Path(folder) / "libero"
        if (root / "benchmark" / "libero_suite_task_map.py").exists():
            return root
    raise HoneError(f"hf-libero is not installed. Run `{INSTALL}` (`make` and `hone setup` do this).")


@lru_cache
def robosuite_root() -> Path:
    """The package folder of robosuite, found without importing it."""
    spec = importlib.util.find_spec("robosuite")
    if spec is None or not spec.submodule_search_locations:
        raise HoneError("robosuite is not installed. Run `pip install robosuite==1.4.0` (`make` does this).")
    return Path(spec.submodule_search_locations[0])


def compose(task: Task, assets: Path, image_size: int | None = None) -> Any:
    """hf-libero's `ControlEnv` for a task, after `seed(0)` and one `reset()`.

    `assets` is a folder in LIBERO's layout. State only, unless `image_size` is given: then it is an
    `OffScreenRenderEnv`, whose observations hold both cameras' pictures, drawn after every step. It draws in whatever
    OpenGL context is current, so let it not take turns with another renderer. Each call builds a new environment;
    NumPy's global generator, which LIBERO's samplers read, is left as it was found.
    """
    from hone.envs.libero.suites import bddl_file  # suites reads its files through this module

    if not (assets / "scenes").is_dir():
        raise HoneError(f"no LIBERO assets in '{assets}' (expected a sub-folder scenes/).")
    path = bddl_file(task)
    generator_state = np.random.get_state()
    try:
        with _quietly():
            libero, env_wrapper = _import_libero()
            libero._assets_path_cache = str(assets)
            common = {"bddl_file_name": str(path), "horizon": HORIZON, "ignore_done": True}
            if image_size is None:
                env = env_wrapper.ControlEnv(**common, use_camera_obs=False, has_offscreen_renderer=False)
            else:
                env = env_wrapper.OffScreenRenderEnv(**common, camera_heights=image_size, camera_widths=image_size)
            env.seed(0)
            reset(env)
    except FileNotFoundError as error:
        raise _lacks(assets, error.filename, task) from error
    except ValueError as error:  # how MuJoCo says that it cannot read a mesh or a texture
        unread = re.search(rf"'?({re.escape(str(assets))}[^']*)'?", str(error))
        if unread is None:
            raise
        raise _lacks(assets, unread[1], task) from error
    finally:
        np.random.set_state(generator_state)
    return env


def _lacks(assets: Path, file: str, task: Task) -> HoneError:
    return HoneError(
        f"asset pack '{assets}' lacks '{file}', or it cannot be read; {task.suite} '{task.name}' needs it. "
        "The pack 'standin' has the files of every suite; a folder of LIBERO's originals may lack some."
    )


def reset(control_env: Any) -> Any:
    """`control_env.reset()` without its endless loop: retries only where the objects did not fit."""
    from robosuite.utils.errors import RandomizationError

    for _ in range(RESET_ATTEMPTS):
        try:
            return control_env.env.reset()
        except RandomizationError:
            continue
    raise HoneError(f"LIBERO could not place the objects of '{control_env.env.bddl_file_name}'.")


def _import_libero() -> tuple[Any, Any]:
    """The modules `libero.libero` and `libero.libero.envs.env_wrapper`."""
    root = libero_root()
    with _libero_configuration(root):
        try:
            import libero.libero as libero
            from libero.libero.envs import env_wrapper
        except ModuleNotFoundError as error:
            raise HoneError(
                f"hf-libero needs the missing package '{error.name}'. "
                f"Install Hone's requirements again, then `{INSTALL}` (`make` and `hone setup` do this)."
            ) from error
    return libero, env_wrapper


@contextlib.contextmanager
def _libero_configuration(root: Path) -> Iterator[None]:
    """Point hf-libero at a configuration of Hone's own for its first import; a user's `~/.libero` is not touched."""
    folder = cache_dir() / "libero"
    paths = {
        "benchmark_root": root,
        "bddl_files": root / "bddl_files",
        "init_states": root / "init_files",
        "datasets": root.parent / "datasets",
        "assets": root / "assets",
    }
    text = "".join(f"{key}: {str(path)!r}\n" for key, path in paths.items()).encode()
    file = folder / "config.yaml"
    if not file.exists() or file.read_bytes() != text:
        write_atomically(file, text)
    previous = os.environ.get("LIBERO_CONFIG_PATH")
    os.environ["LIBERO_CONFIG_PATH"] = str(folder)
    try:
        yield
    finally:
        if previous is None:
            del os.environ["LIBERO_CONFIG_PATH"]
        else:
            os.environ["LIBERO_CONFIG_PATH"] = previous


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep robosuite's and gym's notices from the terminal; warnings of old third-party code are not the user's."""
    root_logger = logging.getLogger()
    level, handlers = root_logger.level, list(root_logger.handlers)
    discard = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(discard), contextlib.redirect_stderr(discard):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            root_logger.setLevel(level)
            root_logger.handlers[:] = handlers
            logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
