"""The report's section on the reward: what it claimed beside what was true, and how its programs were rewritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hone.evaluation.charts import Axis, Point, Series, line_chart, percent_axis
from hone.rewards.audit import HACKING_THRESHOLD, Audit, AuditRow, Finding, by_iteration, findings

SHOWN = 5
"""Rewrites whose difference is printed."""


def audit_content(rows: Sequence[Mapping[str, Any]], revisions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Caption and content of the section, from the rows of `audit.jsonl` and `revisions.jsonl`."""
    audit = Audit(HACKING_THRESHOLD, [AuditRow.from_json(row) for row in rows])
    total, recent = findings(audit.rows), audit.recent()
    alarm = ""
    if audit.alarming(recent):
        alarm = (
            f'<p class="caption"><b>The reward is being hacked:</b> {_share(recent.hacking_rate)} of the '
            f"{recent.claimed} successes it claimed in the last iterations were none.</p>"
        )
    return (
        CAPTION,
        f'{alarm}<div class="chart">{_chart(audit.rows)}</div>{_legend()}{_table(total)}{_rewrites(revisions)}',
    )


CAPTION = (
    "The policy was trained on a reward that never saw the simulator's success check. "
    "Here the two are set side by side for every training rollout."
)


def _chart(rows: Sequence[AuditRow]) -> str:
    found = by_iteration(rows)
    iterations = sorted(found)
    curves = [
        Series("claimed", _points(found, lambda f: f.claimed / f.rollouts), "before"),
        Series("true", _points(found, lambda f: f.successes / f.rollouts), "after"),
        Series("hacked", _points(found, lambda f: f.hacking_rate), "sampled", style="dots"),
    ]
    x = Axis("iteration", iterations[0] - 0.5, iterations[-1] + 0.5)
    return line_chart(curves, x, percent_axis("share"), title="Claimed and true success, and the hacking rate")


def _points(found: Mapping[int, Finding], rate: Any) -> list[Point]:
    values = {iteration: rate(finding) for iteration, finding in sorted(found.items())}
    return [(iteration, value) for iteration, value in values.items() if value is not None]


def _legend() -> str:
    entries = (
        ("before", "claimed by the reward"),
        ("after", "true by LIBERO's check"),
        ("sampled", "hacking rate: share of the claimed successes that were none"),
    )
    keys = "".join(f'<li class="key {kind}"><span>{text}</span></li>' for kind, text in entries)
    return f'<ul class="legend">{keys}</ul>'


def _table(found: Finding) -> str:
    correlation = "\u2013" if found.rank_correlation is None else f"{found.rank_correlation:.2f}"
    facts = (
        ("Rollouts", str(found.rollouts)),
        ("Claimed", str(found.claimed)),
        ("True successes", str(found.successes)),
        ("Hacking rate", _share(found.hacking_rate)),
        ("True failures claimed", _share(found.false_positive_rate)),
        ("True successes missed", _share(found.false_negative_rate)),
        ("Rank correlation of reward and success", correlation),
    )
    return (
        '<dl class="facts">' + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts) + "</dl>"
    )


def _rewrites(revisions: Sequence[Mapping[str, Any]]) -> str:
    if not revisions:
        return ""
    accepted = [row for row in revisions if row["accepted"]]
    parts = [f"<p>{len(revisions)} rewrites of reward programs were proposed, {len(accepted)} accepted.</p>"]
    for row in revisions[-SHOWN:]:
        verdict = "accepted" if row["accepted"] else "refused: " + " ".join(row["reasons"])
        summary = f"{row['task']}, by {row['judge']}: {verdict}"
        parts.append(f"<details><summary>{escape(summary)}</summary><pre>{escape(row['diff'])}</pre></details>")
    return "".join(parts)


def _share(rate: float | None) -> str:
    return "\u2013" if rate is None else f"{100 * rate:.0f} %"
