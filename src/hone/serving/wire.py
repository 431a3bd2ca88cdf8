"""Arrays in msgpack, as openpi's and vla-eval's clients write them. Nothing is ever unpickled.

Both send an array as a map with a marker, raw bytes, dtype and shape. openpi's keys are bytes, vla-eval's are strings;
both are read here. vla-eval also sends pictures as PNG or JPEG. Only plain numbers are allowed: an object array would
be a pickle in disguise, and is refused in both directions.
"""

from __future__ import annotations

import io
import math
import re
from functools import partial
from typing import Any, Literal

import numpy as np

from hone.errors import HoneError

Style = Literal["bytes", "text"]
"""How the keys of an array's map are written: `bytes` by openpi, `text` by vla-eval."""

MAX_PIXELS = 4096 * 4096
"""Larger pictures are refused before they are decoded."""
_PLAIN = re.compile(r"[<>|=]?[biuf][1248]")


class WireError(HoneError):
    """What came over the wire is not what the protocol has."""


def pack(data: Any, style: Style) -> bytes:
    """`data` (maps, lists, text, numbers, arrays of plain numbers) as one msgpack message."""
    return _msgpack().packb(data, default=partial(_encode, style))


def unpack(frame: bytes, limit: int | None = None) -> Any:
    """The inverse of `pack`, for either style. Arrays are read-only views of the frame.

    Raises `WireError` for half a message, for trailing bytes, for arrays whose bytes do not fit their shape and for
    any dtype but plain numbers.
    """
    if limit is not None and len(frame) > limit:
        raise WireError(f"a message of {len(frame):,} bytes came; {limit:,} are allowed.")
    try:
        return _msgpack().unpackb(frame, object_hook=_decode, raw=False)
    except HoneError:
        raise
    except Exception as error:  # msgpack has no common base class for what it raises
        raise WireError(
            f"{len(frame):,} bytes came that are no whole msgpack message ({type(error).__name__}: {error})."
        ) from error


def _encode(style: Style, value: Any) -> Any:
    if isinstance(value, np.generic):
        return _plain_dtype(value.dtype) and value.item()
    if not isinstance(value, np.ndarray):
        raise WireError(f"{type(value).__name__} cannot be sent; send text, numbers and arrays of numbers.")
    _plain_dtype(value.dtype)
    array = {"data": value.tobytes(), "dtype": value.dtype.str, "shape": list(value.shape)}
    if style == "text":
        return {"__ndarray__": True, **array}
    return {b"__ndarray__": True, **{key.encode(): entry for key, entry in array.items()}}


def _decode(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value or b"__npgeneric__" in value:
        value = {key.decode() if isinstance(key, bytes) else key: entry for key, entry in value.items()}
    if "__ndarray__" in value:
        return _array(value)
    if "__npgeneric__" in value:
        return _plain_dtype(value.get("dtype")).type(value.get("data"))
    if "__image__" in value:
        return _picture(value)
    return value


def _array(value: dict[str, Any]) -> np.ndarray:
    dtype = _plain_dtype(value.get("dtype"))
    data, shape = value.get("data"), value.get("shape")
    if not isinstance(shape, list | tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise WireError(f"an array came with the shape {shape!r}.")
    if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
        size = len(data) if isinstance(data, bytes) else 0
        raise WireError(f"an array of shape {list(shape)} and type {dtype.str} came with {size:,} bytes.")
    return np.ndarray(shape, dtype, data)


def _picture(value: dict[str, Any]) -> np.ndarray:
    """vla-eval's pictures `[H, W, C]`: `raw` bytes, `png` or `jpeg`."""
    kind = value.get("format")
    if kind == "raw":
        return _array(value)
    if kind not in ("png", "jpeg") or not isinstance(value.get("data"), bytes):
        raise WireError(f"a picture came as {kind!r}; raw, png and jpeg are known.")
    from PIL import Image  # comes with imageio; only vla-eval's clients send compressed pictures

    try:
        with Image.open(io.BytesIO(value["data"]), formats=[kind.upper()]) as picture:
            if math.prod(picture.size) > MAX_PIXELS:
                raise WireError(f"a picture of {picture.size} pixels came; {MAX_PIXELS:,} are allowed.")
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise WireError(f"a picture came that is no {kind} ({error}).") from error


def _plain_dtype(given: Any) -> np.dtype[Any]:
    text = given.str if isinstance(given, np.dtype) else given
    if not isinstance(text, str) or not _PLAIN.fullmatch(text):
        raise WireError(f"an array of type {text!r} is refused; only booleans, integers and floats are sent.")
    return np.dtype(text)


def _msgpack() -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise HoneError("policy servers need msgpack: pip install 'hone-vla[serve]'.") from error
    return msgpack
