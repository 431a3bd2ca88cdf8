"""Pictures to H.264 files and back, by the ffmpeg that imageio-ffmpeg brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from hone.errors import HoneError

QUALITY = ("-crf", "12", "-preset", "medium", "-g", "2", "-bf", "0")
"""Near to lossless, and every second picture is whole, so that any one is quickly reached (LeRobot's habit)."""


class VideoWriter:
    """One H.264 file (yuv420p), picture after picture. `frames` counts those written."""

    def __init__(self, path: Path, side: int, fps: float) -> None:
        import imageio_ffmpeg  # slow to import

        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.frames = 0
        self._ffmpeg = imageio_ffmpeg.write_frames(
            path,
            (side, side),
            fps=fps,
            codec="libx264",
            quality=None,
            macro_block_size=1,
            ffmpeg_log_level="error",
            output_params=[*QUALITY, "-threads", "1"],
        )
        self._ffmpeg.send(None)

    def write(self, pictures: UInt8[np.ndarray, "T S S 3"]) -> None:
        for picture in pictures:
            try:
                self._ffmpeg.send(np.ascontiguousarray(picture))
            except OSError as error:
                raise HoneError(f"ffmpeg could not write '{self.path}': {_last_line(error)}") from error
        self.frames += len(pictures)

    def close(self) -> None:
        """Finish the file, and look whether all pictures are in it: ffmpeg does not say when it failed at the end."""
        import imageio_ffmpeg

        self._ffmpeg.close()
        try:
            found, _ = imageio_ffmpeg.count_frames_and_secs(self.path)
        except (OSError, RuntimeError) as error:
            raise HoneError(f"ffmpeg could not finish '{self.path}': {_last_line(error)}") from error
        if found != self.frames:
            raise HoneError(f"'{self.path}' has {found} pictures, not {self.frames}; is the disk full?")

    def abandon(self) -> None:
        """Stop ffmpeg; what is in the file is of no use."""
        self._ffmpeg.close()

    @property
    def megabytes(self) -> float:
        """What is on disk by now."""
        return self.path.stat().st_size / 2**20 if self.path.exists() else 0.0


class VideoReader:
    """Stretches of pictures out of files of many episodes; cheapest when they are asked for in order."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._next = 0
        self._size = (0, 0)
        self._frames: Iterator[bytes] = iter(())

    def read(self, path: Path, start: int, count: int) -> UInt8[np.ndarray, "T H W 3"]:
        """Pictures `start` to `start + count - 1` of the file.

        Raises `HoneError` where it is missing, damaged or too short.
        """
        if path != self._path or start < self._next:
            self._open(path)
        width, height = self._size
        pictures = []
        try:
            for frame in self._frames:
                self._next += 1
                if self._next > start:
                    pictures.append(np.frombuffer(frame, np.uint8).reshape(height, width, 3))
                if self._next == start + count:
                    break
        except (OSError, RuntimeError) as error:
            raise HoneError(f"video '{path}' is damaged ({_last_line(error)}). Fetch it again.") from error
        if len(pictures) < count:
            raise HoneError(
                f"video '{path}' ends after {self._next} pictures, but an episode needs {start} to {start + count - 1}. "
                "Fetch it again."
            )
        return np.stack(pictures)

    def close(self) -> None:
        frames, self._frames, self._path = self._frames, iter(()), None
        if hasattr(frames, "close"):
            frames.close()  # pyright: ignore[reportAttributeAccessIssue]

    def _open(self, path: Path) -> None:
        import imageio_ffmpeg

        self.close()
        if not path.exists():
            raise HoneError(f"video '{path}' is missing. Fetch the whole data set, videos/ included.")
        frames = imageio_ffmpeg.read_frames(path, pix_fmt="rgb24")
        try:
            about = next(frames)
        except (OSError, RuntimeError, StopIteration) as error:
            raise HoneError(f"video '{path}' cannot be read ({_last_line(error)}). Fetch it again.") from error
        self._path, self._next, self._size, self._frames = path, 0, about["source_size"], frames


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
