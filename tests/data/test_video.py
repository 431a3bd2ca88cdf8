"""Films: pictures come back, from anywhere in a file, and what is broken is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hone.data.video import VideoReader, VideoWriter
from hone.errors import HoneError


def pictures(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth colours that change from picture to picture; red grows down the rows, green along the columns."""
    ramp = np.linspace(0, 120, side)
    shift = 8 * np.arange(count)[:, None, None] + np.zeros((1, side, side))
    planes = np.stack([ramp[None, :, None] + shift * 0 + seed, ramp[None, None, :] + shift * 0, shift], axis=-1)
    return np.broadcast_to(planes, (count, side, side, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "deep" / "file-000.mp4"
    writer = VideoWriter(path, 32, 20.0)
    writer.write(pictures(12))
    writer.write(pictures(6, seed=100))
    writer.close()
    return path


def test_stretches_come_back_in_any_order(film: Path, reader: VideoReader):
    both = np.concatenate([pictures(12), pictures(6, seed=100)])
    for start, count in ((0, 3), (5, 4), (12, 6), (2, 1)):
        got = reader.read(film, start, count)
        assert got.shape == (count, 32, 32, 3)
        assert (
            np.abs(got.astype(int) - both[start : start + count]).max() <= 8
        )  # a picture further is 8 apart on average
        assert np.abs(got.astype(int) - both[start : start + count]).mean() < 2


@pytest.fixture
def reader() -> Iterator[VideoReader]:
    reader = VideoReader()
    yield reader
    reader.close()


def test_a_film_that_is_too_short_is_named(film: Path, reader: VideoReader):
    with pytest.raises(HoneError, match=r"file-000\.mp4' ends after 18 pictures.* 10 to 19\."):
        reader.read(film, 10, 10)


def test_a_missing_film_is_named(tmp_path: Path, reader: VideoReader):
    with pytest.raises(HoneError, match=r"nowhere\.mp4' is missing"):
        reader.read(tmp_path / "nowhere.mp4", 0, 1)


def test_a_damaged_film_is_named_and_ffmpeg_says_why(tmp_path: Path, reader: VideoReader):
    (tmp_path / "broken.mp4").write_bytes(b"not a film")
    with pytest.raises(HoneError, match=r"broken\.mp4' ends after 0 pictures.*\(.*Invalid data"):
        reader.read(tmp_path / "broken.mp4", 0, 1)


def test_a_film_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "taken.mp4").mkdir()
    writer = VideoWriter(tmp_path / "taken.mp4", 32, 20.0)
    with pytest.raises(HoneError, match=r"could not write .*taken\.mp4' \("):
        writer.write(pictures(1000))  # more than a pipe holds, so that ffmpeg's end is noticed
    writer.abandon()
