"""Is a LeRobot data set whole? Every declaration against what lies in the folder, file by file.

One data file is in memory at a time, numbers only. Problems are collected, not raised: an audit names them all.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hone.data import lerobot_format as lf
from hone.data.findings import Finding, Ledger
from hone.data.lerobot_table import EpisodeRow, LerobotTables
from hone.data.parquet import numbers, read_parquet, schema
from hone.data.video import probe
from hone.errors import HoneError

TIME_TOLERANCE_S = 1e-4
"""How far a time stamp may be off: the tolerance at which LeRobot itself refuses to find a picture (0.6.1)."""
STATS_TOLERANCE = 0.05
"""How far stored statistics may be off, in standard deviations. Quantiles, which are approximations, are
not checked."""
INDICES = ("index", "episode_index", "frame_index", "timestamp", "task_index")
FETCH = "fetch the data set again, or write it anew with the tool that made it"


class Moments:
    """Extremes, mean and deviation of a column, file after file."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)
        self._sum, self._squares = np.zeros(width), np.zeros(width)

    def add(self, values: np.ndarray) -> None:
        self.count += len(values)
        self.low, self.high = np.minimum(self.low, values.min(axis=0)), np.maximum(self.high, values.max(axis=0))
        self._sum, self._squares = self._sum + values.sum(axis=0), self._squares + (values**2).sum(axis=0)

    @property
    def mean(self) -> np.ndarray:
        return self._sum / self.count

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(np.maximum(self._squares / self.count - self.mean**2, 0.0))


def check_integrity(tables: LerobotTables) -> list[Finding]:
    ledger = Ledger("integrity")
    for check, fine, advice in (
        ("episodes", "every episode has its rows", FETCH),
        ("columns", "columns are as declared", "write the data set anew, or correct features in meta/info.json"),
        ("numbers", "all are finite", "leave these episodes out: one such number ruins a training run"),
        ("indices", "without gaps", FETCH),
        ("time stamps", f"each is its frame's number / {tables.rate_hz:g}", "correct fps in meta/info.json"),
        ("tasks", "every frame's task is known", "add the task to meta/tasks.parquet"),
        ("videos", "as many pictures as frames, at the declared rate and size", "fetch videos/ again"),
        ("stored statistics", "as recomputed", "recompute meta/stats.json: policies normalise by it"),
    ):
        ledger.open(check, fine=fine, advice=advice)
    rows = tables.episodes()
    _check_totals(tables, rows, ledger)
    moments = _check_data(tables, rows, ledger)
    for key in tables.cameras:
        if tables.features[key]["dtype"] == "video":
            _check_films(tables, rows, key, ledger)
    _check_stats(tables, moments, ledger)
    return ledger.findings()


def _check_totals(tables: LerobotTables, rows: list[EpisodeRow], ledger: Ledger) -> None:
    expected = 0
    for number, row in enumerate(rows):
        if row.number != number:
            ledger.add("episodes", f"episode {number} is missing from the episodes' table")
            break
        if row.first != expected or row.end - row.first != row.length or row.length < 1:
            ledger.add("episodes", f"episode {number} claims {row.length} frames, from {row.first} to {row.end}")
        expected = row.end
    frames = sum(row.length for row in rows)
    for name, counted in (("total_episodes", len(rows)), ("total_frames", frames), ("total_tasks", len(tables.tasks))):
        if tables.info.get(name, counted) != counted:
            ledger.add("episodes", f"info.json has {name} {tables.info[name]}, the tables {counted}")


def _check_data(tables: LerobotTables, rows: list[EpisodeRow], ledger: Ledger) -> dict[str, Moments]:
    """Every data file; returns the moments of its columns of floating-point numbers."""
    moments: dict[str, Moments] = {}
    by_path: dict[Path, list[EpisodeRow]] = {}
    for row in rows:
        by_path.setdefault(tables.data_path(row), []).append(row)
    for path, here in by_path.items():
        try:
            columns = _read_columns(tables, path, ledger)
        except HoneError as error:
            ledger.add("episodes", str(error))
            continue
        for name, values in columns.items():
            if values.dtype.kind == "f":
                _check_finite(name, values, path, ledger)
                if np.isfinite(values).all():
                    moments.setdefault(name, Moments(values.shape[1])).add(values.astype(np.float64))
        if all(name in columns for name in INDICES):
            _check_rows(tables, here, {name: columns[name][:, 0] for name in INDICES}, path, ledger)
    return moments


def _read_columns(tables: LerobotTables, path: Path, ledger: Ledger) -> dict[str, np.ndarray]:
    """Its columns of numbers `[T, D]`, as they are declared; those that are not are entered and left out."""
    there = schema(path).names
    declared = {n: about for n, about in tables.features.items() if about["dtype"] != "video"}
    for name in declared:
        if name not in there:
            ledger.add("columns", f"'{name}' is declared, but not in {path.name}, which has {', '.join(there)}")
    plain = [n for n, about in declared.items() if n in there and about["dtype"] not in ("image", "string")]
    table, columns = read_parquet(path, plain), {}
    for name in plain:
        try:
            values = numbers(table[name], f"'{name}' in {path.name}")
        except HoneError as error:
            ledger.add("columns", str(error))
            continue
        width = int(np.prod(declared[name]["shape"]))
        if values.shape[1] != width:
            ledger.add("columns", f"'{name}' has {values.shape[1]} numbers a row, but {width} are declared")
        elif values.dtype != np.dtype(declared[name]["dtype"]):
            ledger.add("columns", f"'{name}' is {values.dtype}, but {declared[name]['dtype']} is declared")
        else:
            columns[name] = values
    return columns


def _check_finite(name: str, values: np.ndarray, path: Path, ledger: Ledger) -> None:
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        ledger.add("numbers", f"'{name}' is not finite in {len(broken)} rows of {path.name}, first in row {broken[0]}")


def _check_rows(
    tables: LerobotTables, rows: list[EpisodeRow], columns: dict[str, np.ndarray], path: Path, ledger: Ledger
) -> None:
    index = columns["index"]
    if len(index) > 1 and (np.diff(index) != 1).any():
        at = int(np.flatnonzero(np.diff(index) != 1)[0])
        ledger.add("indices", f"{path.name}: index {index[at]} is followed by {index[at + 1]}")
    for row in rows:
        mine = np.flatnonzero((index >= row.first) & (index < row.end))
        if len(mine) != row.length:
            ledger.add(
                "episodes", f"episode {row.number} should have {row.length} rows in {path.name}, has {len(mine)}"
            )
            continue
        frame = np.arange(row.length)
        if (columns["episode_index"][mine] != row.number).any():
            ledger.add("indices", f"rows of episode {row.number} name another episode")
        if (columns["frame_index"][mine] != frame).any():
            ledger.add("indices", f"frame_index of episode {row.number} does not count from 0 to {row.length - 1}")
        late = np.abs(columns["timestamp"][mine] - frame / tables.rate_hz)
        # Time stamps are kept in single precision, which is coarser than the tolerance in long episodes.
        if (late > TIME_TOLERANCE_S + 1e-6 * frame).any():
            at = int((late > TIME_TOLERANCE_S + 1e-6 * frame).argmax())
            ledger.add(
                "time stamps",
                f"frame {at} of episode {row.number} is at {columns['timestamp'][mine][at]:.4f} s, "
                f"not {at / tables.rate_hz:.4f} s",
            )
        unknown = sorted(set(columns["task_index"][mine].tolist()) - set(tables.tasks))
        if unknown:
            ledger.add("tasks", f"episode {row.number} has task {unknown[0]}; known: {sorted(tables.tasks)}")


def _check_films(tables: LerobotTables, rows: list[EpisodeRow], key: str, ledger: Ledger) -> None:
    """Every film of a camera, then the part of each episode in it."""
    rate, needed, spans = tables.rate_hz, dict[Path, int](), list[float]()
    for row in rows:
        try:
            path, start = tables.film(row, key)
            spans.append(float(row.places[f"videos/{key}/to_timestamp"]) - start)
        except KeyError as error:
            ledger.add("videos", f"the episodes' table has no column {error}")
            return
        needed[path] = max(needed.get(path, 0), round(start * rate) + row.length)
    height, width = lf.picture_shape(tables.features[key])[:2]
    for path, count in needed.items():
        try:
            film = probe(path)
        except HoneError as error:
            ledger.add("videos", str(error))
            continue
        name = path.relative_to(tables.folder)
        if film.pictures < count:
            ledger.add("videos", f"{name} has {film.pictures} pictures, but {count} are needed")
        if abs(film.fps - rate) > 0.01 * rate:
            ledger.add("videos", f"{name} runs at {film.fps:g} pictures a second, but {rate:g} are declared")
        if (film.height, film.width) != (height, width):
            ledger.add("videos", f"{name} is {film.height} x {film.width}, but {height} x {width} declared")
    for row, span in zip(rows, spans, strict=True):
        if round(span * rate) != row.length:
            lasts = f"lasts {span:.3f} s ({span * rate:.1f} pictures)"
            ledger.add("videos", f"episode {row.number} has {row.length} frames, but its part of '{key}' {lasts}")


def _check_stats(tables: LerobotTables, moments: dict[str, Moments], ledger: Ledger) -> None:
    path = tables.folder / lf.STATS
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        ledger.add("stored statistics", f"'{lf.STATS}' cannot be read ({error})")
        return
    for name in (lf.ACTION, lf.STATE):
        if name not in moments:
            continue
        found = moments[name]
        scale = np.maximum(found.std, 1e-6)
        for statistic, value in (("mean", found.mean), ("std", found.std), ("min", found.low), ("max", found.high)):
            there = np.array(stored.get(name, {}).get(statistic, []), dtype=float).reshape(-1)
            if there.shape != value.shape:
                ledger.add("stored statistics", f"'{name}' has no {statistic} of {len(value)} numbers")
            elif (np.abs(there - value) > STATS_TOLERANCE * scale).any():
                at = int((np.abs(there - value) / scale).argmax())
                ledger.add(
                    "stored statistics",
                    f"{statistic} of '{name}'[{at}] is stored as {there[at]:.4g}, but is {value[at]:.4g}",
                )
