"""Measure what Hone claims, on this machine: `hone bench engine` and `hone bench agentic`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from hone.cli import bench_agentic, bench_engine


@dataclass(frozen=True)
class Config:
    """Options of `hone bench`."""

    what: Annotated[
        Annotated[bench_engine.Config, tyro.conf.subcommand("engine")]
        | Annotated[bench_agentic.Config, tyro.conf.subcommand("agentic")],
        tyro.conf.arg(name=""),
    ]


def run(config: Config) -> int:
    module = bench_engine if isinstance(config.what, bench_engine.Config) else bench_agentic
    return module.run(config.what)  # pyright: ignore[reportArgumentType]


def resume_hint(config: Any) -> str:
    return "run the same command again"
