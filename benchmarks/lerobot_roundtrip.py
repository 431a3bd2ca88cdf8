"""Hone's LeRobot data sets against the package `lerobot` itself: each reads what the other wrote.

Every frame's numbers must be equal; pictures go through a video, so how far they are off is measured, and compared with
how far off they would be mirrored. Needs an environment with both packages (Python 3.12 for lerobot 0.6):

    pip install 'lerobot[dataset]' 'hone-vla[data]'
    hone demos --tasks 0 1 --per-task 3 --output runs/demos
    python benchmarks/lerobot_roundtrip.py --demos runs/demos

One row per call in results/lerobot_roundtrip.jsonl.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

from hone.data.episodes import read_episodes
from hone.data.lerobot_format import ACTION, CAMERA_KEYS, EXECUTED, STATE, Convention, reorient
from hone.data.lerobot_reader import LerobotReader
from hone.data.lerobot_writer import export_lerobot
from hone.types import Episode
from rows import append_row

PACKAGES = ("lerobot", "datasets", "torch", "torchcodec", "av", "pyarrow", "numpy", "imageio-ffmpeg")
KEYS = tuple(CAMERA_KEYS.values())


@dataclass(frozen=True)
class Config:
    demos: Path
    """Folder of Hone's episodes, with images that stand upright."""
    video_backend: str = "pyav"
    """LeRobot's decoder: `pyav` or `torchcodec`."""


def main(config: Config) -> None:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    print(f"Python {platform.python_version()}", versions, flush=True)
    episodes = read_episodes(config.demos, status=None)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "hone", Path(folder) / "lerobot"
        export_lerobot(config.demos, ours)
        row = {
            "python": platform.python_version(),
            **versions,
            "video_backend": config.video_backend,
            "episodes": len(episodes),
            "frames": sum(map(len, episodes)),
            "lerobot_reads_hone": lerobot_reads(ours, episodes, config.video_backend),
            "hone_reads_hone": hone_reads(ours, episodes),
        }
        write_with_lerobot(theirs, episodes)
        row["hone_reads_lerobot"] = hone_reads(theirs, episodes)
        row["stats_differ_by"] = stats_difference(ours, theirs)
    append_row("lerobot_roundtrip", row)
    print(json.dumps(row, indent=2))


def lerobot_reads(folder: Path, episodes: list[Episode], backend: str) -> dict[str, Any]:
    """Every frame through `LeRobotDataset`: numbers compared exactly, pictures by their mean difference (of 255)."""
    dataset = LeRobotDataset("hone/roundtrip", root=folder, video_backend=backend)
    started, off, mirrored, index = time.monotonic(), [], [], 0
    for number, episode in enumerate(episodes):
        assert episode.images is not None
        turned = reorient(episode.images, "upright", "rotated_180")
        for t in range(len(episode)):
            item = dataset[index]
            last = t == len(episode) - 1
            for key, expected in (
                (STATE, episode.proprio[t]),
                (ACTION, episode.actions[t]),
                (EXECUTED, episode.executed[t]),
                ("timestamp", np.float32(t / 20)),
                ("frame_index", t),
                ("episode_index", number),
                ("index", index),
                ("next.done", last),
                ("next.success", last and episode.status == "success"),
            ):
                np.testing.assert_array_equal(item[key].numpy(), expected, err_msg=f"{key} of frame {index}")
            assert item["task"] == episode.task.instruction
            for camera, key in enumerate(KEYS):
                seen = item[key].permute(1, 2, 0).numpy() * 255
                off.append(np.abs(seen - turned[t, camera]).mean())
                mirrored.append(np.abs(seen - turned[t, camera, :, ::-1]).mean())
            index += 1
    assert len(dataset) == index
    assert sorted(dataset.meta.camera_keys) == sorted(KEYS)
    return {**_spread(off, mirrored), "frames_per_second": round(index / (time.monotonic() - started), 1)}


def write_with_lerobot(folder: Path, episodes: list[Episode]) -> None:
    """The same episodes, in the convention of `lerobot/libero`, by LeRobot's own writer with its own encoder."""
    side = 0 if episodes[0].images is None else episodes[0].images.shape[2]
    camera = {"dtype": "video", "shape": (side, side, 3), "names": ["height", "width", "channel"]}
    dataset = LeRobotDataset.create(
        "hone/roundtrip",
        fps=20,
        features={
            **{key: dict(camera) for key in KEYS},
            STATE: {"dtype": "float32", "shape": (8,), "names": [f"state_{i}" for i in range(8)]},
            ACTION: {"dtype": "float32", "shape": (7,), "names": [f"action_{i}" for i in range(7)]},
        },
        root=folder,
        robot_type="panda",
    )
    for episode in episodes:
        assert episode.images is not None
        turned = reorient(episode.images, "upright", "rotated_180")
        for t in range(len(episode)):
            pictures = {key: np.ascontiguousarray(turned[t, c]) for c, key in enumerate(KEYS)}
            numbers = {STATE: episode.proprio[t], ACTION: episode.actions[t]}
            dataset.add_frame({**pictures, **numbers, "task": episode.task.instruction})
        dataset.save_episode()
    dataset.finalize()


def hone_reads(folder: Path, episodes: list[Episode]) -> dict[str, Any]:
    """Every episode through `LerobotReader`, compared with the source."""
    assert episodes[0].images is not None
    off, mirrored = [], []
    reader = LerobotReader(folder, Convention(), episodes[0].images.shape[2])
    for original, back in zip(episodes, reader, strict=True):
        np.testing.assert_array_equal(back.proprio, original.proprio)
        np.testing.assert_array_equal(back.actions, original.actions)
        assert back.task.instruction == original.task.instruction
        assert original.images is not None
        assert back.images is not None
        for t in range(len(original)):
            seen, expected = back.images[t].astype(float), original.images[t]
            off.append(np.abs(seen - expected).mean())
            mirrored.append(np.abs(seen - expected[:, :, ::-1]).mean())
    return _spread(off, mirrored)


def stats_difference(ours: Path, theirs: Path) -> dict[str, float]:
    """The largest difference per statistic, in standard deviations of the column, over state, action and pictures."""
    a, b = (json.loads((folder / "meta/stats.json").read_text()) for folder in (ours, theirs))
    worst: dict[str, float] = {}
    for key in (STATE, ACTION, *KEYS):
        std = np.maximum(np.array(b[key]["std"]), 1e-6)
        assert sorted(a[key]) == sorted(b[key]), (sorted(a[key]), sorted(b[key]))
        for name in sorted(set(a[key]) - {"count"}):
            left, right = np.array(a[key][name]), np.array(b[key][name])
            assert left.shape == right.shape, (key, name, left.shape, right.shape)
            kind = f"{name}, {'pictures' if key in KEYS else 'numbers'}"
            worst[kind] = max(worst.get(kind, 0.0), round(float((np.abs(left - right) / std).max()), 5))
    return worst


def _spread(off: list[float], mirrored: list[float]) -> dict[str, float]:
    return {
        "pictures_off_mean": round(float(np.mean(off)), 3),
        "pictures_off_most": round(float(np.max(off)), 3),
        "pictures_off_if_mirrored_least": round(float(np.min(mirrored)), 3),
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
