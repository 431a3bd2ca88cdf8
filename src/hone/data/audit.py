"""The audit of what was read of a data set; its integrity is checked elsewhere (integrity.py). Nothing is trained."""

from __future__ import annotations

import numpy as np

from hone.data.audit_diversity import diversity_of
from hone.data.audit_shortcuts import shortcuts_of
from hone.data.audit_statistics import statistics
from hone.data.findings import Audit, Finding
from hone.data.tracks import Recording, Track


def audit(recording: Recording) -> Audit:
    """Statistics, shortcuts and diversity. Numbers that are not finite end it."""
    tracks = recording.tracks
    broken = [track.number for track in tracks if not _finite(track)]
    if broken or not tracks:
        said = (
            f"{len(broken)} episodes have numbers that are not finite, first {broken[0]}" if broken else "no episodes"
        )
        return Audit((Finding("statistics", "finite", "fail", said, "leave these episodes out, then check again"),))
    parts = [part(recording) for part in (statistics, shortcuts_of, diversity_of)]
    findings = tuple(finding for part in parts for finding in part.findings)
    return Audit(findings, {name: number for part in parts for name, number in part.numbers.items()})


def _finite(track: Track) -> bool:
    return bool(np.isfinite(track.actions).all() and (track.proprio is None or np.isfinite(track.proprio).all()))
