"""A run on disk: what is in the folder, and how rows get there without ever being half-written.

    runs/<name>/
      config.json             the resolved configuration
      clock.json              minutes spent so far, over all restarts
      summary.json            the outcome: before, after, paired_difference, minutes, env_steps, rollouts, faults, …
      metrics.jsonl           one row per training iteration
      evaluations.jsonl       one row per evaluation during training
      evaluation_before.json  `EvaluationResult` of the policy the run started from
      evaluation_after.json   `EvaluationResult` of the final checkpoint
      probes.json             success with the right, a blank and another task's instruction
      videos/                 index.json, and the files it lists
      tensorboard/            the scalars of both .jsonl files; wandb/ and trackio/ too where they were asked for
      checkpoints/

Every file but `config.json` may be missing: a run that was stopped can still be reported.

A tally is `{success_rate, successes, episodes, low, high, held_rate, faults}`, as `EvaluationResult.summary` makes it.

    summary.json        before, after (tallies with per_task), paired_difference {mean, low, high}, minutes, env_steps,
                        rollouts, faults, protocol, commit, and, where known, the other fields of `Cost`
    metrics.jsonl       iteration, rollouts, env_steps, minutes (all since the start of the run), train_success, and
                        what the algorithm logs: kl, lr, clip_fraction, dead_groups, alive_groups, exploration, …
    evaluations.jsonl   iteration, rollouts, minutes, mode ("greedy" or "sampled"), and a tally with per_task
    audit.jsonl         of each rollout: iteration, task, proxy (its reward), claimed and success (true or false)
    attempts.jsonl      of each rollout in words: see `hone.memory.episodes`
    revisions.jsonl     of each rewrite of a reward program: iteration, task, judge, version, accepted, reasons, diff
    probes.json         normal, blank, other_task: tallies of the same tasks, told the right thing, nothing, or wrong
    videos/index.json   list of {task, stage: "before" or "after", file, success, steps, placement}; the placement is
                        settled before the episodes are seen
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hone.cache import write_atomically, write_error
from hone.errors import HoneError
from hone.tracking import open_trackers


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def clock(self) -> Path:
        return self.path / "clock.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations.jsonl"

    @property
    def audit(self) -> Path:
        return self.path / "audit.jsonl"

    @property
    def attempts(self) -> Path:
        return self.path / "attempts.jsonl"

    @property
    def revisions(self) -> Path:
        return self.path / "revisions.jsonl"

    @property
    def evaluation_before(self) -> Path:
        return self.path / "evaluation_before.json"

    @property
    def evaluation_after(self) -> Path:
        return self.path / "evaluation_after.json"

    @property
    def probes(self) -> Path:
        return self.path / "probes.json"

    @property
    def videos(self) -> Path:
        return self.path / "videos"

    @property
    def video_index(self) -> Path:
        return self.videos / "index.json"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        return self.path / "report.html"


def write_text(path: Path, text: str) -> None:
    """Write complete or not at all, so that a reader sees the old file or the new one, never a half."""
    write_atomically(path, text.encode())


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically. NaN and infinity are refused: other readers cannot parse them."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False, default=_plain) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HoneError(f"{path} does not exist.") from None
    except ValueError as error:
        raise HoneError(f"{path} is not valid JSON ({error}). Delete it and write it again.") from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; none if it does not exist. A last line cut short by a crash is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise HoneError(f"{path}, line {number}, is not valid JSON ({error}).") from error
    return rows


def open_run(folder: RunFolder, settings: Mapping[str, Any]) -> None:
    """Start a run's folder, or check that it holds a run of the same settings (which then goes on)."""
    resolved = json.loads(json.dumps(settings, default=_plain))
    if folder.config.exists():
        found = read_json(folder.config)
        differing = sorted(key for key in {*resolved, *found} if found.get(key) != resolved.get(key))
        if differing:
            raise HoneError(
                f"'{folder.path}' holds a run with other settings ({', '.join(differing)}). "
                "Give another --output, or delete the folder."
            )
    elif folder.path.exists() and any(folder.path.iterdir()):
        raise HoneError(f"'{folder.path}' is not empty and holds no run. Give another --output.")
    else:
        write_json(folder.config, resolved)


class RunClock:
    """Wall time spent on a run, over all its restarts."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.clock
        self._earlier = float(read_json(self._path)["minutes"]) if self._path.exists() else 0.0
        self._started = time.monotonic()

    def minutes(self) -> float:
        return self._earlier + (time.monotonic() - self._started) / 60

    def save(self) -> None:
        write_json(self._path, {"minutes": self.minutes()})


class RunLog:
    """Appends rows to the run's .jsonl files and mirrors the numbers of training and evaluation to trackers.

    Every row carries `iteration`. Opening the log of a run that resumes after iteration `resume_after` first drops the
    rows that came later, so that a resumed run leaves the same files as one that was never stopped.
    """

    def __init__(
        self, folder: RunFolder, *, resume_after: int | None = None, track: Sequence[str] = ("tensorboard",)
    ) -> None:
        self.folder = folder
        folder.path.mkdir(parents=True, exist_ok=True)
        for path in (folder.metrics, folder.evaluations, folder.audit, folder.attempts, folder.revisions):
            rows = read_rows(path)
            kept = [row for row in rows if resume_after is not None and row["iteration"] <= resume_after]
            if path.exists():  # also without rows: a torn line must not stay in front of what is appended
                write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        config = read_json(folder.config) if folder.config.exists() else {}
        self._trackers = open_trackers(track, folder.path, config, resume_after)

    def training(self, row: Mapping[str, Any]) -> None:
        """One training iteration: `iteration`, `rollouts`, `env_steps`, `minutes`, `train_success`, `kl`, …"""
        self._append(self.folder.metrics, row)
        self._scalars("train", row, row["iteration"])

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """One evaluation during training: `iteration`, `rollouts`, `minutes`, `mode` ("greedy" or "sampled"),
        `successes`, `episodes`, `low`, `high`, `per_task`."""
        self._append(self.folder.evaluations, row)
        scalars = {"success_rate": row["successes"] / row["episodes"]} if row["episodes"] else {}
        self._scalars(f"evaluation_{row['mode']}", scalars, row["iteration"])

    def audit(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """What the reward said of each rollout of an iteration: `iteration`, `task`, `proxy`, `claimed`, `success`."""
        for row in rows:
            self._append(self.folder.audit, row)

    def revision(self, row: Mapping[str, Any]) -> None:
        """A rewrite of a reward program: `iteration`, `task`, `judge`, `version`, `accepted`, `reasons`, `diff`, …"""
        self._append(self.folder.revisions, row)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _append(self, path: Path, row: Mapping[str, Any]) -> None:
        line = json.dumps(dict(row), default=_plain)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise write_error(path, error) from error

    def _scalars(self, group: str, row: Mapping[str, Any], step: int) -> None:
        scalars = {
            f"{group}/{name}": float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "iteration"
        }
        for tracker in self._trackers:
            tracker.log(scalars, step)


def _plain(value: Any) -> Any:
    """Paths and NumPy or torch scalars as JSON."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
