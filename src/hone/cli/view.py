"""Turn recorded episodes into files to look at: a film of each (mp4), or a recording for the rerun viewer (rrd)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hone.cli.output import people
from hone.cli.progress import TerminalProgress
from hone.data.episodes import iterate_episodes, read_dataset, read_headers
from hone.errors import HoneError
from hone.viewers import FORMS


@dataclass(frozen=True)
class Config:
    """Options of `hone view`."""

    episodes: Annotated[Path, tyro.conf.Positional]
    """Folder of episodes, as `hone demos` or `hone eval --record` writes it."""
    output: Path
    """Folder the files are written to, one per episode. Files that are there already are kept."""
    form: tuple[Literal["mp4", "rrd"], ...] = ("mp4",)
    """Film, rerun recording, or both."""
    limit: int | None = None
    """So many episodes, from the first."""


def resume_hint(config: Config) -> str:
    return f"run the same command again: the files in {config.output} are kept"


def run(config: Config) -> int:
    if config.limit is not None and config.limit < 1:
        raise HoneError(f"limit is {config.limit}; view at least one episode.")
    spec = read_dataset(config.episodes).spec
    total = len(read_headers(config.episodes)[: config.limit])
    config.output.mkdir(parents=True, exist_ok=True)
    with TerminalProgress().stage("writing", total) as step:
        for number, episode in enumerate(iterate_episodes(config.episodes, status=None)):
            if number == total:
                break
            name = f"{number:06d}-{episode.task.suite}-{episode.task.index}-{episode.status}"
            for form in config.form:
                path = config.output / f"{name}.{form}"
                if not path.exists():
                    half = path.with_name(f".half-{path.name}")
                    FORMS[form](episode, spec, half)
                    half.rename(path)
            step(1, name)
    people().print(f"{total} episodes in {config.output} ({', '.join(config.form)})")
    return 0
