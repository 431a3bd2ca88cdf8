"""From what `--env gym:…` says to a declaration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from hone.envs.registered import metaworld
from hone.envs.registered.declaration import GymConfig, GymTask
from hone.errors import HoneError, unknown_name

KNOWN: dict[str, Callable[[], GymConfig]] = {
    "Meta-World/MT10": metaworld.mt10,
    "Meta-World/MT50": metaworld.mt50,
}
"""Declarations that come with Hone."""


def declaration(name: str) -> GymConfig:
    """Of one that comes with Hone, of a JSON file, or an empty one for options to fill in."""
    if name in KNOWN:
        return KNOWN[name]()
    if name.endswith(".json"):
        return read_declaration(Path(name))
    return GymConfig(name)


def read_declaration(path: Path) -> GymConfig:
    """The fields of `GymConfig` as JSON; `options` an object, `suite_tasks` a list of {name, instruction, options}."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        built = {name: _value(name, value) for name, value in data.items()}
    except FileNotFoundError:
        raise HoneError(f"there is no declaration at '{path}'.") from None
    except (OSError, ValueError, AttributeError) as error:
        raise HoneError(f"'{path}' is not a JSON object ({error}).") from error
    known = [field.name for field in fields(GymConfig)]
    for name in built:
        if name not in known:
            raise unknown_name(f"field of the declaration '{path}'", name, known)
    try:
        return GymConfig(**built)
    except TypeError as error:
        raise HoneError(f"the declaration '{path}' has a value of the wrong type: {error}.") from error


def _value(name: str, value: Any) -> Any:
    if name == "suite_tasks":
        return tuple(GymTask(**task) for task in value)
    if name == "options":
        return json.dumps(value)
    return tuple(value) if isinstance(value, list) else value
