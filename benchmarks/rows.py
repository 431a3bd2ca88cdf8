"""What every benchmark shares: append-only result rows, and what machine and commit they come from."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

from hone.evaluation.protocol import source_commit
from hone.evaluation.run_folder import read_rows

RESULTS = Path(__file__).parent / "results"


def append_row(name: str, row: dict[str, Any]) -> None:
    """Add one line to `results/<name>.jsonl`, stamped with time, commit and hardware."""
    stamp = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": source_commit(),
        "hardware": hardware(),
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**row, **stamp}) + "\n")


def finished(name: str, **keys: Any) -> bool:
    """Whether a row with these values is there already: benchmarks resume by skipping what they have."""
    rows = read_rows(RESULTS / f"{name}.jsonl")
    return any(all(row.get(key) == value for key, value in keys.items()) for row in rows)


def hardware() -> str:
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores, {model}"


class PeakMemory:
    """Peak memory of a process and all its descendants together (GiB), sampled every half second.

    Proportional set size: memory that processes share is counted once. Linux only.
    """

    def __init__(self, pid: int) -> None:
        self.gib = 0.0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.gib = max(self.gib, sum(_pss_kib(pid) for pid in _descendants(self._pid)) / 2**20)


def _descendants(root: int) -> list[int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it ended while we looked
            parents[int(folder.name)] = int(fields[1])
    family, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return sorted(family)


def _pss_kib(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
