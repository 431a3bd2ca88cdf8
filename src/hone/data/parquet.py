"""Parquet files, read with one clear error each where they are missing, damaged or of another form."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hone.errors import HoneError


def arrow() -> types.SimpleNamespace:
    """The parts of pyarrow that are used, or a `HoneError` that says how to install it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise HoneError("LeRobot data sets need pyarrow: pip install 'hone-vla[data]'.") from error
    return types.SimpleNamespace(pa=pyarrow, pq=pyarrow.parquet)


def schema(path: Path) -> Any:
    """What columns a file has, as pyarrow says it."""
    if not path.exists():
        raise HoneError(f"'{path}' is missing. Fetch the whole data set.")
    try:
        return arrow().pq.read_schema(path)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise _damaged(path, error) from error


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Any:
    """A file's table, or some of its columns. Raises `HoneError` naming a column that is not there."""
    names = schema(path).names
    for name in columns or ():
        if name not in names:
            has = ", ".join(known for known in names if not known.startswith("stats/"))
            raise HoneError(f"'{path}' has no column '{name}', which a data set v3.0 needs. It has: {has}.")
    try:
        return arrow().pq.ParquetFile(path).read(columns=None if columns is None else list(columns))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def numbers(column: Any, where: str) -> np.ndarray:
    """A column of numbers or of (nested) lists, `[T, D]`. Raises `HoneError` where the rows are not equally long."""
    pa = arrow().pa
    array, rows = column.combine_chunks(), len(column)
    while pa.types.is_nested(array.type):
        array = array.flatten()
    values = array.to_numpy(zero_copy_only=False)
    if rows == 0 or len(values) % rows:
        raise HoneError(f"{where} holds {len(values)} numbers in {rows} rows.")
    return values.reshape(rows, -1)


def _damaged(path: Path, error: BaseException) -> HoneError:
    return HoneError(f"'{path}' is damaged ({error}). Fetch it again.")
