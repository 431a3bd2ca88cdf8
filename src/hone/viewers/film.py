"""An episode as a film: its cameras side by side, at the speed at which it happened."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hone.errors import HoneError
from hone.specs import Spec
from hone.types import Episode

SMALLEST_SIDE = 224
"""Pictures smaller than this are shown larger, by whole factors."""
FASTEST_HZ = 30.0
"""Frames per second, at most: of a faster robot every n-th step is shown."""


def write_mp4(episode: Episode, spec: Spec, path: Path) -> None:
    import imageio.v3 as iio  # slow to import

    if episode.images is None or not episode.images.shape[1]:
        raise HoneError(
            f"episode '{path.stem}' has no pictures to film. Record with images, or look at it as --form rrd."
        )
    every = max(1, round(spec.control_rate_hz / FASTEST_HZ))
    factor = -(-SMALLEST_SIDE // episode.images.shape[2])
    frames = [np.concatenate(list(pictures), axis=1) for pictures in episode.images[::every]]
    large = np.stack(frames).repeat(factor, axis=1).repeat(factor, axis=2)
    iio.imwrite(path, large, fps=spec.control_rate_hz / every, codec="libx264", quality=6, macro_block_size=2)
