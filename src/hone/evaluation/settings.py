"""A run's settings read back from its config.json into the dataclass they came from."""

from __future__ import annotations

import inspect
import types
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from hone.errors import HoneError, unknown_name

T = TypeVar("T")


def read_settings(kind: type[T], data: Any, where: str) -> T:
    """`data` (JSON) as a `kind`: nested dataclasses, tuples, paths and unions as its annotations say.

    Unknown settings are an error, absent ones take their default. Of a union of dataclasses the member that has just
    these fields is taken.
    """
    return typing.cast(T, _read(kind, data, where))


def _read(kind: Any, data: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin is typing.Annotated:
        return _read(get_args(kind)[0], data, where)
    if origin in (typing.Union, types.UnionType):
        return _read(_member(get_args(kind), data, where), data, where)
    if inspect.isabstract(kind):  # an environment: which one, its fields tell
        return _read(_member(tuple(kind.__subclasses__()), data, where), data, where)
    if origin is tuple and isinstance(data, list):
        inner = get_args(kind)
        kinds = inner[:1] * len(data) if inner[-1] is Ellipsis else inner
        return tuple(_read(part, entry, where) for part, entry in zip(kinds, data, strict=True))
    if is_dataclass(kind) and isinstance(kind, type):
        return _read_fields(kind, data, where)
    if kind is Path and isinstance(data, str):
        return Path(data)
    return data


def _read_fields(kind: type[Any], data: Any, where: str) -> Any:
    known = {field.name for field in fields(kind)}
    if not isinstance(data, dict):
        raise HoneError(f"{where}: {kind.__name__} is written as {data!r}, not as its fields.")
    for name in data:
        if name not in known:
            raise unknown_name(f"setting of {kind.__name__} in {where}", name, known)
    hints = get_type_hints(kind, include_extras=True)
    try:
        return kind(**{name: _read(hints[name], value, where) for name, value in data.items()})
    except (TypeError, ValueError) as error:
        raise HoneError(f"{where} has a value of the wrong type: {error}.") from error


def _member(members: tuple[Any, ...], data: Any, where: str) -> Any:
    """The member of a union that `data` was written from."""
    if data is None:
        return type(None)
    bare = [get_args(m)[0] if get_origin(m) is typing.Annotated else m for m in members]
    classes: list[type[Any]] = [m for m in bare if isinstance(m, type) and is_dataclass(m)]
    if not isinstance(data, dict) or not classes:
        return next((m for m in members if m is not type(None)), Any)
    fitting = [m for m in classes if {f.name for f in fields(m)} == set(data)]
    if len(fitting) != 1:
        names = ", ".join(m.__name__ for m in classes)
        raise HoneError(f"{where} does not say which of {names} is meant; give the command again that made the run.")
    return fitting[0]
