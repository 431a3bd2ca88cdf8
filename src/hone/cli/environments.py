"""`--env NAME`: which simulator a verb runs in; its own options are then `--env.OPTION`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hone.envs.base import EnvironmentConfig
from hone.errors import HoneError, unknown_name


def chosen_environment(arguments: Sequence[str]) -> tuple[EnvironmentConfig | None, list[str]]:
    """The environment that `--env NAME` asks for, `None` where it is not given, and the other arguments."""
    rest = list(arguments)
    for at, argument in enumerate(rest):
        flag, equals, value = argument.partition("=")
        if flag != "--env":
            continue
        if not equals and at + 1 == len(rest):
            raise HoneError("--env names no environment; write `--env libero` or `--env gym:ID`.")
        name = value if equals else rest[at + 1]
        return environment(name), rest[:at] + rest[at + (1 if equals else 2) :]
    return None, rest


def environment(name: str) -> EnvironmentConfig:
    """`libero`, or `gym:` and what is registered with gymnasium."""
    kind, _, which = name.partition(":")
    if kind not in KINDS:
        raise unknown_name("environment", kind, KINDS)
    return KINDS[kind](which)


def _libero(which: str) -> EnvironmentConfig:
    from hone.envs.libero.environment import LiberoConfig

    if which:
        raise HoneError(f"`libero` takes nothing after it; choose a suite with --suite, not '{which}'.")
    return LiberoConfig()


def _gym(which: str) -> EnvironmentConfig:
    from hone.envs.registered.known import declaration

    return declaration(which)


KINDS: dict[str, Callable[[str], EnvironmentConfig]] = {"libero": _libero, "gym": _gym}
