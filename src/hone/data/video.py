"""Pictures to H.264 files and back, by the ffmpeg that imageio-ffmpeg brings."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from hone.errors import HoneError

QUALITY = ("-crf", "12", "-preset", "medium", "-g", "2", "-bf", "0")
"""Near to lossless, and every second picture is whole, so that any one is quickly reached (LeRobot's habit)."""


class VideoWriter:
    """One H.264 file (yuv420p), picture after picture. `frames` counts those written."""

    def __init__(self, path: Path, side: int, fps: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.frames = 0
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{side}x{side}", "-r", f"{fps:g}", "-i", "-"]
        target = ["-c:v", "libx264", "-pix_fmt", "yuv420p", *QUALITY, "-threads", "1", str(path)]
        self._ffmpeg = _Ffmpeg([*source, *target], stdin=subprocess.PIPE)

    def write(self, pictures: UInt8[np.ndarray, "T S S 3"]) -> None:
        assert self._ffmpeg.process.stdin is not None
        try:
            self._ffmpeg.process.stdin.write(np.ascontiguousarray(pictures).tobytes())
        except OSError as error:
            raise self._failed() from error
        self.frames += len(pictures)

    def close(self) -> None:
        """Finish the file. Raises `HoneError` where ffmpeg could not."""
        assert self._ffmpeg.process.stdin is not None
        try:
            self._ffmpeg.process.stdin.close()
        except OSError as error:
            raise self._failed() from error
        if self._ffmpeg.process.wait() != 0:
            raise self._failed()
        self._ffmpeg.stop()

    def abandon(self) -> None:
        """Stop at once; what is in the file is of no use."""
        self._ffmpeg.stop()

    @property
    def megabytes(self) -> float:
        """What is on disk by now."""
        return self.path.stat().st_size / 2**20 if self.path.exists() else 0.0

    def _failed(self) -> HoneError:
        return HoneError(f"ffmpeg could not write '{self.path}'{self._ffmpeg.complaint()}. Is the disk full?")


class VideoReader:
    """Stretches of pictures out of files of many episodes; cheapest when they are asked for in order."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._next = 0
        self._ffmpeg: _Ffmpeg | None = None

    def read(self, path: Path, start: int, count: int) -> UInt8[np.ndarray, "T H W 3"]:
        """Pictures `start` to `start + count - 1` of the file.

        Raises `HoneError` where it is missing, damaged or too short.
        """
        if self._ffmpeg is None or path != self._path or start < self._next:
            self._ffmpeg = self._open(path)
        pictures = []
        while self._next < start + count:
            picture = _picture(self._ffmpeg.process)
            if picture is None:
                raise HoneError(
                    f"video '{path}' ends after {self._next} pictures, but an episode needs {start} to "
                    f"{start + count - 1}{self._ffmpeg.complaint()}. Fetch it again."
                )
            if self._next >= start:
                pictures.append(picture)
            self._next += 1
        return np.stack(pictures)

    def close(self) -> None:
        if self._ffmpeg is not None:
            self._ffmpeg.stop()
        self._ffmpeg = None

    def _open(self, path: Path) -> _Ffmpeg:
        self.close()
        if not path.exists():
            raise HoneError(f"video '{path}' is missing. Fetch the whole data set, videos/ included.")
        self._path, self._next = path, 0
        target = ["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
        return _Ffmpeg(["-i", str(path), *target], stdout=subprocess.PIPE)


@dataclass(frozen=True)
class Film:
    """What a video file says of itself, and how many pictures are in it."""

    pictures: int
    width: int
    height: int
    fps: float


def probe(path: Path) -> Film:
    """Counts a file's pictures without decoding them. Raises `HoneError` where it is missing or damaged."""
    said = _ffmpeg_says(["-i", str(path), "-map", "0:v:0", "-c", "copy", "-f", "null", "-"], path)
    size = re.search(r"Video:.*? (\d{2,5})x(\d{2,5})", said)
    rate = re.search(r"Video:.*? ([\d.]+)(k?) fps", said)
    counts = re.findall(r"frame=\s*(\d+)", said)
    if size is None or rate is None or not counts:
        raise HoneError(f"video '{path}' is damaged: ffmpeg finds no pictures in it. Fetch it again.")
    fps = float(rate[1]) * (1000 if rate[2] else 1)
    return Film(pictures=int(counts[-1]), width=int(size[1]), height=int(size[2]), fps=fps)


def first_picture(path: Path, start_s: float, fps: float, side: int) -> UInt8[np.ndarray, "S S 3"]:
    """The picture at second `start_s` of a film, `side` pixels a side, averaged over areas."""
    if not path.exists():
        raise HoneError(f"video '{path}' is missing. Fetch the whole data set, videos/ included.")
    target = ["-frames:v", "1", "-vf", f"scale={side}:{side}:flags=area", "-f", "image2pipe", "-c:v", "ppm"]
    seek = ["-ss", f"{max(start_s - 0.5 / fps, 0.0):.6f}", "-i", str(path)]
    ffmpeg = _Ffmpeg([*seek, *target, "-pix_fmt", "rgb24", "-"], stdout=subprocess.PIPE)
    try:
        picture = _picture(ffmpeg.process)
    finally:
        ffmpeg.stop()
    if picture is None:
        raise HoneError(f"video '{path}' has no picture at {start_s:g} s. Fetch it again.")
    return picture


def _ffmpeg_says(options: Sequence[str], path: Path) -> str:
    """All that ffmpeg reports of a file."""
    import imageio_ffmpeg  # slow to import

    if not path.exists():
        raise HoneError(f"video '{path}' is missing. Fetch the whole data set, videos/ included.")
    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", *options], capture_output=True, check=False
    )
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        raise HoneError(f"video '{path}' is damaged ({said.strip().splitlines()[-1]}). Fetch it again.")
    return said


class _Ffmpeg:
    """A running ffmpeg, and what it complains of."""

    def __init__(
        self, options: Sequence[str], stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
    ) -> None:
        import imageio_ffmpeg  # slow to import

        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `stop`
        self.process = subprocess.Popen(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *options],
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.DEVNULL,
            stderr=self._complaints,
        )

    def complaint(self) -> str:
        """Its last words, in brackets; it is expected to have ended."""
        self.process.wait()
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip()
        return f" ({said.splitlines()[-1]})" if said else ""

    def stop(self) -> None:
        """End it, wherever it is."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait()
        self._complaints.close()


def _picture(process: subprocess.Popen[bytes]) -> UInt8[np.ndarray, "H W 3"] | None:
    """The next picture, `None` at the end. In PPM each one says how large it is: `P6`, `width height`, `255`."""
    assert process.stdout is not None
    if process.stdout.readline() != b"P6\n":
        return None
    width, height = map(int, process.stdout.readline().split())
    process.stdout.readline()
    content = process.stdout.read(width * height * 3)
    if len(content) < width * height * 3:
        return None
    return np.frombuffer(content, np.uint8).reshape(height, width, 3)
