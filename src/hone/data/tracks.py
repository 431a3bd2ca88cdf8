"""Recordings as an audit looks at them: plain numbers of some episodes, whatever they were stored as.

Of a large data set a sample is read, evenly spread over it; numbers only, and one small picture of each episode's
start. What is kept of an episode of 200 steps is some 30 KB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from hone.data import lerobot_format as lf
from hone.data.episodes import read_dataset, read_headers
from hone.data.lerobot_table import EpisodeRow, LerobotTables
from hone.data.pictures import resized
from hone.data.video import first_picture
from hone.errors import HoneError
from hone.specs import Spec
from hone.types import Episode

LOOK_SIDE = 16
"""Pixels on a side of the picture kept of each start."""
LOOKS = 200
"""Starts that are looked at, of a data set with videos: each takes a process of ffmpeg."""


@dataclass(frozen=True)
class Track:
    """One episode in numbers."""

    number: int
    instruction: str
    success: bool | None
    """`None`: the data set does not say."""
    actions: Float64[np.ndarray, "T A"]
    proprio: Float64[np.ndarray, "T P"] | None
    look: UInt8[np.ndarray, "S S 3"] | None
    """What the main camera shows at the start, small."""
    objects: Float64[np.ndarray, " M"] | None
    """Where the objects stand at the start, where the data set says so."""
    official: bool | None
    """Whether it starts from one of the benchmark's own initial states; `None` where that cannot be told."""

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True)
class Recording:
    """What an audit reads of a data set."""

    kind: str
    """How it is stored, in words."""
    tracks: tuple[Track, ...]
    episodes: int
    """How many there are; `tracks` may be a sample."""
    rate_hz: float

    @property
    def sampled(self) -> bool:
        return len(self.tracks) < self.episodes


def spread(count: int, most: int) -> np.ndarray:
    """`most` indices out of `count`, evenly spread; all of them where there are fewer."""
    return np.arange(count) if count <= most else np.unique(np.linspace(0, count - 1, most).round().astype(int))


def track_of(number: int, episode: Episode, official: bool | None) -> Track:
    """Of one of Hone's episodes; its pictures stand upright."""
    objects = None if episode.state is None else episode.state[0].astype(np.float64).reshape(-1)
    return Track(
        number=number,
        instruction=episode.instruction,
        success=episode.status == "success",
        actions=episode.actions.astype(np.float64),
        proprio=episode.proprio.astype(np.float64),
        look=None if episode.images is None else resized(episode.images[:1, 0], LOOK_SIDE)[0],
        objects=objects,
        official=official,
    )


def hone_recording(folder: Path, most: int) -> Recording:
    """Of a folder of Hone's own episodes."""
    from hone.data.episodes import iterate_episodes

    spec, headers = read_dataset(folder).spec, read_headers(folder)
    wanted = set(spread(len(headers), most).tolist())
    tracks = tuple(
        track_of(number, episode, episode.placement.kind == "official" if episode.placement.index >= 0 else None)
        for number, episode in enumerate(iterate_episodes(folder, status=None))
        if number in wanted
    )
    return Recording("Hone's episodes", tracks, len(headers), spec.control_rate_hz)


def episodes_recording(kind: str, episodes: Iterable[Episode], total: int, most: int) -> Recording:
    """Of episodes that a reader makes of another format, one at a time."""
    wanted = set(spread(total, most).tolist())
    tracks = tuple(
        track_of(number, episode, episode.metadata.get("official_start"))
        for number, episode in enumerate(episodes)
        if number in wanted
    )
    return Recording(kind, tracks, total, Spec().control_rate_hz)


def lerobot_recording(tables: LerobotTables, most: int) -> Recording:
    """Of a LeRobot data set of any robot: its numbers as they are, without conventions."""
    rows = tables.episodes()
    chosen = [rows[i] for i in spread(len(rows), most)]
    looks = {rows[i].number for i in spread(len(rows), min(most, LOOKS))}
    tracks = []
    for row in chosen:
        frames = tables.frames(row, [n for n in (lf.ACTION, lf.STATE) if n in tables.features])
        tracks.append(
            Track(
                number=row.number,
                instruction=tables.instruction(row),
                success=tables.success(row),
                actions=frames[lf.ACTION],
                proprio=frames.get(lf.STATE),
                look=_look(tables, row) if row.number in looks else None,
                objects=None,
                official=tables.official(row),
            )
        )
    return Recording(f"LeRobotDataset {tables.version}", tuple(tracks), len(rows), tables.rate_hz)


def _look(tables: LerobotTables, row: EpisodeRow) -> np.ndarray | None:
    """`None` where it has no camera, or its film cannot be read: another check says so."""
    if not tables.cameras:
        return None
    key = tables.cameras[0]
    try:
        if tables.features[key]["dtype"] == "video":
            path, start = tables.film(row, key)
            return first_picture(path, start, tables.rate_hz, LOOK_SIDE)
        return resized(tables.stored_picture(row, key)[None], LOOK_SIDE)[0]
    except HoneError:
        return None


def by_task(tracks: Sequence[Track]) -> dict[str, list[Track]]:
    """Episodes by what was asked for."""
    groups: dict[str, list[Track]] = {}
    for track in tracks:
        groups.setdefault(track.instruction, []).append(track)
    return groups
