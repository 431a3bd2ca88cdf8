"""Small procedural pictures for floor, walls and wood, and a PNG writer for them."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from jaxtyping import Float64, UInt8

SIZE = 64


def png(pixels: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """An 8-bit RGB PNG file (one unfiltered IDAT chunk, RFC 2083)."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tiles(colour: tuple[float, float, float], joint: tuple[float, float, float]) -> UInt8[np.ndarray, "64 64 3"]:
    """Four square tiles with a joint around each, and a little unevenness."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    on_joint = ((x % (SIZE // 2)) < 2) | ((y % (SIZE // 2)) < 2)
    shade = 0.03 * _noise(seed=1, blur=2)[..., None]
    return _to_bytes(np.where(on_joint[..., None], np.asarray(joint), np.asarray(colour) + shade))


def plaster(colour: tuple[float, float, float]) -> UInt8[np.ndarray, "64 64 3"]:
    """An even wall with a faint grain."""
    return _to_bytes(np.asarray(colour) + 0.02 * _noise(seed=2, blur=1)[..., None])


def wood(light: tuple[float, float, float], dark: tuple[float, float, float]) -> UInt8[np.ndarray, "64 64 3"]:
    """Grain along x: bands that waver slowly. Repeats without a seam."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] * (2 * np.pi / SIZE)
    grain = 0.5 + 0.5 * np.sin(6 * y + 0.8 * np.sin(x) + 0.5 * np.sin(2 * x + 3 * y))
    grain = np.clip(grain + 0.1 * _noise(seed=3, blur=1), 0, 1)[..., None]
    return _to_bytes(grain * np.asarray(light) + (1 - grain) * np.asarray(dark))


def _noise(seed: int, blur: int) -> Float64[np.ndarray, "64 64"]:
    """Smooth noise of unit scale that repeats at the edges. The same for the same seed."""
    noise = np.random.default_rng(seed).uniform(-1, 1, (SIZE, SIZE))
    for _ in range(blur):
        noise = sum(np.roll(noise, shift, axis) for axis in (0, 1) for shift in (-1, 0, 1)) / 6
    return noise / np.abs(noise).max()


def _to_bytes(colour: Float64[np.ndarray, "64 64 3"]) -> UInt8[np.ndarray, "64 64 3"]:
    return np.round(np.clip(colour, 0, 1) * 255).astype(np.uint8)


TEXTURES: dict[str, UInt8[np.ndarray, "64 64 3"]] = {
    # LIBERO picks these by the scene's style; the names are fixed.
    "light-gray-floor-tile": tiles((0.80, 0.80, 0.81), (0.62, 0.62, 0.64)),
    "light-gray-plaster": plaster((0.86, 0.86, 0.85)),
    "gray_ceramic_tile": tiles((0.60, 0.61, 0.62), (0.45, 0.46, 0.47)),
    "yellow_linen_wall_texture": plaster((0.90, 0.84, 0.66)),
    "seamless_wood_planks_floor": wood((0.66, 0.50, 0.36), (0.58, 0.43, 0.30)),
    "table-wood": wood((0.85, 0.75, 0.63), (0.80, 0.69, 0.56)),
    "cabinet-wood": wood((0.40, 0.25, 0.13), (0.32, 0.19, 0.09)),
}
"""Files textures/<name>.png."""
