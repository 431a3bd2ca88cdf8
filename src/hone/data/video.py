"""Pictures to H.264 files and back, by the ffmpeg that imageio-ffmpeg brings."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import IO

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
        self._ffmpeg: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None

    def read(self, path: Path, start: int, count: int) -> UInt8[np.ndarray, "T H W 3"]:
        """Pictures `start` to `start + count - 1` of the file.

        Raises `HoneError` where it is missing, damaged or too short.
        """
        if path != self._path or start < self._next:
            self._open(path)
        pictures = []
        while self._next < start + count:
            picture = self._picture()
            if picture is None:
                raise HoneError(
                    f"video '{path}' ends after {self._next} pictures, but an episode needs {start} to "
                    f"{start + count - 1}{self._complaint()}. Fetch it again."
                )
            if self._next >= start:
                pictures.append(picture)
            self._next += 1
        return np.stack(pictures)

    def close(self) -> None:
        """Stop ffmpeg, whether or not it has come to the end."""
        if self._ffmpeg is not None:
            self._ffmpeg.kill()
            self._ffmpeg.communicate()
        if self._complaints is not None:
            self._complaints.close()
        self._path = self._ffmpeg = self._complaints = None

    def _open(self, path: Path) -> None:
        import imageio_ffmpeg

        self.close()
        if not path.exists():
            raise HoneError(f"video '{path}' is missing. Fetch the whole data set, videos/ included.")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
        command += ["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._ffmpeg = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._complaints
        )
        self._path, self._next = path, 0

    def _picture(self) -> UInt8[np.ndarray, "H W 3"] | None:
        """The next picture, `None` at the end. In PPM each one says how large it is: `P6`, `width height`, `255`."""
        assert self._ffmpeg is not None
        assert self._ffmpeg.stdout is not None
        stream = self._ffmpeg.stdout
        if stream.readline() != b"P6\n":
            return None
        width, height = map(int, stream.readline().split())
        stream.readline()
        content = stream.read(width * height * 3)
        if len(content) < width * height * 3:
            return None
        return np.frombuffer(content, np.uint8).reshape(height, width, 3)

    def _complaint(self) -> str:
        """What ffmpeg had to say, in brackets."""
        assert self._ffmpeg is not None
        assert self._complaints is not None
        self._ffmpeg.wait()
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip()
        return f" ({said.splitlines()[-1]})" if said else ""


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
