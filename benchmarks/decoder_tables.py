"""Tables and figure of benchmarks/decoders.py, from its lines alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hone.evaluation.stats import wilson_interval
from hone.policies.heads import HEADS
from hone.training.decoders import paired

Line = Mapping[str, Any]


def print_tables(lines: Sequence[Line]) -> None:
    for part, table in TABLES.items():
        of_part = [line for line in lines if line["part"] == part]
        if of_part:
            print(f"\n{part}\n")
            table(of_part)


def target_table(lines: Sequence[Line]) -> None:
    _header("head", "its network says", "success, %", "by seed, %", "error of a chunk")
    for cell in _cells(lines, "head", "target"):
        _row(
            cell[0]["head"],
            cell[0]["target"],
            _pooled(cell),
            ", ".join(f"{100 * line['success_rate']:.0f}" for line in cell),
            f"{_mean(cell, 'chunk_error'):.3f}",
        )


def success_table(lines: Sequence[Line]) -> None:
    _header("head", "evaluations", "ms", "success, %", "by seed, %", "error of a chunk", "jerk at seams", "inside")
    for cell in _cells(lines, "head", "budget"):
        _row(
            cell[0]["head"],
            f"{_mean(cell, 'evaluations'):.0f}",
            f"{_mean(cell, 'milliseconds'):.1f}",
            _pooled(cell),
            ", ".join(f"{100 * line['success_rate']:.0f}" for line in cell),
            f"{_mean(cell, 'chunk_error'):.3f}",
            f"{_mean(cell, 'jerk_seam'):.2f}",
            f"{_mean(cell, 'jerk_inside'):.2f}",
        )


def modes_table(lines: Sequence[Line]) -> None:
    _header(
        "head", "first mode shown, %", "at a mode, %", "at the first, %", "error", "greedy at a mode, %", "by budget, %"
    )
    for cell in _cells(lines, "head", "share"):
        budgets = {name: np.mean([line["by_budget"][name] for line in cell]) for name in cell[0]["by_budget"]}
        _row(
            cell[0]["head"],
            f"{100 * cell[0]['share']:.0f}",
            *(f"{100 * _mean(cell, name):.0f}" for name in ("covered", "first")),
            f"{_mean(cell, 'error'):.3f}",
            f"{100 * _mean(cell, 'greedy'):.0f}",
            ", ".join(f"{name}: {100 * share:.0f}" for name, share in budgets.items()) or "-",
        )


def eqm_table(lines: Sequence[Line]) -> None:
    """Flow and equilibrium matching beside each other, and their difference over the same episodes."""
    _header(
        "at most", "stop", "start", "flow, %", "evaluations", "eqm, %", "evaluations", "eqm - flow, points", "pairs"
    )
    for cell in _cells(lines, "budget", "stop", "start"):
        flow, eqm = ([line for line in cell if line["head"] == head] for head in ("flow", "eqm"))
        if flow and eqm:
            difference = paired(flow, eqm)
            _row(
                *(str(cell[0][name]) for name in ("budget", "stop", "start")),
                *(part for side in (flow, eqm) for part in (_pooled(side), f"{_mean(side, 'evaluations'):.1f}")),
                f"{100 * difference.mean:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]",
                str(difference.pairs),
            )


def residual_table(lines: Sequence[Line]) -> None:
    _header("head", "residual", "evaluations", "95 %", "success, %", "error of a chunk", "by task, %")
    for cell in _cells(lines, "head", "residual"):
        by_task = [np.mean([line["per_task"][task] for line in cell]) for task in cell[0]["per_task"]]
        _row(
            cell[0]["head"],
            f"{cell[0]['residual']:g}",
            *(f"{_mean(cell, name):.1f}" for name in ("evaluations", "evaluations_p95")),
            _pooled(cell),
            f"{_mean(cell, 'chunk_error'):.3f}",
            ", ".join(f"{100 * rate:.0f}" for rate in by_task),
        )


def latency_table(lines: Sequence[Line]) -> None:
    """In the processor's time, which others that compute on the same machine hardly change."""
    _header("head", "evaluations", "1 row, ms: p50, p95", "32 rows, ms: p50, p95", "8 candidates / 1")
    for of_head in _cells(lines, "head"):
        found = {(c[0]["batch"], c[0]["candidates"]): c for c in _cells(of_head, "batch", "candidates")}
        if len(found) == 3:
            _row(
                of_head[0]["head"],
                f"{_mean(found[1, 1], 'evaluations'):.0f}",
                *(f"{_mean(found[n, 1], 'p50'):.1f}, {_mean(found[n, 1], 'p95'):.1f}" for n in (1, 32)),
                f"{_mean(found[1, 8], 'p50') / _mean(found[1, 1], 'p50'):.1f}",
            )


def grpo_table(lines: Sequence[Line]) -> None:
    _header(
        "head", "exploration", "seeds", "cloning steps", "start, %", "after, %", "rollouts", "rollouts to +20 points"
    )
    for cell in _cells(lines, "head"):
        _row(
            cell[0]["head"],
            "{:g} to {:g}".format(*cell[0]["exploration"]),
            ", ".join(str(line["seed"]) for line in cell),
            ", ".join(str(line["cloning_steps"]) for line in cell),
            ", ".join(f"{100 * line['matched_on']:.0f}{'' if line['matched'] else ' (not matched)'}" for line in cell),
            ", ".join(f"{100 * line['success_rate']:.0f}" for line in cell),
            ", ".join(str(line["rollouts"]) for line in cell),
            ", ".join(str(line["rollouts_until"] or "-") for line in cell),
        )


TABLES = {
    "target": target_table,
    "success": success_table,
    "modes": modes_table,
    "eqm": eqm_table,
    "residual": residual_table,
    "latency": latency_table,
    "grpo": grpo_table,
}


def draw(lines: Sequence[Line], path: Path) -> None:
    """Success against evaluations and against milliseconds: a line per head, seeds pooled."""
    of_part = [line for line in lines if line["part"] == "success"]
    if not of_part:
        return
    from matplotlib import pyplot

    pyplot.rcParams.update(
        {"svg.hashsalt": "hone", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for colour, head in enumerate(HEADS):
        cells = _cells([line for line in of_part if line["head"] == head], "budget")
        if not cells:
            continue
        for panel, name in zip(panels, ("evaluations", "milliseconds"), strict=True):
            where = [_mean(cell, name) for cell in cells]
            rates = [100 * np.mean([line["success_rate"] for line in cell]) for cell in cells]
            panel.plot(where, rates, color=f"C{colour}", marker="o", markersize=3, label=head)
    for panel, name in zip(panels, ("evaluations of the decoder", "milliseconds a decision, one core"), strict=True):
        panel.set(xscale="log", xlabel=name, ylim=(0, 100))
    panels[0].set_ylabel("success, %")
    panels[1].legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def _cells(lines: Iterable[Line], *keys: str) -> list[list[Line]]:
    """Lines that agree in `keys`, by seed; heads in the order of their registry, numbers ascending."""
    found: dict[tuple[Any, ...], list[Line]] = {}
    for line in sorted(lines, key=lambda line: line["seed"]):
        found.setdefault(tuple(line[key] for key in keys), []).append(line)

    def order(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(list(HEADS).index(v) if v in HEADS else (-1 if v is None else v) for v in values)

    return [found[values] for values in sorted(found, key=order)]


def _mean(lines: Sequence[Line], name: str) -> float:
    return float(np.mean([line[name] for line in lines if line[name] is not None]))


def _pooled(lines: Sequence[Line]) -> str:
    """Success over the episodes of all seeds."""
    episodes = sum(line["episodes"] for line in lines)
    successes = round(sum(line["success_rate"] * line["episodes"] for line in lines))
    low, high = wilson_interval(successes, episodes)
    return f"{100 * successes / episodes:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _header(*names: str) -> None:
    _row(*names)
    print("|" + "---|" * len(names))


def _row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |")
