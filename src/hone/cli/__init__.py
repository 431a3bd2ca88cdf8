"""The `hone` command: one file per verb, imported only when it is asked for.

A verb is a module with `Config` (a frozen dataclass that tyro turns into options) and `run(config) -> exit code`. Its
docstring is its help. It may also have `resume_hint(config) -> str`, which is printed after Ctrl-C, and, where it runs
in an environment, `within(environment) -> Config`: its options as they are by default in the one that `--env` chose.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from hone import __version__
from hone.cli.system import gl_backend
from hone.errors import HoneError, unknown_name

VERBS: dict[str, str] = {
    "setup": "install the simulator's task files (hf-libero) into this environment",
    "doctor": "check that this machine can run Hone, and say what to do where it cannot",
    "demo": "improve a small policy on three LIBERO tasks and report it, in minutes, on two CPU cores",
    "demos": "record demonstrations by a scripted expert",
    "data": "write demonstrations as a LeRobot data set, import them from elsewhere, audit a data set",
    "clone": "train a policy on recorded demonstrations",
    "value": "teach a search what is worth trying: a value of states, and a library of chunks",
    "eval": "measure a policy's success by the rules of evidence",
    "serve": "serve a policy to robots and other programs over a websocket",
    "improve": "make a policy better by itself and prove the gain",
    "bench": "measure here what Hone claims: the engine's speed, the agentic loop's gain",
    "export": "write a policy as a folder that LeRobot loads",
    "runs": "list, compare and resume runs",
    "view": "turn recorded episodes into films, or recordings for the rerun viewer",
    "report": "turn the folder of a run into one HTML page",
}
"""Name of the verb and of its module, and what it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Exit code 0 if all went well, 1 if a check failed, 2 for bad input, 130 after Ctrl-C."""
    verb, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb in ("--help", "-h", "help"):
        print(usage())
        return 0
    if verb == "--version":
        print(f"hone {__version__}")
        return 0
    hint = "run the same command again"
    try:
        if verb not in VERBS:
            raise unknown_name("command", verb, VERBS)
        # MuJoCo reads this when it is first imported, and its own default needs a screen.
        os.environ.setdefault("MUJOCO_GL", gl_backend() or "egl")
        # torch's threads spin while they wait for each other; on two cores that anything else uses too, spinning made a
        # cloning step eight times slower (1.80 s against 0.22 s). Read once, when torch is first imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import tyro  # slow to import

        from hone.cli.environments import chosen_environment

        module = importlib.import_module(f"hone.cli.{verb}")
        environment, rest = chosen_environment(rest)
        options: dict[str, Any] = {}
        if environment is not None:
            if not hasattr(module, "within"):
                raise HoneError(f"`hone {verb}` runs in no environment; leave --env out.")
            options["default"] = module.within(environment)
        config = tyro.cli(module.Config, args=rest, prog=f"hone {verb}", description=module.__doc__, **options)
        if hasattr(module, "resume_hint"):
            hint = module.resume_hint(config)
        return module.run(config)
    except HoneError as error:
        return _fail(str(error))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _fail(f"the disk is full (writing {error.filename or 'a file'}). Free some space, then {hint}.")
    except KeyboardInterrupt:
        print(f"hone: interrupted; {hint}.", file=sys.stderr)
        return 130


def usage() -> str:
    """What `hone --help` prints."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {what}" for name, what in VERBS.items()]
    return "\n".join(
        [
            "Hone makes a vision-language-action robot policy better by itself, and proves the gain.",
            "",
            "usage: hone COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "hone COMMAND --help shows the options of a command.",
        ]
    )


def _fail(message: str) -> int:
    # One line, also where the message was put together from several.
    print(f"hone: error: {' '.join(message.split())}", file=sys.stderr)
    return 2
