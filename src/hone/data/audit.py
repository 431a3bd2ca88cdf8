"""The audit of a data set: numbers from motion.py, shortcuts.py and diversity.py, each held against a threshold.

A threshold says when to look, not what is true; docs/data.md gives the reason for each. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hone.data import diversity, motion, shortcuts
from hone.data.findings import Finding, Level, judged
from hone.data.tracks import Recording, Track, by_task
from hone.types import ACTION_DIM, PROPRIO_DIM

MOST_IDLE = 0.05
"""Share of idle steps: OpenVLA filtered LIBERO's because a policy without memory learns to rest for ever."""
LONGEST_REST = 10
"""Idle control steps in a row: half a second of LIBERO."""
MOST_SATURATED = 0.25
"""Share of steps at a dimension's own extremes: there the data do not say how much more was wanted."""
FARTHEST = 20.0
"""Deviations from the mean: a network with inputs or outputs so large learns little else."""
ROUGHEST = 0.8
"""Mean step-to-step change in deviations; white noise has 1.13."""
COMMANDED_CLOSING = 0.5
"""How clearly one side of the hand's command closes it (1: always)."""
LUCK = 0.01
"""How improbable by chance an accuracy has to be before it counts."""
TOLD = 0.25
"""Way from chance to certainty at which a cue tells the task."""
TOLD_WITHOUT_EYES = 0.8
"""Share of the actions' variance at which pictures add little to learn from."""
TOLD_BY_THE_LAST = 0.95
"""Share of the actions' variance told by the last action alone."""
COPY = 0.02
"""Distance, in deviations of the data, below which two episodes are the same one."""
FEWEST_DISTINCT = 0.3
"""Effective number of episodes over their number."""
STILL_M = 1e-3
"""Spread of the objects' starts below which they do not move."""
MOST_UNEVEN = 3.0
"""Episodes of the best shown task over those of the least shown."""
POINTED = 0.5
"""Correlation of actions with the motion they cause below which they do not say where the arm goes."""
LIBERO_LAG = 1
"""Steps by which LIBERO's arm follows its commands; measured over 59 expert episodes (docs/data.md)."""


@dataclass(frozen=True)
class Audit:
    """`numbers` is what the findings rest on, for programs."""

    findings: tuple[Finding, ...]
    numbers: dict[str, Any] = field(default_factory=dict)


def audit(recording: Recording) -> Audit:
    """Statistics, shortcuts and diversity of what was read of a data set. Its integrity is checked before."""
    tracks = recording.tracks
    broken = [track.number for track in tracks if not _finite(track)]
    if broken or not tracks:
        said = f"{len(broken)} episodes have numbers that are not finite, first {broken[0]}" if broken else "none"
        return Audit((Finding("statistics", "finite", "fail", said, "leave these episodes out, then check again"),))
    findings: list[Finding] = []
    numbers: dict[str, Any] = {}
    parts: tuple[Callable[[Recording, dict[str, Any]], list[Finding]], ...] = (_statistics, _shortcuts, _diversity)
    for part in parts:
        findings += part(recording, numbers)
    return Audit(tuple(findings), numbers)


def is_libero(track: Track) -> bool:
    """Whether the numbers have the form of LIBERO's: position and rotation deltas and a gripper, eight of state."""
    return track.actions.shape[1] == ACTION_DIM and track.proprio is not None and track.proprio.shape[1] == PROPRIO_DIM


def _finite(track: Track) -> bool:
    return bool(np.isfinite(track.actions).all() and (track.proprio is None or np.isfinite(track.proprio).all()))


def _statistics(recording: Recording, numbers: dict[str, Any]) -> list[Finding]:
    tracks = recording.tracks
    libero, hand = is_libero(tracks[0]), ACTION_DIM - 1 if tracks[0].actions.shape[1] == ACTION_DIM else None
    actions = [track.actions for track in tracks]
    values = np.concatenate(actions)
    lengths = np.array([len(track) for track in tracks])
    groups = by_task(tracks)
    numbers["episodes"], numbers["read"], numbers["kind"] = recording.episodes, len(tracks), recording.kind
    numbers["frames_read"], numbers["lengths"] = int(lengths.sum()), _five(lengths)
    numbers["tasks"] = {name: len(group) for name, group in groups.items()}
    numbers["actions"] = {
        name: np.round(number, 4).tolist()
        for name, number in (
            ("low", values.min(axis=0)),
            ("high", values.max(axis=0)),
            ("mean", values.mean(axis=0)),
            ("std", values.std(axis=0)),
        )
    }
    findings = [_normalisable("actions", actions, numbers)]
    if all(track.proprio is not None for track in tracks):
        findings.append(_normalisable("state", [t.proprio for t in tracks if t.proprio is not None], numbers))
    findings += [_range(values, libero), _saturation(values, numbers), _idle(recording, hand, numbers)]
    smooth = ~motion.two_valued(values)
    rough = motion.roughness(actions)[smooth]
    numbers["roughness"] = np.round(rough, 3).tolist()
    findings.append(
        judged(
            "statistics",
            "smoothness",
            "warn" if len(rough) and rough.max() > ROUGHEST else "pass",
            f"step-to-step change {rough.max() if len(rough) else 0:.2f} deviations at most (white noise 1.13)",
            "noise in the labels, or rows in the wrong order: look at a film (`hone view`) before training",
        )
    )
    if libero:
        findings += [_gripper(tracks, numbers), _in_step(tracks, numbers)]
    return findings


def _normalisable(name: str, columns: Sequence[np.ndarray], numbers: dict[str, Any]) -> Finding:
    """Whether normalising by mean and deviation keeps numbers at a sensible size."""
    values = np.concatenate(list(columns))
    far = motion.farthest(values)
    constant, wild = np.flatnonzero(~np.isfinite(far)), np.flatnonzero(np.isfinite(far) & (far > FARTHEST))
    numbers[f"{name}_farthest"] = [None if not np.isfinite(f) else round(float(f), 2) for f in far]
    level: Level = "warn" if len(constant) or len(wild) else "pass"
    problems = []
    if len(constant):
        problems.append(f"dimension {_list(constant)} never changes")
    if len(wild):
        problems.append(f"dimension {_list(wild)} reaches {far[wild].max():.0f} deviations from its mean")
    return judged(
        "statistics",
        f"normalising the {name}",
        level,
        "; ".join(problems) or f"at most {far.max():.1f} deviations from the mean",
        "dividing by its deviation blows it up: put a floor under the deviation, or normalise by range (quantiles)",
    )


def _range(values: np.ndarray, libero: bool) -> Finding:
    low, high = float(values.min()), float(values.max())
    outside = libero and (low < -1.01 or high > 1.01)
    return judged(
        "statistics",
        "action range",
        "fail" if outside else "pass",
        f"{low:.3g} to {high:.3g}" + (", but LIBERO's controller takes [-1, 1]" if outside else ""),
        "these are normalised or absolute actions: undo that before importing them",
    )


def _saturation(values: np.ndarray, numbers: dict[str, Any]) -> Finding:
    smooth = ~motion.two_valued(values)
    share = np.where(smooth, motion.saturated(values), 0.0)
    numbers["saturated_share"] = np.round(share, 4).tolist()
    return judged(
        "statistics",
        "saturation",
        "warn" if share.max() > MOST_SATURATED else "pass",
        f"dimension {int(share.argmax())} is at its extremes in {share.max():.1%} of the steps",
        "the demonstrator wanted more than the range allows: slow it down, or widen the range",
    )


def _idle(recording: Recording, hand: int | None, numbers: dict[str, Any]) -> Finding:
    masks = [motion.idle(track.actions, hand) for track in recording.tracks]
    share, longest = float(np.concatenate(masks).mean()), max(map(motion.longest_run, masks))
    numbers["idle_share"], numbers["longest_rest"] = round(share, 4), longest
    return judged(
        "statistics",
        "rests",
        "warn" if share > MOST_IDLE or longest > LONGEST_REST else "pass",
        f"{share:.1%} of the steps ask for nothing, {longest} in a row at most ({longest / recording.rate_hz:.1f} s)",
        "a policy without memory learns to rest for ever: leave such steps out (hone data import --drop-idle), or let "
        "practice cure it",
    )


def _gripper(tracks: Sequence[Track], numbers: dict[str, Any]) -> Finding:
    hand = ACTION_DIM - 1
    widths = [track.proprio[:, 6] - track.proprio[:, 7] for track in tracks if track.proprio is not None]
    side = motion.closing_side([track.actions for track in tracks], widths, hand)
    flips = [motion.flips(track.actions, hand) for track in tracks]
    numbers["gripper"] = {"closes_with": round(side, 3), "flips": _five(np.array(flips))}
    never = sum(count == 0 for count in flips)
    if side < -COMMANDED_CLOSING:
        said, level = "the fingers close under its lower numbers: the reverse of LIBERO's -1 opens, +1 closes", "fail"
    elif side < COMMANDED_CLOSING:
        said, level = f"its side does not tell which way the fingers move ({side:+.2f}; 1 if larger closes)", "warn"
    else:
        said = f"larger numbers close it ({side:+.2f}), {np.mean(flips):.1f} changes an episode, {never} without any"
        level = "pass"
    advice = "pass --convention.gripper open_one on import where 1 opens; look at a film where neither does"
    return judged("statistics", "gripper", level, said, advice)


def _in_step(tracks: Sequence[Track], numbers: dict[str, Any]) -> Finding:
    """Whether an observation was made before the action it is stored with."""
    found = motion.lags([t.actions for t in tracks], [t.proprio[:, :3] for t in tracks if t.proprio is not None])
    numbers["motion_after_action"] = {str(lag): round(value, 4) for lag, value in found.items()}
    best = max(found, key=lambda lag: found[lag]) if found else LIBERO_LAG
    clear = bool(found) and found[best] > POINTED
    level: Level = "pass" if clear and best >= LIBERO_LAG else "warn"
    said = f"the arm follows {best} steps after its command (correlation {found.get(best, 0.0):.2f})"
    if clear and best < LIBERO_LAG:
        said += f", where LIBERO's follows {LIBERO_LAG}: observations seem to be made after the action beside them"
    elif not clear:
        said = f"the arm does not go where actions point (correlation {found.get(best, 0.0):.2f} at best)"
    return judged(
        "statistics",
        "in step",
        level,
        said,
        "shift actions by one against observations (hone data import does it for LIBERO's HDF5), or check their frame",
    )


def _shortcuts(recording: Recording, numbers: dict[str, Any]) -> list[Finding]:
    tracks = recording.tracks
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
    return findings


def _task_told(tracks: Sequence[Track], labels: np.ndarray, numbers: dict[str, Any]) -> list[Finding]:
    """Whether the task can be told before anybody has said it."""
    findings = []
    sizes = np.bincount(labels)
    several = [i for i, label in enumerate(labels) if sizes[label] > 1]
    for cue, name, advice in (
        (
            [None if t.look is None else t.look.astype(np.float64).reshape(-1) for t in tracks],
            "task from the first picture",
            "a policy can ignore the words: probe it with another task's words, or show scenes in which several tasks "
            "are possible",
        ),
        (
            [None if t.proprio is None else t.proprio[0] for t in tracks],
            "task from the first pose",
            "start every task from the same spread of poses",
        ),
    ):
        have = [i for i in several if cue[i] is not None]
        if len(set(labels[have])) < 2:
            what = f"needs two tasks with two episodes each and a {name.split()[-1]}"
            findings.append(judged("shortcuts", name, "skip", what, ""))
            continue
        rows = np.stack([np.asarray(cue[i]) for i in have])
        spread = rows.std(axis=0)
        if name == "task from the first pose":
            rows = (rows - rows.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
        accuracy, chance = shortcuts.nearest_label(rows, labels[have])
        luck = shortcuts.chance_of(round(accuracy * len(have)), len(have), chance)
        told = luck < LUCK and accuracy > chance + TOLD * (1 - chance)
        numbers[name.replace(" ", "_")] = {
            "accuracy": round(accuracy, 3),
            "chance": round(chance, 3),
            "disparity": round(diversity.disparity(rows, labels[have]), 3),
        }
        said = f"right in {accuracy:.0%} of {len(have)} episodes by the nearest other one (chance {chance:.0%})"
        findings.append(judged("shortcuts", name, "warn" if told else "pass", said, advice))
    return findings


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


def _diversity(recording: Recording, numbers: dict[str, Any]) -> list[Finding]:
    tracks = recording.tracks
    groups = by_task(tracks)
    findings = [_coverage(groups), _language(groups), _success(tracks, numbers), *_starts(groups, numbers)]
    moving = [
        np.concatenate([track.actions] if track.proprio is None else [track.actions, track.proprio], axis=1)
        for track in tracks
    ]
    distances = diversity.episode_distances(np.stack([diversity.resampled(values) for values in moving]))
    copies = diversity.copies(distances, COPY)
    named = ", ".join(f"{tracks[a].number} and {tracks[b].number}" for a, b in copies[:3])
    numbers["copies"] = [[tracks[a].number, tracks[b].number] for a, b in copies[:100]]
    findings.append(
        judged(
            "diversity",
            "copies",
            "warn" if copies else "pass",
            f"{len(copies)} pairs are the same episode: {named}" if copies else "no two episodes are the same",
            "leave one of each out: copies weigh double, and leak between training and validation",
        )
    )
    effective = diversity.effective_number(distances)
    numbers["effective_episodes"] = round(effective, 2)
    numbers["effective_episodes_per_task"] = {
        name: round(diversity.effective_number(distances[np.ix_(rows, rows)]), 2)
        for name, rows in (
            (name, [i for i, track in enumerate(tracks) if track.instruction == name]) for name in groups
        )
    }
    few = len(tracks) > 1 and effective < FEWEST_DISTINCT * len(tracks)
    findings.append(
        judged(
            "diversity",
            "distinct episodes",
            "warn" if few else "pass",
            f"{len(tracks)} episodes count as {effective:.1f} different ones",
            "they resemble each other: vary starts, speeds and ways rather than recording more of the same",
        )
    )
    return findings


def _coverage(groups: dict[str, list[Track]]) -> Finding:
    counts = {name: len(group) for name, group in groups.items()}
    most, least = max(counts.values()), min(counts.values())
    single = sum(count == 1 for count in counts.values())
    uneven = most > MOST_UNEVEN * least
    said = f"{len(counts)} tasks, {least} to {most} episodes of each" if most > least else (
        f"{len(counts)} tasks, {most} episodes of each"
    )  # fmt: skip
    if single:
        said += f"; {single} with a single one"
    advice = "record more of the least shown, or weigh tasks evenly; what a single episode shows cannot be checked"
    return judged("diversity", "coverage", "warn" if uneven or single else "pass", said, advice)


def _language(groups: dict[str, list[Track]]) -> Finding:
    words = [len(name.split()) for name in groups]
    empty = sum(not name.strip() for name in groups)
    said = f"{len(groups)} wordings, {min(words)} to {max(words)} words" + (f", {empty} of them empty" if empty else "")
    level: Level = "fail" if empty else "warn" if len(groups) == 1 else "pass"
    if level == "warn":
        said += ": a single one teaches nothing about words"
    advice = "write what each episode does; say a task in several ways if it is to be asked for in several"
    return judged("diversity", "language", level, said, advice)


def _success(tracks: Sequence[Track], numbers: dict[str, Any]) -> Finding:
    marks = [track.success for track in tracks]
    advice = "mark success (next.success, or a column success of the episodes): rewards and critics need it"
    if all(mark is None for mark in marks):
        return judged("diversity", "success", "warn", "not marked; imports count every episode as a success", advice)
    won = sum(mark is True for mark in marks)
    numbers["successes"] = won
    if won == 0:
        return judged("diversity", "success", "warn", "no episode succeeded: there is nothing to imitate", advice)
    return judged("diversity", "success", "pass", f"{won} of {len(marks)} episodes succeeded", "")


def _starts(groups: dict[str, list[Track]], numbers: dict[str, Any]) -> list[Finding]:
    """How far the starts of one task lie apart, in the median over tasks."""
    findings = []
    for name, starts in (
        ("pose", [[t.proprio[0][:3] for t in g if t.proprio is not None] for g in groups.values()]),
        ("objects", [[t.objects for t in g if t.objects is not None] for g in groups.values()]),
    ):
        spreads = [float(np.stack(group).std(axis=0).max()) for group in starts if len(group) > 1]
        if not spreads:
            continue
        middle = float(np.median(spreads))
        numbers[f"start_spread_{name}"] = round(middle, 5)
        if name == "objects":
            said, advice = f"what varies most has a deviation of {middle:.3g}", "draw where things stand anew each time"
            findings.append(
                judged("diversity", "starts of objects", "warn" if middle < STILL_M else "pass", said, advice)
            )
    return findings


def _thinned(tracks: Sequence[Track]) -> list[np.ndarray]:
    """Steps of each episode, so that there are `ROWS` of them at most."""
    every = -(-sum(map(len, tracks)) // shortcuts.ROWS)
    return [np.arange(0, len(track), every) for track in tracks]


def _five(values: np.ndarray) -> dict[str, float]:
    return {
        "least": float(values.min()),
        "median": float(np.median(values)),
        "mean": round(float(values.mean()), 2),
        "most": float(values.max()),
    }


def _list(numbers: np.ndarray) -> str:
    return ", ".join(map(str, numbers.tolist()))
