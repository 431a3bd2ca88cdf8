"""A LeRobotDataset v3.0 of any robot, table by table: where each episode lies, and its numbers as they are stored.

`lerobot_reader.py` makes Hone's episodes of a data set of LIBERO; this is for looking at one of any kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hone.data import lerobot_format as lf
from hone.data.parquet import arrow, numbers, read_parquet, schema
from hone.errors import HoneError


@dataclass(frozen=True)
class EpisodeRow:
    """Where an episode lies."""

    number: int
    length: int
    first: int
    """`index` of its first frame."""
    end: int
    """`index` after its last frame."""
    places: dict[str, Any]
    """The other columns of the episodes' table, statistics left out."""


class LerobotTables:
    """Raises `HoneError` where `meta/` cannot be read; what it declares is checked elsewhere (integrity.py)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info = lf.read_info(folder)
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.version: str = self.info["codebase_version"]
        self.rate_hz = float(self.info["fps"])
        self.cameras = [key for key, about in self.features.items() if about["dtype"] in ("video", "image")]
        self.tasks = lf.read_tasks(folder)
        self._kept: tuple[Path | None, Any] = (None, None)
        self._rows: list[EpisodeRow] | None = None

    def episodes(self) -> list[EpisodeRow]:
        """Every episode, in order."""
        if self._rows is None:
            paths = sorted((self.folder / "meta/episodes").glob("*/*.parquet"))
            if not paths:
                raise HoneError(f"'{self.folder}' has no meta/episodes/…/*.parquet. Fetch the whole data set.")
            rows = [row for path in paths for row in self._episode_rows(path)]
            self._rows = sorted(rows, key=lambda row: row.number)
        return self._rows

    def _episode_rows(self, path: Path) -> list[EpisodeRow]:
        names = [n for n in schema(path).names if not n.startswith("stats/")]
        needed = ("episode_index", "length", "dataset_from_index", "dataset_to_index")
        return [
            EpisodeRow(*(int(row[name]) for name in needed), places={k: v for k, v in row.items() if k not in needed})
            for row in read_parquet(path, [*needed, *(n for n in names if n not in needed)]).to_pylist()
        ]

    def data_path(self, row: EpisodeRow) -> Path:
        place = {name: row.places[f"data/{name}"] for name in ("chunk_index", "file_index")}
        return self.folder / self.info["data_path"].format(**place)

    def film(self, row: EpisodeRow, key: str) -> tuple[Path, float]:
        """The file of an episode's pictures, and the second at which they begin."""
        place = {name: row.places[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
        path = self.folder / self.info["video_path"].format(video_key=key, **place)
        return path, float(row.places[f"videos/{key}/from_timestamp"])

    def frames(self, row: EpisodeRow, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Columns `[T, D]` of an episode, in float64."""
        table = self._rows_of(row)
        where = f"episode {row.number} of '{self.folder}'"
        return {name: numbers(table[name], f"{where}: '{name}'").astype(np.float64) for name in names}

    def stored_picture(self, row: EpisodeRow, key: str) -> np.ndarray:
        """The first picture of an episode whose pictures lie in the data files."""
        path = self.data_path(row)
        where = f"episode {row.number} of '{self.folder}', '{key}'"
        try:
            cells = arrow().pq.read_table(path, columns=[key], filters=[("index", "=", row.first)])[key].to_pylist()
        except (OSError, ValueError) as error:
            raise HoneError(f"{where}: '{path}' cannot be read ({error}).") from error
        return lf.stored_picture(cells[0] if cells else None, where)

    def instruction(self, row: EpisodeRow) -> str:
        if row.places.get("tasks"):
            return row.places["tasks"][0]
        return self.tasks.get(int(self.frames(row, ["task_index"])["task_index"][0, 0]), "")

    def success(self, row: EpisodeRow) -> bool | None:
        if lf.SUCCESS in self.features:
            return bool(self.frames(row, [lf.SUCCESS])[lf.SUCCESS].any())
        mark = row.places.get("success")
        return None if mark is None else bool(mark)

    def official(self, row: EpisodeRow) -> bool | None:
        """Hone writes where an episode started; nobody else does."""
        header = row.places.get(lf.HEADER)
        if not header:
            return None
        placement = json.loads(header)["placement"]
        return None if placement["index"] < 0 else placement["kind"] == "official"

    def _rows_of(self, row: EpisodeRow) -> Any:
        """The numbers of an episode; the last file is kept."""
        path = self.data_path(row)
        if self._kept[0] != path:
            plain = [n for n, about in self.features.items() if about["dtype"] not in ("video", "image", "string")]
            present = [n for n in plain if n in schema(path).names]
            self._kept = (path, read_parquet(path, present))
        table = self._kept[1]
        index = table["index"].to_numpy()
        rows = np.flatnonzero((index >= row.first) & (index < row.end))
        if len(rows) != row.length or row.length == 0:
            raise HoneError(f"episode {row.number} should have {row.length} rows in '{path}', but has {len(rows)}.")
        return table.slice(int(rows[0]), row.length)
