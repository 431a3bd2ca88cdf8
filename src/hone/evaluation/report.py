"""`hone report`: a run as one HTML page that needs nothing else, to keep, to send and to print."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hone.envs.libero.suites import STEP_CAPS
from hone.evaluation.audit_section import audit_content
from hone.evaluation.caveats import caveats
from hone.evaluation.charts import (
    Axis,
    Point,
    Rate,
    Series,
    line_chart,
    number,
    percent_axis,
    rate_rows,
    round_ticks,
    small_chart,
)
from hone.evaluation.practice_section import CAPTION, practice_content
from hone.evaluation.results import EvaluationResult, paired_difference
from hone.evaluation.run_folder import write_text
from hone.evaluation.run_record import RunRecord, Video, load_run
from hone.evaluation.search_section import CAPTION as SEARCH_CAPTION
from hone.evaluation.search_section import search_content
from hone.evaluation.stats import Difference, verdict

DIAGNOSTICS = {
    "kl": ("KL divergence", "how far an update moved the policy"),
    "lr": ("Learning rate", "adapted to keep the KL near its target"),
    "clip_fraction": ("Clipped samples", "share of ratios outside the clip range"),
    "dead_groups": ("Dead groups", "all succeeded or all failed: nothing to learn from"),
    "alive_groups": ("Live groups", "some succeeded and some failed"),
    "exploration": ("Exploration", "scale of the noise that was added"),
    "entropy": ("Entropy", "of the policy"),
    "grad_norm": ("Gradient norm", "before clipping"),
    "episodes_per_second": ("Episodes per second", "training, evaluation left out"),
}
"""Columns of metrics.jsonl that are drawn: title, and what it means."""

MIME = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".gif": "image/gif",
    ".webp": "image/webp",
}

VIDEO_BUDGET_BYTES = 40_000_000
"""Videos past this total are left out, and the page says so."""

NOTHING = "\u2013"
"""Shown where there is no number."""

SMOOTHING = 5
"""Training iterations averaged for the curve of sampled success."""


def write_report(run_path: Path, output: Path | None = None) -> Path:
    """Write the page, by default as `report.html` in the run's folder, and return its path.

    `run_path` may also be the file that `hone eval --output` wrote; its page lies beside it.
    """
    if run_path.suffix == ".json":
        path = run_path.with_suffix(".html") if output is None else output
        write_text(path, render_evaluation(EvaluationResult.load(run_path), run_path.stem))
        return path
    run = load_run(run_path)
    path = run.folder.report if output is None else output
    write_text(path, render(run))
    return path


def render(run: RunRecord) -> str:
    """The page. Sections for which the run has no data are left out."""
    sections = [_curve(run), _tasks(run), _videos(run), _probes(run), _search(run.after)]
    sections += [_practice(run), _reward_audit(run), _diagnostics(run), _cost(run), _caveats(run)]
    return _page(run.name, [_header(run), *filter(None, sections), _protocol(run), _footer(run)])


def render_evaluation(result: EvaluationResult, name: str) -> str:
    """The page of one evaluation: its score, per task, what was looked ahead, and how it was measured."""
    summary = result.summary()
    lines = [
        f"<tr><td>{escape(_readable(task))}</td><td>{tally['successes']} of {tally['episodes']}</td></tr>"
        for task, tally in summary["per_task"].items()
    ]
    figure = _figure("after", summary) if summary["episodes"] else ""
    header = (
        f'<header><div class="eyebrow">Hone · evaluation <b>{escape(name)}</b></div>'
        f'<h1>{escape(result.policy)}</h1><div class="hero">{figure}</div></header>'
    )
    footer = f"<footer>Made by hone report, commit {escape(result.commit)}.</footer>"
    tasks = _section("Tasks", "", _table(["Task", "Solved"], lines))
    return _page(name, [header, tasks, _search(result), _card(result), footer])


def _page(name: str, sections: Sequence[str]) -> str:
    style = resources.files("hone.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join(filter(None, sections))
    body = body.replace(" %", "\u202f%")  # a number and its percent sign stay on one line
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Hone · {escape(name)}</title>\n<style>\n{style}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _header(run: RunRecord) -> str:
    difference = run.difference
    before, after = _tally(run.before), _tally(run.after)
    facts = [(label, _fact(run.summary.get(key))) for label, key in _FACTS if run.summary.get(key) is not None]
    parts = [f'<header><div class="eyebrow">Hone · run <b>{escape(run.name)}</b></div>']
    if difference is not None and before is not None and after is not None:
        parts.append(f"<h1>{_headline(before, after, difference)}</h1>")
        parts.append(f'<p class="lead">{_lead(run, difference)}</p>')
        rates = [("before", _rate(before)), ("after", _rate(after))]
        strip = rate_rows(rates, width=400, row_height=22, labels=True, title="before and after")
        figures = _figure("before", before) + _figure("after", after)
        parts.append(f'<div class="hero">{figures}<div class="strip">{strip}</div></div>')
    else:
        parts.append("<h1>This run has not finished</h1>")
        parts.append('<p class="lead">There is no evaluation before and after to compare yet.</p>')
    if facts:
        rows = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in facts)
        parts.append(f'<dl class="facts">{rows}</dl>')
    return "".join(parts) + "</header>"


_FACTS = (
    ("Minutes", "minutes"),
    ("Rollouts", "rollouts"),
    ("Environment steps", "env_steps"),
    ("Faults", "faults"),
)


def _headline(before: dict[str, Any], after: dict[str, Any], difference: Difference) -> str:
    change = f"from {_percent(before['success_rate'])} to {_percent(after['success_rate'])}"
    outcome = verdict(difference)
    if outcome == "inconclusive":
        return f"Success went {change}: inconclusive"
    return f"Success {'rose' if outcome == 'win' else 'fell'} {change}"


def _lead(run: RunRecord, difference: Difference) -> str:
    assert run.after is not None
    card = run.after.protocol
    official = "official initial states of LIBERO" if card.suite in STEP_CAPS else "official placements"
    placements = official if card.placement_kind == "official" else "freshly sampled placements"
    tasks = "1 task" if len(card.tasks) == 1 else f"{len(card.tasks)} tasks"
    text = (
        f"{escape(card.suite)}, {tasks}, {difference.pairs} episodes before and after from the same {placements}. "
        f"Paired difference {_points(difference)}."
    )
    if verdict(difference) == "inconclusive":
        text += " That is less than this many episodes can show."
    return text


def _figure(kind: str, tally: dict[str, Any]) -> str:
    interval = f"{100 * tally['low']:.0f} to {100 * tally['high']:.0f} %"
    return (
        f'<div><div class="figure {kind}">{100 * tally["success_rate"]:.0f}<small>%</small></div>'
        f'<div class="caption">{kind} · {tally["successes"]} of {tally["episodes"]}<br>'
        f"95 % interval {interval}</div></div>"
    )


def _curve(run: RunRecord) -> str:
    greedy = sorted((row for row in run.evaluations if row["mode"] == "greedy"), key=lambda row: row["rollouts"])
    sampled = [row for row in run.metrics if row.get("train_success") is not None]
    if not greedy and not sampled:
        return ""
    total = max(row["rollouts"] for row in [*greedy, *sampled])
    series: list[Series] = []
    legend: list[str] = []
    if sampled:
        dots = [(row["rollouts"], row["train_success"]) for row in sampled]
        series.append(Series("sampled", dots, "sampled", style="dots"))
        series.append(Series("sampled", _moving_average(dots), "sampled"))
        legend.append(
            f'<li class="key sampled"><span>sampled, in training (mean of {SMOOTHING} iterations)</span></li>'
        )
    if greedy:
        points = [(row["rollouts"], row["successes"] / max(row["episodes"], 1)) for row in greedy]
        series.append(Series("greedy", points, "after", [(row["low"], row["high"]) for row in greedy]))
        episodes = " or ".join(str(count) for count in sorted({row["episodes"] for row in greedy}))
        legend.append(f'<li class="key after"><span>greedy, on held-out placements ({episodes} episodes)</span></li>')
    for kind, result, x in (("before", run.before, 0), ("after", run.after, total)):
        tally = _tally(result)
        if tally is not None and result is not None:
            rate, low, high = _rate(tally)
            series.append(Series(kind, [(x, rate)], kind, [(low, high)], style="error_bars"))
            legend.append(
                f'<li class="key {kind} diamond"><span>{result.protocol.placement_kind} placements, {kind}</span></li>'
            )
    # Room on both sides, so that the marks at the ends are not cut.
    x = Axis("training rollouts", -0.015 * total, 1.015 * total, [(v, number(v)) for v in round_ticks(0, total, 6)])
    chart = line_chart(series, x, percent_axis(), top=_minutes_axis(run, x), title="Success against training rollouts")
    return _section(
        "Success while it practised",
        "Sampled actions explore and therefore score lower than the greedy ones that would be deployed, and tasks that "
        "fail get more of the training episodes, so that curve is no mean over tasks. "
        "Bands and bars are 95 % intervals.",
        f'<div class="chart">{chart}</div><ul class="legend">{"".join(legend)}</ul>',
    )


def _minutes_axis(run: RunRecord, x: Axis) -> Axis | None:
    """Minutes as a second scale of the rollouts axis: ticks at the rollouts that were done by then.

    The clock also ran before training (demonstrations, cloning, evaluation), so the scale does not begin at zero.
    """
    rows = sorted((r["minutes"], r["rollouts"]) for r in run.metrics if "minutes" in r and "rollouts" in r)
    if len(rows) < 2:
        return None
    minutes, rollouts = zip(*rows, strict=True)
    marks = round_ticks(minutes[0], minutes[-1], 6)
    ticks = [(float(np.interp(value, minutes, rollouts)), number(value)) for value in marks]
    return Axis("minutes since the start", x.low, x.high, ticks)


def _moving_average(points: Sequence[Point]) -> list[Point]:
    """Mean of the last `SMOOTHING` values up to each point."""
    values = [value for _, value in points]
    windows = [values[max(0, index - SMOOTHING + 1) : index + 1] for index in range(len(values))]
    return [(x, sum(window) / len(window)) for (x, _), window in zip(points, windows, strict=True)]


def _tasks(run: RunRecord) -> str:
    result = run.after or run.before
    if result is None:
        return ""
    before, after = (_tally(r)["per_task"] if r is not None else {} for r in (run.before, run.after))  # type: ignore[index]
    both = run.before is not None and run.after is not None
    rows: list[str] = []
    for task in result.protocol.tasks:
        tallies = [(kind, side[task]) for kind, side in (("before", before), ("after", after)) if task in side]
        shown = [(kind, tally) for kind, tally in tallies if tally["success_rate"] is not None]
        strip = rate_rows([(kind, _rate(tally)) for kind, tally in shown], width=210, row_height=14, title=task)
        cells = [f"<td>{escape(_readable(task))}</td><td>{strip}</td>"]
        cells += [_count_cell(side.get(task)) for side in (before, after)]
        if both:
            cells.append(f"<td>{_task_difference(run, task)}</td>")
        held = (after or before)[task]["held_rate"]
        cells.append(f"<td>{NOTHING if held is None else _percent(held)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = ["Task", "0 to 100 %", "Before", "After", *(["Difference, points"] if both else []), "Held"]
    return _section(
        "Task by task",
        "Held: the goal was still true some steps after release. One task has few episodes, so its interval is wide.",
        _table(heads, rows),
    )


def _task_difference(run: RunRecord, task: str) -> str:
    assert run.before is not None
    assert run.after is not None
    sides = [
        EvaluationResult(tuple(e for e in side.episodes if e.task == task), side.protocol)
        for side in (run.before, run.after)
    ]
    if not all(any(e.status != "error" for e in side.episodes) for side in sides):
        return NOTHING
    difference = paired_difference(sides[0], sides[1])
    interval = f"{100 * difference.low:+.0f} to {100 * difference.high:+.0f}"
    return _minus(f"{100 * difference.mean:+.0f}<small>{interval}</small>")


def _count_cell(tally: dict[str, Any] | None) -> str:
    if tally is None or tally["success_rate"] is None:
        return f"<td>{NOTHING}</td>"
    return f"<td>{_percent(tally['success_rate'])}<small>{tally['successes']} of {tally['episodes']}</small></td>"


def _videos(run: RunRecord) -> str:
    if not run.videos:
        return ""
    budget = VIDEO_BUDGET_BYTES
    blocks: list[str] = []
    left_out = 0
    for task in dict.fromkeys(video.task for video in run.videos):
        figures: list[str] = []
        for video in sorted((v for v in run.videos if v.task == task), key=lambda v: v.stage == "after"):
            budget -= video.path.stat().st_size
            if budget < 0:
                left_out += 1
                continue
            figures.append(_figure_of(video))
        if figures:
            blocks.append(f'<div><h3>{escape(_readable(task))}</h3><div class="pair">{"".join(figures)}</div></div>')
    note = f" {left_out} more are in the run's folder." if left_out else ""
    return _section(
        "Before and after",
        f"One episode of each task, both times from the same placement.{note}",
        f'<div class="pairs">{"".join(blocks)}</div>',
    )


def _figure_of(video: Video) -> str:
    mime = MIME.get(video.path.suffix, "video/mp4")
    source = f"data:{mime};base64,{base64.b64encode(video.path.read_bytes()).decode()}"
    outcome = "succeeds" if video.success else "fails"
    caption = f"{video.stage}: {outcome}" + (f" after {video.steps} steps" if video.steps is not None else "")
    if mime.startswith("image/"):
        picture = f'<img src="{source}" alt="{escape(caption, quote=True)}">'
    else:
        picture = f'<video src="{source}" autoplay muted loop playsinline controls preload="auto"></video>'
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


_PROBES = {
    "normal": "The task's own instruction",
    "blank": "A blank instruction",
    "other_task": "Another task's instruction",
}


def _probes(run: RunRecord) -> str:
    rows: list[str] = []
    for name, label in _PROBES.items():
        if name not in run.probes:
            continue
        tally = run.probes[name]
        kind = "after" if name == "normal" else "plain"
        strip = rate_rows([(kind, _rate(tally))], width=210, title=label)
        interval = f"{100 * tally['low']:.0f} to {100 * tally['high']:.0f} %"
        rows.append(f"<tr><td>{label}</td><td>{strip}</td>{_count_cell(tally)}<td>{interval}</td></tr>")
    if not rows:
        return ""
    return _section(
        "Does it listen?",
        "How often the task at hand is solved when the policy is told something else. "
        "A policy that heeds its instruction does worse.",
        _table(["Told", "0 to 100 %", "Solves the task", "95 % interval"], rows),
    )


def _practice(run: RunRecord) -> str:
    content = practice_content(run.attempts)
    return _section("What was practised", CAPTION, content) if content else ""


def _search(result: EvaluationResult | None) -> str:
    content = "" if result is None else search_content(result)
    return _section("Looking ahead", SEARCH_CAPTION, content) if content else ""


def _reward_audit(run: RunRecord) -> str:
    if not run.audit:
        return ""
    caption, content = audit_content(run.audit, run.revisions)
    return _section("Reward audit", caption, content)


def _diagnostics(run: RunRecord) -> str:
    cards: list[str] = []
    for column, (title, meaning) in DIAGNOSTICS.items():
        points = [(row["iteration"], float(row[column])) for row in run.metrics if row.get(column) is not None]
        if len(points) > 1:
            chart = small_chart(points, "plain", title=title)
            cards.append(f'<div><h3>{title}</h3><div class="caption">{meaning}</div>{chart}</div>')
    if not cards:
        return ""
    return _section(
        "Inside training",
        f"One value for each of {len(run.metrics)} iterations; at the right stand the lowest and the highest.",
        f'<div class="grid-cards">{"".join(cards)}</div>',
    )


def _cost(run: RunRecord) -> str:
    phases: dict[str, dict[str, Any]] = run.summary.get("cost", {})
    if not phases:
        return ""
    columns = {
        "env_steps": "Environment steps",
        "decoder_evaluations": "Decoder evaluations",
        "judge_calls": "Judge calls",
        "core_seconds": "Core-seconds",
    }
    lines = [
        f"<tr><td>{escape(name.capitalize())}</td>"
        + "".join(f"<td>{_fact(cost.get(key))}</td>" for key in columns)
        + "</tr>"
        for name, cost in phases.items()
    ]
    return _section("What it cost", "", _table(["", *columns.values()], lines))


def _caveats(run: RunRecord) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in caveats(run))
    return _section("What this does not show", "", f'<ul class="notes">{notes}</ul>')


def _protocol(run: RunRecord) -> str:
    details = ""
    if run.config:
        config = escape(json.dumps(run.config, indent=2))
        details = f"<details><summary>Configuration of the run</summary><pre>{config}</pre></details>"
    return _card(run.after or run.before, details)


def _card(result: EvaluationResult | None, details: str = "") -> str:
    card = ""
    if result is not None:
        lines = "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in result.protocol.describe()
        )
        card = f'<dl class="card">{lines}</dl>'
    caption = "Two scores can be compared if their protocols have the same hash."
    return _section("How it was measured", caption, card + details)


def _footer(run: RunRecord) -> str:
    commit = run.summary.get("commit") or (run.before.commit if run.before is not None else "unknown")
    return f"<footer>Made by hone report from {escape(run.name)}, commit {escape(commit)}.</footer>"


def _section(title: str, caption: str, content: str) -> str:
    text = f'<p class="caption">{caption}</p>' if caption else ""
    return f"<section><h2>{title}</h2>{text}{content}</section>"


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{head}</th>" for head in heads)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _tally(result: EvaluationResult | None) -> dict[str, Any] | None:
    return None if result is None else result.summary()


def _rate(tally: dict[str, Any]) -> Rate:
    return tally["success_rate"], tally["low"], tally["high"]


def _percent(rate: int | float) -> str:
    return f"{100 * rate:.0f} %"


def _points(difference: Difference) -> str:
    low, high = 100 * difference.low, 100 * difference.high
    return _minus(f"<b>{100 * difference.mean:+.0f} points</b> (95 % interval {low:+.0f} to {high:+.0f})")


def _minus(text: str) -> str:
    """With a true minus sign, as wide as a plus."""
    return text.replace("-", "\u2212")


def _fact(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return number(float(f"{value:.1f}")) if abs(value) < 1000 else number(float(value))


def _readable(task: str) -> str:
    """A task's name as words: pick_up_the_milk as "Pick up the milk"."""
    words = task.replace("_", " ")
    return words[:1].upper() + words[1:]
