"""A run read back from its folder, whatever part of it is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hone.errors import HoneError
from hone.evaluation.results import EvaluationResult, paired_difference
from hone.evaluation.run_folder import RunFolder, read_json, read_rows
from hone.evaluation.stats import Difference


@dataclass(frozen=True)
class Video:
    """An episode to look at."""

    task: str
    stage: Literal["before", "after"]
    path: Path
    success: bool
    steps: int | None
    placement: str | None


@dataclass(frozen=True)
class RunRecord:
    """Everything a report can draw on. What a run did not get to is `None` or empty."""

    folder: RunFolder
    config: dict[str, Any]
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    before: EvaluationResult | None
    after: EvaluationResult | None
    probes: dict[str, dict[str, Any]]
    audit: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    revisions: list[dict[str, Any]]
    videos: list[Video]

    @property
    def name(self) -> str:
        return self.folder.path.resolve().name

    @property
    def difference(self) -> Difference | None:
        """Recomputed from the episodes, so that the report and the evaluations cannot disagree."""
        if self.before is None or self.after is None:
            return None
        return paired_difference(self.before, self.after)


def load_run(path: Path) -> RunRecord:
    """Read a run. Raises `HoneError` if `path` is no run, or if the run has nothing to show yet."""
    folder = RunFolder(path)
    if not path.is_dir():
        raise HoneError(f"there is no run at '{path}'.{_siblings(path.parent)}")
    if not any(file.exists() for file in (folder.config, folder.summary, folder.evaluation_before)):
        raise HoneError(f"'{path}' is not a run: it has no config.json.{_siblings(path)}")
    record = RunRecord(
        folder=folder,
        config=_optional(folder.config),
        summary=_optional(folder.summary),
        metrics=read_rows(folder.metrics),
        evaluations=read_rows(folder.evaluations),
        before=_evaluation(folder.evaluation_before),
        after=_evaluation(folder.evaluation_after),
        probes=_optional(folder.probes),
        audit=read_rows(folder.audit),
        attempts=read_rows(folder.attempts),
        revisions=read_rows(folder.revisions),
        videos=_videos(folder),
    )
    if record.before is None and not record.metrics and not record.evaluations:
        raise HoneError(f"run '{path}' has no evaluation and no training yet; there is nothing to report.")
    return record


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _evaluation(path: Path) -> EvaluationResult | None:
    return EvaluationResult.load(path) if path.exists() else None


def _videos(folder: RunFolder) -> list[Video]:
    """Those of `videos/index.json` whose file is there: a list of {task, stage, file, success, steps, placement}."""
    if not folder.video_index.exists():
        return []
    rows = read_json(folder.video_index)
    videos = [
        Video(
            row["task"],
            row["stage"],
            folder.videos / row["file"],
            bool(row["success"]),
            row.get("steps"),
            row.get("placement"),
        )
        for row in rows
    ]
    return [video for video in videos if video.path.exists()]


def _siblings(folder: Path) -> str:
    """Which runs there are in `folder`, as the end of an error message."""
    runs = sorted(path.parent.name for path in folder.glob("*/config.json"))
    return f" Runs in '{folder}': {', '.join(runs)}." if runs else ""
