"""`hone bench agentic`: plain GRPO against the agentic loop, from the same start and with as many rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from hone.cli.output import emit_json, people
from hone.cli.progress import TerminalProgress
from hone.errors import unknown_name


@dataclass(frozen=True)
class Config:
    """What the agentic loop adds to plain GRPO."""

    row: str = "one_shot"
    """Line of the table, see `hone.training.ladder`."""
    quick: bool = False
    """Three tasks of it and a small budget."""
    arms: tuple[str, ...] = ("cloned", "grpo_binary", "agentic")
    """What is compared; all start from the cloned policy."""
    seed: int = 0
    """Seeds everything."""
    output: Path = Path("runs/bench-agentic")
    """Folder of the runs. A bench that was stopped goes on when the same command is given again."""
    json: bool = False
    """Print one JSON object on standard output."""


def run(config: Config) -> int:
    from hone.training.ladder import ROWS, run_arm

    name = f"{config.row}_quick" if config.quick else config.row
    if name not in ROWS:
        raise unknown_name("row", name, ROWS)
    arms = [run_arm(ROWS[name], arm, config.seed, config.output / name, TerminalProgress()) for arm in config.arms]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("arm", "success", "95 % interval", "worst task", "rollouts", "until 80 %"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for arm in arms:
        until = arm["rollouts_until"]["80"]
        table.add_row(
            arm["arm"],
            f"{100 * arm['success_rate']:.1f} %",
            f"{100 * arm['low']:.1f} to {100 * arm['high']:.1f}",
            f"{100 * arm['worst_task']:.0f} %",
            str(arm["rollouts"]),
            "not reached" if until is None else str(until),
        )
    people().print(table)
    if config.json:
        emit_json({"row": name, "seed": config.seed, "arms": arms})
    return 0
