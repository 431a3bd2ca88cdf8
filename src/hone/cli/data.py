"""Demonstrations from and for other programs, and what is wrong with them.

`hone data export` writes a LeRobotDataset v3.0, `hone data import` reads one, or LIBERO's HDF5 files, or RLDS, and
`hone data check` audits any of them. Needs `pip install 'hone-vla[data]'`. docs/data.md says what the columns mean.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Float32

from hone.cli.data_check import Check, check
from hone.cli.demos import summary
from hone.cli.output import emit_json, people
from hone.cli.progress import TerminalProgress
from hone.data.episodes import read_dataset, read_headers
from hone.data.lerobot_format import Convention
from hone.data.lerobot_writer import Progress
from hone.data.libero_hdf5 import Hdf5Convention
from hone.data.rlds import RldsConvention
from hone.errors import HoneError
from hone.types import Episode


@dataclass(frozen=True)
class Export:
    """Write recorded episodes, failures included and marked, as a LeRobotDataset v3.0."""

    demos: Path
    """Folder of episodes, as `hone demos` writes it."""
    output: Path
    """Folder of the new data set."""
    critic: Path | None = None
    """Folder of a progress critic: adds a column next.progress, and the file that LeRobot's RA-BC reads."""
    json: bool = False
    """Print a summary as one JSON object on standard output."""


@dataclass(frozen=True)
class Import:
    """Make Hone episodes of LIBERO recordings from elsewhere, so that `hone clone` can learn from them.

    Reads a LeRobotDataset v3.0, LIBERO's own HDF5 files, and RLDS in TFRecords (openvla/modified_libero_rlds).
    """

    dataset: Path
    """A LeRobot data set's folder (with meta/, data/ and videos/), an HDF5 file, or a folder of HDF5 or TFRecords."""
    output: Path
    """Folder the episodes are written to."""
    image_size: int = 84
    """Pixels on a side that pictures are resized to; 84 is what the built-in policy reads."""
    drop_idle: bool = False
    """Leave out steps that ask for nothing, as OpenVLA does with LIBERO's demonstrations."""
    convention: Convention = field(default_factory=Convention)
    """What the numbers of a LeRobot data set mean."""
    hdf5: Hdf5Convention = field(default_factory=Hdf5Convention)
    """What an HDF5 file does not say itself."""
    rlds: RldsConvention = field(default_factory=RldsConvention)
    """What an RLDS data set does not say itself."""
    json: bool = False
    """Print a summary as one JSON object on standard output."""


@dataclass(frozen=True)
class Config:
    """Options of `hone data`."""

    action: Annotated[
        Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[Import, tyro.conf.subcommand("import")]
        | Annotated[Check, tyro.conf.subcommand("check")],
        tyro.conf.arg(name=""),
    ]


def run(config: Config) -> int:
    if isinstance(config.action, Check):
        return check(config.action)
    return _export(config.action) if isinstance(config.action, Export) else _import(config.action)


def _export(config: Export) -> int:
    from hone.data.lerobot_writer import export_lerobot

    started = time.monotonic()
    total = len(read_headers(config.demos))
    with TerminalProgress().stage("exporting", total) as step:
        progress = None if config.critic is None else _judged_by(config.critic, config.demos)
        written = export_lerobot(config.demos, config.output, on_episode=lambda _: step(1), progress=progress)
    people().print(
        f"{written['episodes']} episodes ({written['successes']} successes, {written['frames']} frames, "
        f"{written['megabytes']} MiB) in {config.output} ({time.monotonic() - started:.0f} s)"
    )
    if config.json:
        emit_json({**written, "output": str(config.output)})
    return 0


def _judged_by(folder: Path, demos: Path) -> Progress:
    """Progress as a trained critic judges it, from pictures and instruction."""
    from hone.rewards.progress import ProgressCritic

    critic, spec = ProgressCritic.load(folder), read_dataset(demos).spec
    reads = (critic.config.cameras, critic.config.image_size)
    if (len(spec.cameras), spec.image_size) != reads or spec.image_orientation != "upright":
        raise HoneError(
            f"the critic reads {reads[0]} cameras of {reads[1]} pixels, upright, but '{demos}' has {len(spec.cameras)} "
            f"of {spec.image_size}, {spec.image_orientation}."
        )

    def judge(episode: Episode) -> Float32[np.ndarray, " T"]:
        assert episode.images is not None
        return critic.since_start(episode.images, episode.instruction)

    return judge


def _import(config: Import) -> int:
    from hone.data.sources import Conventions, import_episodes, open_source

    started = time.monotonic()
    conventions = Conventions(config.convention, config.hdf5, config.rlds)
    source = open_source(config.dataset, conventions, config.image_size)
    with TerminalProgress().stage("importing", len(source)) as step:
        import_episodes(source, config.output, drop_idle=config.drop_idle, on_episode=lambda _: step(1))
    result = summary(read_headers(config.output))
    people().print(
        f"{result['episodes']} episodes ({result['successes']} successes) in {config.output} "
        f"({time.monotonic() - started:.0f} s)"
    )
    if config.json:
        emit_json({**result, "output": str(config.output)})
    return 0
