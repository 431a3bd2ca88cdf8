"""The report's section on practice: which task was practised when, with hints or without, and how it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

CAPTION = (
    "Tasks downwards, updates to the right. The number is how many episodes the task got; colour is the success of "
    "those without hints, by the reward's own account, from none (pale) to all (full; striped where there were none). "
    "A dot: some of them were hinted."
)

DARKEST = 70
"""Share of the full colour (%) where every episode succeeds: numbers are still to be read on it."""


@dataclass(frozen=True)
class Practised:
    """One task in one update. `rate`: success of its episodes without hints, `None` where there were none."""

    episodes: int
    hinted: int
    rate: float | None
    hinted_rate: float | None


def practice_content(rows: Sequence[Mapping[str, Any]]) -> str:
    """Content of the section, from the rows of `attempts.jsonl`; nothing for a single task without hints."""
    found = practised(rows)
    tasks, updates = sorted({task for task, _ in found}), sorted({update for _, update in found})
    if len(tasks) < 2 and not any(cell.hinted for cell in found.values()):
        return ""
    heads = "".join(f"<th>{update}</th>" for update in updates)
    lines = [f"<tr><th></th>{heads}</tr>"]
    for task in tasks:
        cells = "".join(_cell(found.get((task, update))) for update in updates)
        lines.append(f'<tr><th class="task">{escape(task.replace("_", " "))}</th>{cells}</tr>')
    return f'<div class="scroll"><table class="heat">{"".join(lines)}</table></div>'


def practised(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], Practised]:
    """Every task in every update in which it was practised."""
    outcomes: dict[tuple[str, int], tuple[list[bool], list[bool]]] = {}
    for row in rows:
        plain, hinted = outcomes.setdefault((row["task"], row["iteration"]), ([], []))
        (hinted if row["hint"] else plain).append(row["success"])
    return {
        key: Practised(len(plain) + len(hinted), len(hinted), _mean(plain), _mean(hinted))
        for key, (plain, hinted) in outcomes.items()
    }


def _cell(found: Practised | None) -> str:
    if found is None:
        return "<td></td>"
    told = [
        f"without hints: {_share(found.rate)} of {found.episodes - found.hinted}",
        f"with hints: {_share(found.hinted_rate)} of {found.hinted}",
    ]
    share = "none" if found.rate is None else f"{DARKEST * found.rate:.0f}%"
    dot = '<span class="dot"></span>' if found.hinted else ""
    return f'<td style="--share:{share}" title="{"; ".join(told)}">{found.episodes}{dot}</td>'


def _mean(outcomes: Sequence[bool]) -> float | None:
    return sum(outcomes) / len(outcomes) if outcomes else None


def _share(rate: float | None) -> str:
    return "\u2013" if rate is None else f"{100 * rate:.0f} %"
