"""The whole check of a data set of any kind that Hone reads: is it whole, and what does it teach?"""

from __future__ import annotations

from pathlib import Path

from hone.data.audit import audit
from hone.data.findings import Audit, Finding
from hone.data.integrity import check_integrity
from hone.data.lerobot_table import LerobotTables
from hone.data.sources import Conventions, Kind, kind_of, open_source
from hone.data.tracks import Recording, episodes_recording, hone_recording, lerobot_recording
from hone.errors import HoneError

CONVENTIONS = Conventions()
PICTURE_SIDE = 32
"""Pixels on a side that pictures are read at; an audit looks at less."""


def check(path: Path, most: int, conventions: Conventions = CONVENTIONS) -> Audit:
    """Findings about all of it; numbers of `most` episodes, evenly spread. A LeRobot data set is taken as it is.

    What cannot be read is a finding too. Raises `HoneError` only where there is no data set at all.
    """
    kind = kind_of(path)
    found: list[Finding] = []
    try:
        if kind == "lerobot":
            tables = LerobotTables(path)
            found += check_integrity(tables)
            recording = lerobot_recording(tables, most)
        else:
            recording = _recording(path, kind, most, conventions)
            said = f"all {recording.episodes} are whole"
            found.append(Finding("integrity", "episodes", "pass", said))
    except HoneError as error:
        broken = any(finding.level == "fail" for finding in found)
        said = "not: what is broken above keeps the numbers from being read" if broken else str(error)
        return Audit((*found, Finding("integrity", "readable", "fail", said, "mend this, then check again")))
    result = audit(recording)
    return Audit((*found, *result.findings), result.numbers)


def _recording(path: Path, kind: Kind, most: int, conventions: Conventions) -> Recording:
    if kind == "hone":
        return hone_recording(path, most)
    source = open_source(path, conventions, PICTURE_SIDE)
    return episodes_recording(str(source.provenance["imported_from"]), source, len(source), most)
