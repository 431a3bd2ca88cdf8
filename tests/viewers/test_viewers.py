"""Recorded episodes as films and as rerun recordings."""

from __future__ import annotations

import sys
from collections import Counter

import imageio_ffmpeg
import numpy as np
import pytest

from hone.data.episodes import EpisodeWriter
from hone.data.video import VideoReader
from hone.errors import HoneError
from hone.specs import Spec
from hone.types import Episode, Placement, Task
from hone.viewers import write_mp4, write_rrd

SPEC = Spec(cameras=("left", "right"), image_size=32, control_rate_hz=10.0)


def episode(images: bool = True) -> Episode:
    """Twelve steps; the left camera is dark, the right one bright."""
    pictures = np.zeros((12, 2, 32, 32, 3), np.uint8)
    pictures[:, 1] = 200
    numbers = np.linspace(0, 1, 12 * 7, dtype=np.float32).reshape(12, 7)
    return Episode(
        task=Task("toy", 0, "push", "push it"),
        placement=Placement("sampled", 3),
        status="success",
        proprio=np.zeros((12, 8), np.float32),
        actions=numbers,
        executed=numbers,
        images=pictures if images else None,
    )


def test_a_film_has_the_cameras_side_by_side_at_the_robots_speed(tmp_path):
    path = tmp_path / "film.mp4"
    write_mp4(episode(), SPEC, path)
    reader = VideoReader()
    frames = reader.read(path, 0, 12)
    reader.close()
    assert frames.shape == (12, 224, 448, 3)
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (12, pytest.approx(1.2))
    assert frames[5, :, :200].mean() < 30 < 170 < frames[5, :, 240:].mean()


def test_an_episode_without_pictures_cannot_be_filmed(tmp_path):
    with pytest.raises(HoneError, match="no pictures to film"):
        write_mp4(episode(images=False), SPEC, tmp_path / "film.mp4")


def test_without_rerun_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(HoneError, match=r"pip install 'hone-vla\[rerun\]'"):
        write_rrd(episode(), SPEC, tmp_path / "x.rrd")


def test_a_rerun_recording_has_everything(tmp_path):
    chunk = pytest.importorskip("rerun.chunk", reason="needs the extra hone-vla[rerun]")
    path = tmp_path / "episode.rrd"
    write_rrd(episode(), SPEC, path)
    rows: Counter[str] = Counter()
    for found in chunk.RrdReader(path).stream():
        rows[found.entity_path] += found.num_rows
    named = {"/cameras/left", "/cameras/right", "/proprio", "/actions/wanted", "/actions/executed"}
    assert {rows[name] for name in named} == {12}


def test_the_verb_writes_one_file_per_episode_and_keeps_what_is_there(tmp_path):
    from hone import cli

    writer = EpisodeWriter(tmp_path / "episodes", SPEC, {})
    for _ in range(3):
        writer.write(episode())
    run = ["view", str(tmp_path / "episodes"), "--output", str(tmp_path / "films"), "--limit", "2"]
    assert cli.main(run) == 0
    films = sorted((tmp_path / "films").iterdir())
    assert [film.name for film in films] == ["000000-toy-0-success.mp4", "000001-toy-0-success.mp4"]
    before = films[0].stat().st_mtime_ns
    assert cli.main(run) == 0
    assert films[0].stat().st_mtime_ns == before
