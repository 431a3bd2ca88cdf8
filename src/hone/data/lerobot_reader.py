"""A LeRobotDataset v3.0 of LIBERO as Hone's episodes, whoever wrote it (see lerobot_format.py).

Everything is checked against what the folder declares, and what the folder cannot say comes from the `Convention`.
Episodes come out in Hone's own convention: pictures upright and of one size, `+1` closing the gripper.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hone.data import lerobot_format as lf
from hone.data.parquet import read_parquet, schema
from hone.data.pictures import resized
from hone.data.video import VideoReader
from hone.errors import HoneError, unknown_name
from hone.specs import Spec
from hone.types import ACTION_DIM, PROPRIO_DIM, UNKNOWN_PLACEMENT, Episode, Placement, Status, Task

log = logging.getLogger(__name__)


class LerobotReader:
    """Iterates over the episodes of a data set. Raises `HoneError` at once where its declarations do not fit."""

    def __init__(self, folder: Path, convention: lf.Convention, image_size: int) -> None:
        self._folder = folder
        self._convention = convention
        self._info = lf.read_info(folder)
        self.spec = Spec(image_size=image_size)
        self._check_declared()
        self._instructions = lf.read_tasks(folder)
        self._rows = self._read_episode_table()
        self._marked = lf.SUCCESS in self._info["features"] or (bool(self._rows) and "success" in self._rows[0])
        if not self._marked:
            log.warning("'%s' does not mark success; all its %d episodes count as successes", folder, len(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the episodes come from, for Hone's `dataset.json`."""
        own = self._folder / lf.HONE
        return {
            "imported_from": f"LeRobotDataset {self._info['codebase_version']}",
            "robot_type": self._info.get("robot_type"),
            "success_marked": self._marked,
            "convention": vars(self._convention),
            "exported_by_hone": json.loads(own.read_text()) if own.exists() else None,
        }

    def __iter__(self) -> Iterator[Episode]:
        cameras = [VideoReader() for _ in self._convention.cameras]
        last, table = None, None
        try:
            for row in self._rows:
                path = self._data_path(row)
                if path != last:
                    last, table = path, read_parquet(path, self._columns())
                yield self._episode(row, path, table, cameras)
        finally:
            for camera in cameras:
                camera.close()

    def _check_declared(self) -> None:
        where, declared, convention = f"'{self._folder}'", self._info["features"], self._convention
        fps = self._info["fps"]
        if float(fps) != convention.fps:
            raise HoneError(
                f"{where} declares {fps} frames per second, not {convention.fps:g}. If each of its rows is one control "
                f"step of LIBERO (20 a second) all the same, pass --convention.fps {fps}."
            )
        for key, dim in ((lf.STATE, PROPRIO_DIM), (lf.ACTION, ACTION_DIM)):
            if key not in declared:
                raise unknown_name(f"column, needed of {where},", key, declared)
            if list(declared[key]["shape"]) != [dim]:
                raise HoneError(
                    f"{where} has '{key}' of shape {list(declared[key]['shape'])}, but LIBERO's is [{dim}]; "
                    "Hone reads data sets of LIBERO's Panda with OSC_POSE actions."
                )
        cameras = {key: about for key, about in declared.items() if about["dtype"] in ("video", "image")}
        for key in convention.cameras:
            if key not in cameras:
                known = ", ".join(cameras) or "none"
                raise HoneError(f"{where} has no camera '{key}'. It has: {known}. Name two with --convention.cameras.")
            if sorted(lf.picture_shape(cameras[key]))[0] != 3 or len(set(lf.picture_shape(cameras[key]))) > 2:
                raise HoneError(
                    f"{where}: pictures of '{key}' are {cameras[key]['shape']}, but must be square and RGB."
                )

    def _columns(self) -> list[str]:
        pictures = [key for key in self._convention.cameras if self._info["features"][key]["dtype"] == "image"]
        own = [key for key in (lf.EXECUTED, lf.SUCCESS) if key in self._info["features"]]
        return [lf.STATE, lf.ACTION, "index", "task_index", *own, *pictures]

    def _read_episode_table(self) -> list[dict[str, Any]]:
        paths = sorted((self._folder / "meta/episodes").glob("*/*.parquet"))
        if not paths:
            raise HoneError(f"'{self._folder}' has no meta/episodes/…/*.parquet. Fetch the whole data set.")
        needed = ["episode_index", "length", "dataset_from_index", "dataset_to_index"]
        needed += [f"data/{name}" for name in ("chunk_index", "file_index")]
        for key in self._convention.cameras:
            if self._info["features"][key]["dtype"] == "video":
                needed += [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        rows: list[dict[str, Any]] = []
        for path in paths:
            marks = [name for name in ("success", lf.HEADER) if name in schema(path).names]
            rows += read_parquet(path, [*needed, *marks]).to_pylist()
        return sorted(rows, key=lambda row: row["episode_index"])

    def _data_path(self, row: dict[str, Any]) -> Path:
        place = {name: row[f"data/{name}"] for name in ("chunk_index", "file_index")}
        return self._folder / self._info["data_path"].format(**place)

    def _episode(self, row: dict[str, Any], path: Path, table: Any, cameras: Sequence[VideoReader]) -> Episode:
        number, length = row["episode_index"], row["length"]
        where = f"episode {number} of '{self._folder}'"
        index = table["index"].to_numpy()
        rows = np.flatnonzero((index >= row["dataset_from_index"]) & (index < row["dataset_to_index"]))
        if len(rows) != length or length == 0 or rows[-1] - rows[0] != length - 1:
            raise HoneError(
                f"{where} should have {length} rows in '{path}', but {len(rows)} are there. Fetch it again."
            )
        frames = table.slice(int(rows[0]), length)
        own = json.loads(row[lf.HEADER]) if row.get(lf.HEADER) else None
        actions = lf.hone_actions(_matrix(frames, lf.ACTION, ACTION_DIM, where), self._convention.gripper, where)
        executed = actions
        if lf.EXECUTED in frames.column_names:
            matrix = _matrix(frames, lf.EXECUTED, ACTION_DIM, where)
            executed = lf.hone_actions(matrix, self._convention.gripper, where)
        return Episode(
            task=Task(**own["task"]) if own else self._task(frames["task_index"][0].as_py(), where),
            placement=Placement(**own["placement"]) if own else UNKNOWN_PLACEMENT,
            status=own["status"] if own else self._status(row, frames),
            proprio=_matrix(frames, lf.STATE, PROPRIO_DIM, where),
            actions=actions,
            executed=executed,
            images=np.stack(
                [
                    self._pictures(row, frames, key, camera, where)
                    for key, camera in zip(self._convention.cameras, cameras, strict=True)
                ],
                axis=1,
            ),
            metadata=own["metadata"] if own else {"lerobot_episode": number},
        )

    def _task(self, index: int, where: str) -> Task:
        if index not in self._instructions:
            raise HoneError(f"{where} has task {index}, which {lf.TASKS} does not know.")
        instruction = self._instructions[index]
        return Task("lerobot", index, instruction.replace(" ", "_"), instruction)

    def _status(self, row: dict[str, Any], frames: Any) -> Status:
        if lf.SUCCESS in frames.column_names:
            return "success" if np.any(frames[lf.SUCCESS].to_numpy()) else "failure"
        return "success" if row.get("success", True) else "failure"

    def _pictures(
        self, row: dict[str, Any], frames: Any, key: str, camera: VideoReader, where: str
    ) -> UInt8[np.ndarray, "T S S 3"]:
        about = self._info["features"][key]
        if about["dtype"] == "image":
            pictures = np.stack([lf.stored_picture(cell, f"{where}, '{key}'") for cell in frames[key].to_pylist()])
        else:
            place = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
            path = self._folder / self._info["video_path"].format(video_key=key, **place)
            start = round(row[f"videos/{key}/from_timestamp"] * self._info["fps"])
            pictures = camera.read(path, start, row["length"])
        height, width = lf.picture_shape(about)[:2]
        if pictures.shape[1:] != (height, width, 3):
            raise HoneError(
                f"{where}: pictures of '{key}' are {list(pictures.shape[1:])}, but {lf.INFO} declares {about['shape']}."
            )
        upright = lf.reorient(pictures, self._convention.image_orientation, "upright")
        return resized(upright, self.spec.image_size)


def _matrix(frames: Any, name: str, dim: int, where: str) -> np.ndarray:
    """A column of lists as `[T, dim]` in float32."""
    values = frames[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if len(values) != len(frames) * dim:
        raise HoneError(f"{where}: '{name}' holds {len(values)} numbers in {len(frames)} rows, not {dim} in each.")
    return values.reshape(len(frames), dim).astype(np.float32)
