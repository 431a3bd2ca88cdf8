"""What a key of a declaration finds in a gymnasium observation.

A key is a path into nested dictionaries, with a slice where only part of a vector is meant: `agent_pos`,
`pixels.top`, `observation[0:4]`. An observation that is no dictionary has the one key `observation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from hone.errors import HoneError, unknown_name

ROOT = "observation"
"""Key of an observation that is no dictionary."""
DRAWN = "render"
"""Key of the picture that the environment draws when it is asked to, and only then."""
_KEY = re.compile(r"(?P<path>[^\[\]]+)(\[(?P<start>\d*):(?P<stop>\d*)\])?")


@dataclass(frozen=True)
class Key:
    """Where to look in an observation."""

    text: str

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.text):
            raise HoneError(f"'{self.text}' is not a key; write `name`, `outer.inner` or `name[0:4]`.")

    def read(self, observation: Any) -> Any:
        """What lies there."""
        found = _KEY.fullmatch(self.text)
        assert found is not None
        known = leaves(observation)
        if found["path"] not in known:
            raise unknown_name("key of the observation", found["path"], known)
        value = known[found["path"]]
        if found[2] is None:
            return value
        start, stop = (int(bound) if bound else None for bound in (found["start"], found["stop"]))
        return np.asarray(value)[start:stop]


def leaves(observation: Any) -> dict[str, Any]:
    """Everything in an observation that is not a dictionary, by its dotted path."""
    if not isinstance(observation, Mapping):
        return {ROOT: observation}
    found: dict[str, Any] = {}
    for name, value in observation.items():
        inner = leaves(value) if isinstance(value, Mapping) else {"": value}
        found |= {f"{name}.{path}".rstrip("."): leaf for path, leaf in inner.items()}
    return found


def describe(observation: Any) -> str:
    """The keys of an observation with their shapes, for an error message."""
    return ", ".join(f"{path} {list(np.shape(leaf))}" for path, leaf in leaves(observation).items())


def vector(observation: Any, keys: Sequence[str]) -> Float32[np.ndarray, " D"]:
    """The numbers under these keys, one after the other."""
    parts = [np.ravel(np.asarray(Key(key).read(observation), np.float32)) for key in keys]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def picture(pixels: Any, size: int, what: str) -> UInt8[np.ndarray, "S S 3"]:
    """A picture of any size as a square of `size` pixels; each is the mean of the area it covers."""
    array = np.asarray(pixels)
    if array.ndim != 3 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise HoneError(
            f"'{what}' gives {array.dtype} of shape {list(array.shape)}, which is no picture (bytes [H, W, 3])."
        )
    if array.shape[:2] == (size, size):
        return np.ascontiguousarray(array)
    return np.asarray(Image.fromarray(array).resize((size, size), Image.Resampling.BOX))
