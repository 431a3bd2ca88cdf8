"""How much a data set shows: tasks, words, outcomes, starts, copies, and how many episodes differ.

A threshold says when to look, not what is true; docs/data.md gives the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hone.data import diversity
from hone.data.findings import Audit, Finding, Level, judged
from hone.data.tracks import Recording, Track, by_task

COPY = 0.02
"""Distance, in deviations of the data, below which two episodes are the same one."""
FEWEST_DISTINCT = 0.3
"""Effective number of episodes over their number."""
STILL_M = 1e-3
"""Spread of the objects' starts below which they do not move."""
MOST_UNEVEN = 3.0
"""Episodes of the best shown task over those of the least shown."""


def diversity_of(recording: Recording) -> Audit:
    """Coverage, language, outcomes, starts, copies and the effective number of episodes."""
    tracks, numbers = recording.tracks, dict[str, Any]()
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
    return Audit(tuple(findings), numbers)


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
