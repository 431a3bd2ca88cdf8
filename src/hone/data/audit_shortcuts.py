"""What a policy could learn from a data set instead of the task: cues that tell the task or the action on their own.

A threshold says when to look, not what is true; docs/data.md gives the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hone.data import shortcuts
from hone.data.diversity import disparity
from hone.data.findings import Audit, Finding, Level, judged
from hone.data.tracks import Recording, Track, by_task

LUCK = 0.01
"""How improbable by chance an accuracy has to be before it counts."""
TOLD = 0.25
"""Way from chance to certainty at which a cue tells the task."""
TOLD_WITHOUT_EYES = 0.8
"""Share of the actions' variance at which pictures add little to learn from."""
TOLD_BY_THE_LAST = 0.95
"""Share of the actions' variance told by the last action alone."""


def shortcuts_of(recording: Recording) -> Audit:
    """Cues for the task, cues for the actions, and starts that evaluations use."""
    tracks, numbers = recording.tracks, dict[str, Any]()
    names = list(by_task(tracks))
    labels = np.array([names.index(track.instruction) for track in tracks])
    findings = [*_task_told(tracks, labels, numbers), _told_without_eyes(tracks, labels, len(names), numbers)]
    findings.append(_copycat(tracks, numbers))
    official = [track.number for track in tracks if track.official]
    unknown = sum(track.official is None for track in tracks)
    level: Level = "fail" if official else "skip" if unknown else "pass"
    said = f"{len(official)} episodes start from one, first {official[0]}" if official else "none starts from one"
    if level == "skip":
        said = f"{unknown} episodes do not say where their objects stood"
    advice = "evaluate elsewhere, or leave these episodes out: the official states are for evaluation only"
    findings.append(judged("shortcuts", "official initial states", level, said, advice))
    return Audit(tuple(findings), numbers)


def _task_told(tracks: Sequence[Track], labels: np.ndarray, numbers: dict[str, Any]) -> list[Finding]:
    """Whether the task can be told before anybody has said it."""
    looks = [None if track.look is None else track.look.astype(np.float64).reshape(-1) for track in tracks]
    poses = [None if track.proprio is None else track.proprio[0] for track in tracks]
    ignored = "a policy can ignore the words: probe it with another task's, or show scenes that several tasks fit"
    return [
        _told_by("picture", looks, labels, numbers, ignored),
        _told_by("pose", _scaled(poses), labels, numbers, "start every task from the same spread of poses"),
    ]


def _told_by(
    name: str, cues: Sequence[np.ndarray | None], labels: np.ndarray, numbers: dict[str, Any], advice: str
) -> Finding:
    """How often the nearest other episode, by one cue, shows the same task; of tasks shown more than once."""
    check, sizes = f"task from the first {name}", np.bincount(labels)
    have = [(cue, label) for cue, label in zip(cues, labels, strict=True) if cue is not None and sizes[label] > 1]
    told_of = np.array([label for _, label in have])
    if len(np.unique(told_of)) < 2:
        return judged("shortcuts", check, "skip", f"needs two tasks with two episodes each and a {name}", "")
    rows = np.stack([cue for cue, _ in have])
    accuracy, chance = shortcuts.nearest_label(rows, told_of)
    luck = shortcuts.chance_of(round(accuracy * len(have)), len(have), chance)
    numbers[check.replace(" ", "_")] = {
        "accuracy": round(accuracy, 3),
        "chance": round(chance, 3),
        "disparity": round(disparity(rows, told_of), 3),
    }
    told = luck < LUCK and accuracy > chance + TOLD * (1 - chance)
    said = f"right in {accuracy:.0%} of {len(have)} episodes by the nearest other one (chance {chance:.0%})"
    return judged("shortcuts", check, "warn" if told else "pass", said, advice)


def _scaled(poses: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    """Each number in deviations, so that metres and radians count alike."""
    known = [pose for pose in poses if pose is not None]
    if not known:
        return list(poses)
    spread = np.stack(known).std(axis=0)
    scale = np.where(spread > 1e-9, spread, np.inf)
    return [None if pose is None else pose / scale for pose in poses]


def _told_without_eyes(tracks: Sequence[Track], labels: np.ndarray, tasks: int, numbers: dict[str, Any]) -> Finding:
    """How much of the actions follows from what is not seen, in episodes that were held out."""
    steps = _thinned(tracks)
    actions = np.concatenate([track.actions[rows] for track, rows in zip(tracks, steps, strict=True)])
    episodes = np.concatenate([np.full(len(rows), i) for i, rows in enumerate(steps)])
    time = np.concatenate([rows / 100 for rows in steps])[:, None]
    task = shortcuts.one_hot(np.repeat(labels, [len(rows) for rows in steps]), tasks)
    cues = {"time": time, "time and task": np.concatenate([time, task], axis=1)}
    if all(track.proprio is not None for track in tracks):
        pairs = zip(tracks, steps, strict=True)
        pose = np.concatenate([track.proprio[rows] for track, rows in pairs if track.proprio is not None])
        cues |= {"pose": pose, "pose, time and task": np.concatenate([pose, time, task], axis=1)}
    told = {name: shortcuts.held_out_r2(cue, actions, episodes) for name, cue in cues.items()}
    numbers["actions_told_by"] = {name: round(value, 3) for name, value in told.items()}
    most = max(told.values())
    return judged(
        "shortcuts",
        "actions without pictures",
        "warn" if most > TOLD_WITHOUT_EYES else "pass",
        "of the actions' variance in held-out episodes: "
        + ", ".join(f"{value:.0%} from {name}" for name, value in told.items()),
        "a policy can learn them with its eyes closed: vary where things and the arm stand at the start",
    )


def _copycat(tracks: Sequence[Track], numbers: dict[str, Any]) -> Finding:
    """What the last action tells of the next (de Haan et al. 2019, arXiv:1905.11979)."""
    steps = [rows[rows > 0] for rows in _thinned(tracks)]
    pairs = list(zip(tracks, steps, strict=True))
    actions = np.concatenate([track.actions[rows] for track, rows in pairs])
    before = np.concatenate([track.actions[rows - 1] for track, rows in pairs])
    told = shortcuts.held_out_r2(
        before, actions, np.concatenate([np.full(len(rows), i) for i, rows in enumerate(steps)])
    )
    numbers["actions_told_by"]["the last action"] = round(told, 3)
    return judged(
        "shortcuts",
        "copycat",
        "warn" if told > TOLD_BY_THE_LAST else "pass",
        f"{told:.0%} of the actions' variance follows from the action before",
        "do not give past actions (or frames that show them) to the policy, and judge it by success, not by loss",
    )


def _thinned(tracks: Sequence[Track]) -> list[np.ndarray]:
    """Steps of each episode, so that there are `ROWS` of them at most."""
    every = -(-sum(map(len, tracks)) // shortcuts.ROWS)
    return [np.arange(0, len(track), every) for track in tracks]
