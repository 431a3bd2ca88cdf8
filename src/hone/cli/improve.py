"""Improve a policy on a LIBERO suite: clone if there is none, evaluate, GRPO, evaluate again, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from hone.cli.output import emit_json, people
from hone.cli.progress import TerminalProgress
from hone.envs.base import EnvironmentConfig
from hone.evaluation.report import write_report
from hone.training.improve import ImproveConfig, improve


@dataclass(frozen=True)
class Config:
    """Options of `hone improve`."""

    run: Annotated[ImproveConfig, tyro.conf.arg(name="")]
    track: tuple[Literal["wandb", "trackio"], ...] = ()
    """Log the curves there too; TensorBoard always has them. Both stay on this machine unless their own settings say
    otherwise ($WANDB_MODE, $TRACKIO_SPACE_ID)."""
    ray: str | None = None
    """Run the rollouts on a Ray cluster, in `workers` actors: `auto` (the one this machine belongs to), HOST:PORT of
    its head, or `local` (one for this run alone). No setting of the run: its outcome is the same. docs/clusters.md."""
    json: bool = False
    """Print the summary as one JSON object on standard output."""


def within(environment: EnvironmentConfig) -> Config:
    return Config(ImproveConfig(suite=environment.suite, env=environment))


def run(config: Config) -> int:
    return improve_and_report(config.run, config.json, config.track, config.ray)


def improve_and_report(run: ImproveConfig, as_json: bool, track: Sequence[str] = (), ray: str | None = None) -> int:
    console = people()
    summary = improve(run, TerminalProgress(), track, ray)
    report = write_report(run.output)
    if as_json:
        emit_json(summary)
    before, after, gain = summary["before"], summary["after"], summary["paired_difference"]
    console.print(
        f"\n[bold]success {_rate(before)} → {_rate(after)}[/bold], paired difference "
        f"{100 * gain['mean']:+.1f} points [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}], "
        f"{summary['rollouts']} rollouts, {summary['minutes']:.1f} minutes\nreport: {report}"
    )
    return 0


def resume_hint(config: Any) -> str:
    return f"the same command goes on where it stopped ({config.run.output})"


def _rate(tally: dict[str, Any]) -> str:
    return f"{100 * tally['success_rate']:.1f} % [{100 * tally['low']:.1f}, {100 * tally['high']:.1f}]"
