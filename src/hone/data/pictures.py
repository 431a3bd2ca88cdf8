"""Pictures of recordings: out of their encoding, and to another size."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import UInt8

from hone.errors import HoneError


def decoded(content: bytes, where: str) -> UInt8[np.ndarray, "H W 3"]:
    """One PNG or JPEG. Raises `HoneError` where it is damaged."""
    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    except (OSError, ValueError) as error:
        raise HoneError(f"{where}: a picture cannot be decoded ({error}).") from error


def resized(pictures: UInt8[np.ndarray, "T H W 3"], side: int) -> UInt8[np.ndarray, "T S S 3"]:
    """Each picture at `side` pixels a side, averaged over areas."""
    if pictures.shape[1:3] == (side, side):
        return np.ascontiguousarray(pictures)
    from PIL import Image

    box = Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(p)).resize((side, side), box)) for p in pictures])
