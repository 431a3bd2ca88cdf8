"""The report's section on looking ahead: what it cost, what it saw that a robot does not, and trees as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hone.evaluation.charts import number
from hone.evaluation.results import EpisodeResult, EvaluationResult

ROW_HEIGHT, MARGIN, WIDTH = 46.0, 26.0, 720.0
SMALLEST, LARGEST = 3.0, 15.0
"""Radius of a node that was visited once, and of the root."""
WORDS_FROM = 7.0
"""Radius from which on a node has its visits and its value written beside it, if there is room."""

CAPTION = (
    "Each tree is the search before an episode's first decision. A circle is a state; its size is how often it was "
    "visited, its colour what it was found to be worth, from nothing (pale) to solved (full). The thick line was "
    "taken. A diamond: from here, a success was simulated. The numbers are visits and mean value."
)


def search_content(result: EvaluationResult) -> str:
    """Content of the section; nothing where nobody looked ahead."""
    summary = result.summary()
    if "search" not in summary:
        return ""
    found = summary["search"]
    text = (
        f"<p>Planner: {escape(result.protocol.planner)}.</p>"
        f"<p>{number(found['simulator_steps_per_episode'])} control steps were simulated for each episode; in "
        f"{found['solved_in_simulation']} of {summary['episodes']} a success was simulated before it was acted out, in "
        f"{found['solved_at_first_decision']} of them before the first action.</p>"
    )
    trees = [
        _figure(episode, episode.report["search"]["tree"])
        for episode in result.episodes
        if episode.report is not None and episode.report.get("search", {}).get("tree") is not None
    ]
    return text + "".join(trees)


def _figure(episode: EpisodeResult, tree: Mapping[str, Any]) -> str:
    shown, size = len(tree["nodes"]), tree["size"]
    left_out = "" if shown == size else f"; {shown} of {size} nodes are drawn"
    outcome = "solved" if episode.success else "not solved"
    words = f"{episode.task.replace('_', ' ')}, {episode.placement.kind} placement {episode.placement.index}: {outcome}"
    return f'<figure class="chart">{tree_svg(tree["nodes"])}<figcaption>{escape(words)}{left_out}</figcaption></figure>'


def tree_svg(nodes: Sequence[Mapping[str, Any]]) -> str:
    """The tree of `hone.planning.pictures`, its root on top."""
    depth, children = [0] * len(nodes), [[] for _ in nodes]
    for index, node in enumerate(nodes):
        if node["parent"] is not None:
            depth[index] = depth[node["parent"]] + 1
            children[node["parent"]].append(index)
    x = _columns(nodes, children)
    span = max(x) or 1.0
    most = max(max((node["visits"] for node in nodes), default=1), 1)

    def place(index: int) -> tuple[float, float]:
        across = WIDTH / 2 if len(nodes) == 1 else MARGIN + (WIDTH - 2 * MARGIN) * x[index] / span
        return round(across, 1), MARGIN + ROW_HEIGHT * depth[index]

    edges, marks, words = [], [], []
    for index, node in enumerate(nodes):
        here = place(index)
        if node["parent"] is not None:
            above = place(node["parent"])
            kind = "after taken" if node["line"] else "plain"
            edges.append(f'<line class="{kind} edge" x1="{above[0]}" y1="{above[1]}" x2="{here[0]}" y2="{here[1]}"/>')
        radius = round(SMALLEST + (LARGEST - SMALLEST) * (node["visits"] / most) ** 0.5, 1)
        worth = min(max(node["mean"], 0.0), 1.0)
        told = f"visits {node['visits']}, mean {node['mean']:.3f}, own value {node['value']:.3f}"
        style = f'style="fill-opacity:{0.12 + 0.88 * worth:.2f}"'
        marks.append(_mark(here, radius, node["solved"], style, told))
        if radius >= WORDS_FROM:
            words.append(
                f'<text class="tick" x="{here[0] + radius + 3}" y="{here[1] - 4}">{node["visits"]} '
                f"\u00b7 {node['mean']:.2f}</text>"
            )
    height = 2 * MARGIN + ROW_HEIGHT * max(depth)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="A search tree of {len(nodes)} nodes">{"".join([*edges, *marks, *words])}</svg>'
    )


def _columns(nodes: Sequence[Mapping[str, Any]], children: Sequence[Sequence[int]]) -> list[float]:
    """Leaves side by side in the order of their action; a node over the middle of its children."""
    x = [0.0] * len(nodes)
    column = 0

    def place(index: int) -> None:
        nonlocal column
        below = sorted(children[index], key=lambda child: nodes[child]["action"])
        for child in below:
            place(child)
        if below:
            x[index] = (x[below[0]] + x[below[-1]]) / 2
        else:
            x[index] = float(column)
            column += 1

    if nodes:
        place(0)
    return x


def _mark(here: tuple[float, float], radius: float, solved: bool, style: str, told: str) -> str:
    title = f"<title>{escape(told)}</title>"
    if not solved:
        return f'<circle class="after node" cx="{here[0]}" cy="{here[1]}" r="{radius}" {style}>{title}</circle>'
    reach = round(radius + 3, 1)
    corners = f"M{here[0]} {here[1] - reach}l{reach} {reach}l-{reach} {reach}l-{reach} -{reach}Z"
    return f'<path class="after node" d="{corners}" {style}>{title}</path>'
