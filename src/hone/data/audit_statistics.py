"""The numbers of a data set against thresholds: ranges, rests, smoothness, the hand, and whether columns are in step.

A threshold says when to look, not what is true; docs/data.md gives the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hone.data import motion
from hone.data.findings import Audit, Finding, Level, judged
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
POINTED = 0.5
"""Correlation of actions with the motion they cause below which they do not say where the arm goes."""
LIBERO_LAG = 1
"""Steps by which LIBERO's arm follows its commands; measured over 59 expert episodes (docs/data.md)."""


def statistics(recording: Recording) -> Audit:
    """Ranges, rests, smoothness and, where the numbers are LIBERO's, gripper and order."""
    tracks, numbers = recording.tracks, dict[str, Any]()
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
    return Audit(tuple(findings), numbers)


def is_libero(track: Track) -> bool:
    """Whether the numbers have the form of LIBERO's: position and rotation deltas and a gripper, eight of state."""
    return track.actions.shape[1] == ACTION_DIM and track.proprio is not None and track.proprio.shape[1] == PROPRIO_DIM


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


def _five(values: np.ndarray) -> dict[str, float]:
    return {
        "least": float(values.min()),
        "median": float(np.median(values)),
        "mean": round(float(values.mean()), 2),
        "most": float(values.max()),
    }


def _list(numbers: np.ndarray) -> str:
    return ", ".join(map(str, numbers.tolist()))
