"""Hone's episodes as a LeRobotDataset v3.0 (see lerobot_format.py), failures included and marked.

The data set is written beside its destination under another name and renamed at the end, so it is there whole or not
at all. Episodes pass one at a time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from hone.cache import write_error
from hone.data import lerobot_format as lf
from hone.data.episodes import iterate_episodes, read_dataset
from hone.data.lerobot_stats import Stats, column_stats, join, picture_stats
from hone.data.parquet import arrow
from hone.data.video import VideoWriter
from hone.errors import HoneError
from hone.specs import Spec
from hone.types import Episode

DATA_MEGABYTES = 100
"""A data file that has grown past this is followed by another (as info.json declares)."""
VIDEO_MEGABYTES = 200


Progress = Callable[[Episode], Float32[np.ndarray, " T"]]
"""How far each frame of an episode is from its start towards the goal, in [-1, 1]."""


def export_lerobot(
    folder: Path,
    destination: Path,
    on_episode: Callable[[Episode], None] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the episodes of `folder`, successes and failures, as a data set in `destination`.

    Episodes with status `error` are left out: a fault of the machinery is neither. Object poses are left out too: they
    are privileged, and LeRobot would hand a state column to the policy. Returns how much was written.
    """
    dataset = read_dataset(folder)
    lf.check_exportable(dataset.spec, folder)
    if destination.exists():
        raise HoneError(f"'{destination}' exists already. Give another --output.")
    partial = destination.with_name(f".{destination.name}.partial")
    writer = None
    try:
        shutil.rmtree(partial, ignore_errors=True)
        writer = _Writer(partial, dataset.spec, progress)
        for episode in iterate_episodes(folder, status=None):
            if episode.status != "error":
                writer.add(episode)
            if on_episode is not None:
                on_episode(episode)
        result = writer.finish(folder, dataset.provenance)
        partial.rename(destination)
        return result
    except OSError as error:
        raise write_error(destination, error) from error
    finally:
        if writer is not None:
            writer.abandon()
        shutil.rmtree(partial, ignore_errors=True)


class _Files:
    """Which file of its kind is being written."""

    def __init__(self) -> None:
        self.number = 0

    @property
    def place(self) -> dict[str, int]:
        return {"chunk_index": self.number // lf.CHUNK_SIZE, "file_index": self.number % lf.CHUNK_SIZE}


class _Writer:
    def __init__(self, root: Path, spec: Spec, progress: Progress | None) -> None:
        self._progress = progress
        self._judged: list[np.ndarray] = []
        self._arrow = arrow()
        self._root = root
        self._spec = spec
        self._features = lf.features(spec, progress=progress is not None)
        self._instructions: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._stats: list[dict[str, Stats]] = []
        self._frames = 0
        self._data_files = _Files()
        self._data: Any = None
        self._video_files = {lf.CAMERA_KEYS[name]: _Files() for name in spec.cameras}
        self._videos: dict[str, VideoWriter] = {}

    def add(self, episode: Episode) -> None:
        if len(episode) == 0:
            return
        if episode.task.instruction not in self._instructions:
            self._instructions.append(episode.task.instruction)
        columns = self._columns(episode)
        if self._progress is not None:
            columns[lf.PROGRESS] = self._progress(episode)
            self._judged.append(columns[lf.PROGRESS])
        stats = {name: column_stats(column) for name, column in columns.items()}
        row: dict[str, Any] = {
            "episode_index": len(self._rows),
            "tasks": [episode.task.instruction],
            "length": len(episode),
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + len(episode),
            "success": episode.status == "success",
            lf.HEADER: _header(episode),
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        row |= {f"data/{name}": number for name, number in self._write_rows(columns).items()}
        for camera, name in enumerate(self._spec.cameras):
            if episode.images is None:
                raise HoneError(
                    f"an episode of '{episode.task.name}' has no images, although the folder declares them."
                )
            key = lf.CAMERA_KEYS[name]
            pictures = lf.reorient(episode.images[:, camera], self._spec.image_orientation, "rotated_180")
            row |= {f"videos/{key}/{name}": value for name, value in self._write_video(key, pictures).items()}
            stats[key] = picture_stats(pictures)
        self._frames += len(episode)
        self._rows.append(row)
        self._stats.append(stats)

    def finish(self, source: Path, provenance: dict[str, Any]) -> dict[str, Any]:
        """Close the files and write `meta/`."""
        if not self._rows:
            raise HoneError(f"'{source}' has no episodes to export.")
        self._close()
        pa, pq = self._arrow.pa, self._arrow.pq
        (self._root / "meta/episodes/chunk-000").mkdir(parents=True)
        pq.write_table(self._episode_table(), self._root / lf.EPISODES.format(chunk_index=0, file_index=0))
        pq.write_table(_task_table(pa, self._instructions), self._root / lf.TASKS)
        if self._judged:
            pq.write_table(_progress_table(pa, self._judged), self._root / lf.PROGRESS_FILE)
        total = {key: join([stats[key] for stats in self._stats]) for key in self._stats[0]}
        stats = {key: {name: value.tolist() for name, value in part.items()} for key, part in total.items()}
        self._write_json(lf.STATS, stats)
        self._write_json(lf.INFO, self._info())
        self._write_json(lf.HONE, {"spec": self._spec.to_json(), "provenance": provenance})
        return {
            "episodes": len(self._rows),
            "successes": sum(row["success"] for row in self._rows),
            "frames": self._frames,
            "tasks": len(self._instructions),
            "megabytes": round(sum(f.stat().st_size for f in self._root.rglob("*") if f.is_file()) / 2**20, 2),
        }

    def abandon(self) -> None:
        """Stop ffmpeg, where something went wrong before the end."""
        for video in self._videos.values():
            video.abandon()

    def _columns(self, episode: Episode) -> dict[str, np.ndarray]:
        """Every column of the episode's frames but the pictures."""
        steps = np.arange(len(episode))
        last = steps == len(episode) - 1
        won = last & (episode.status == "success")
        task = self._instructions.index(episode.task.instruction)
        return {
            lf.STATE: episode.proprio,
            lf.ACTION: episode.actions,
            lf.EXECUTED: episode.executed,
            lf.REWARD: won.astype(np.float32),
            lf.DONE: last,
            lf.SUCCESS: won,
            "timestamp": (steps / self._spec.control_rate_hz).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(len(episode), len(self._rows)),
            "index": self._frames + steps,
            "task_index": np.full(len(episode), task),
        }

    def _write_rows(self, columns: dict[str, np.ndarray]) -> dict[str, int]:
        """Append to the data file, one row group an episode, and say which file that is."""
        pa, pq = self._arrow.pa, self._arrow.pq
        table = pa.table({name: _arrow_column(pa, column) for name, column in columns.items()})
        path = self._root / lf.DATA.format(**self._data_files.place)
        if self._data is not None and path.stat().st_size > DATA_MEGABYTES * 2**20:
            self._data.close()
            self._data, self._data_files.number = None, self._data_files.number + 1
            path = self._root / lf.DATA.format(**self._data_files.place)
        if self._data is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = pq.ParquetWriter(path, table.schema)
        self._data.write_table(table)
        return self._data_files.place

    def _write_video(self, key: str, pictures: np.ndarray) -> dict[str, int | float]:
        """Append to the camera's film, and say which file that is and from when to when."""
        rate, files = self._spec.control_rate_hz, self._video_files[key]
        if key in self._videos and self._videos[key].megabytes > VIDEO_MEGABYTES:
            self._videos.pop(key).close()
            files.number += 1
        if key not in self._videos:
            path = self._root / lf.VIDEO.format(video_key=key, **files.place)
            self._videos[key] = VideoWriter(path, pictures.shape[1], rate)
        film = self._videos[key]
        start = film.frames
        film.write(pictures)
        return {**files.place, "from_timestamp": start / rate, "to_timestamp": film.frames / rate}

    def _episode_table(self) -> Any:
        rows = [
            {
                **row,
                **{
                    f"stats/{key}/{name}": value.tolist() for key, part in stats.items() for name, value in part.items()
                },
            }
            for row, stats in zip(self._rows, self._stats, strict=True)
        ]
        return self._arrow.pa.Table.from_pylist(rows)

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": lf.VERSION,
            "robot_type": "panda",
            "total_episodes": len(self._rows),
            "total_frames": self._frames,
            "total_tasks": len(self._instructions),
            "chunks_size": lf.CHUNK_SIZE,
            "data_files_size_in_mb": DATA_MEGABYTES,
            "video_files_size_in_mb": VIDEO_MEGABYTES,
            "fps": int(self._spec.control_rate_hz),
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": lf.DATA,
            "video_path": lf.VIDEO if self._spec.cameras else None,
            "features": self._features,
        }

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        (self._root / name).write_text(json.dumps(content, indent=4), encoding="utf-8")

    def _close(self) -> None:
        self._data.close()
        for key in list(self._videos):
            self._videos.pop(key).close()


def _progress_table(pa: Any, judged: Sequence[np.ndarray]) -> Any:
    """As LeRobot's own script writes it (lerobot/rewards/sarm/compute_rabc_weights.py, 0.6.1)."""
    lengths = [len(values) for values in judged]
    return pa.table(
        {
            "index": np.arange(sum(lengths)),
            "episode_index": np.repeat(np.arange(len(lengths)), lengths),
            "frame_index": np.concatenate([np.arange(length) for length in lengths]),
            "progress_sparse": np.maximum(np.concatenate(judged), 0).astype(np.float32),
        }
    )


def _header(episode: Episode) -> str:
    return json.dumps(
        {
            "task": asdict(episode.task),
            "placement": asdict(episode.placement),
            "status": episode.status,
            "metadata": episode.metadata,
        }
    )


def _arrow_column(pa: Any, column: np.ndarray) -> Any:
    if column.ndim == 1:
        return pa.array(column)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(column).reshape(-1)), column.shape[1])


def _task_table(pa: Any, instructions: Sequence[str]) -> Any:
    """`task_index`, and the instruction as the index that pandas restores: LeRobot looks tasks up by it."""
    table = pa.table({"task_index": np.arange(len(instructions)), "task": list(instructions)})
    described = {
        "index_columns": ["task"],
        "column_indexes": [
            {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
        ],
        "columns": [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
            for name, kind, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
        ],
    }
    return table.replace_schema_metadata({"pandas": json.dumps(described)})
