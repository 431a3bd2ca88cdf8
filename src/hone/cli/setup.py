"""Install hf-libero, which carries LIBERO's tasks, into the Python environment that runs this command.

It is installed without its dependencies: Hone already has those that composing a scene needs, and the others break a
CPU build of PyTorch (docs/decisions/0001).
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata

from hone.cli.output import people
from hone.errors import HoneError

HF_LIBERO = "0.1.4"
"""The version whose tasks, initial states and scene composition Hone was tested with."""


@dataclass(frozen=True)
class Config:
    force: bool = False
    """Install even if it is already there."""


def installed_hf_libero() -> str | None:
    """The installed version of hf-libero, or `None`. Does not import it: its first import asks questions."""
    try:
        return metadata.version("hf-libero")
    except metadata.PackageNotFoundError:
        return None


def run(config: Config) -> int:
    console = people()
    if installed_hf_libero() == HF_LIBERO and not config.force:
        console.print(f"hf-libero {HF_LIBERO} is already installed.")
        return 0
    requirement = f"hf-libero=={HF_LIBERO}"
    if importlib.util.find_spec("pip") is None:
        raise HoneError(f"this environment has no pip. Run: uv pip install --no-deps {requirement}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", requirement]
    if config.force:
        command.append("--force-reinstall")
    # pip's messages go to standard error, like everything that is meant for people.
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        raise HoneError(f"pip could not install {requirement}; its message is above. Run `hone setup` again.")
    console.print(f"Installed {requirement} without its dependencies.")
    return 0
