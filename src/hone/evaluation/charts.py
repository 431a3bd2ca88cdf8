"""Small charts as inline SVG. Colours and type come from the page's style sheet, so they follow light and dark mode.

Every shape carries the class of its series ("before", "after", "sampled", …); nothing here knows a colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

Number = int | float
"""Written out, because JSON keeps the two apart and the type checker in the tests does too."""
Point = tuple[Number, Number]
Rate = tuple[Number, Number, Number]
"""(rate, low, high)"""


@dataclass(frozen=True)
class Series:
    """One curve: `points` (x, y), and `band` the (low, high) of each point."""

    name: str
    points: Sequence[Point]
    kind: str
    """CSS class that colours it."""
    band: Sequence[Point] | None = None
    style: Literal["line", "dots", "error_bars"] = "line"


@dataclass(frozen=True)
class Axis:
    """Range and labels of an axis. `ticks` are chosen if not given."""

    label: str
    low: Number
    high: Number
    ticks: Sequence[tuple[Number, str]] | None = None

    def marks(self, count: int) -> Sequence[tuple[Number, str]]:
        if self.ticks is not None:
            return self.ticks
        return [(value, number(value)) for value in round_ticks(self.low, self.high, count)]


def percent_axis(label: str = "success rate") -> Axis:
    return Axis(label, 0.0, 1.0, [(share, f"{share:.0%}".replace("%", " %")) for share in (0, 0.25, 0.5, 0.75, 1)])


def number(value: Number) -> str:
    """12000 as "12 000", 0.00005 as "5e-5"."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f")
    if abs(value) < 0.001:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.3g}"


def round_ticks(low: Number, high: Number, count: int) -> list[Number]:
    """About `count` multiples of 1, 2 or 5 times a power of ten that lie within [low, high]."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def line_chart(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    top: Axis | None = None,
    width: int = 720,
    height: int = 340,
    title: str,
) -> str:
    """Curves with bands. `top` is a second scale of the x axis, its ticks given in x units. `title` is read aloud."""
    left, right, above, below = 58, 18, 40 if top else 16, 46
    to_x = _scale(x.low, x.high, left, width - right)
    to_y = _scale(y.low, y.high, height - below, above)
    parts: list[str] = []
    for value, text in y.marks(4):
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{to_y(value)}" y2="{to_y(value)}"/>')
        parts.append(_text(left - 10, to_y(value), text, "tick end middle"))
    for value, text in x.marks(6):
        parts.append(_text(to_x(value), height - below + 20, text, "tick centre"))
    parts.append(_text((left + width - right) / 2, height - 6, x.label, "label centre"))
    parts.append(_text(left - 44, above - 24 if top else 8, y.label, "label"))
    if top:
        for value, text in top.marks(6):
            parts.append(_text(to_x(value), above - 8, text, "tick centre"))
            parts.append(f'<line class="grid" x1="{to_x(value)}" x2="{to_x(value)}" y1="{above - 4}" y2="{above}"/>')
        parts.append(_text(width - right, above - 24, top.label, "label end"))
    for curve in series:
        parts.append(_curve(curve, to_x, to_y))
    return _svg(width, height, parts, title)


def small_chart(points: Sequence[Point], kind: str, *, title: str, width: int = 260, height: int = 110) -> str:
    """One curve with its lowest, highest and last value, for a row of small multiples."""
    ys = [value for _, value in points]
    low, high = min(ys), max(ys)
    pad = (high - low) * 0.08 or max(abs(high) * 0.1, 1e-9)
    left, right, above, below = 6, 52, 8, 8
    to_x = _scale(points[0][0], points[-1][0], left, width - right)
    to_y = _scale(low - pad, high + pad, height - below, above)
    last = points[-1]
    parts = [
        f'<line class="grid" x1="{left}" x2="{width - right}" y1="{to_y(value)}" y2="{to_y(value)}"/>'
        for value in {low, high}
    ]
    parts.append(_curve(Series("", points, kind), to_x, to_y))
    parts.append(f'<circle class="{kind} dot" cx="{to_x(last[0])}" cy="{to_y(last[1])}" r="3"/>')
    for value in {low, high}:
        parts.append(_text(width - right + 8, to_y(value), number(value), "tick middle"))
    return _svg(width, height, parts, f"{title}: from {number(points[0][1])} to {number(last[1])}")


def rate_rows(
    rows: Sequence[tuple[str, Rate]], *, width: int = 300, row_height: int = 16, labels: bool = False, title: str
) -> str:
    """Rates with their intervals on a common scale from 0 to 100 %, one below the other: (CSS class, rate)."""
    height = row_height * len(rows) + 6
    to_x = _scale(0, 1, 6, width - 6)
    parts = [
        f'<line class="grid" x1="{to_x(share)}" x2="{to_x(share)}" y1="0" y2="{height}"/>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    if labels:
        ends = ((0.0, "0", ""), (0.5, "50", " centre"), (1.0, "100 %", " end"))
        parts += [_text(to_x(share), height + 16, text, "tick" + css) for share, text, css in ends]
    for index, (kind, (rate, low, high)) in enumerate(rows):
        y = 3 + row_height * (index + 0.5)
        parts.append(f'<line class="{kind} interval" x1="{to_x(low)}" x2="{to_x(high)}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="{kind} dot" cx="{to_x(rate)}" cy="{y}" r="5"/>')
    return _svg(width, height + (20 if labels else 0), parts, title)


def _curve(curve: Series, to_x: Callable[[Number], Number], to_y: Callable[[Number], Number]) -> str:
    points = [(to_x(x), to_y(y)) for x, y in curve.points]
    edges = [(to_y(low), to_y(high)) for low, high in curve.band] if curve.band is not None else []
    path = " ".join(f"{x},{y}" for x, y in points)
    parts: list[str] = []
    if curve.style == "error_bars":
        for (x, y), (low, high) in zip(points, edges, strict=True):
            parts.append(f'<line class="{curve.kind} interval" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>')
            parts.append(f'<path class="{curve.kind} diamond" d="M{x} {y - 7}L{x + 7} {y}L{x} {y + 7}L{x - 7} {y}Z"/>')
        return "".join(parts)
    if edges:
        outline = [(x, high) for (x, _), (_, high) in zip(points, edges, strict=True)]
        outline += [(x, low) for (x, _), (low, _) in reversed(list(zip(points, edges, strict=True)))]
        parts.append(f'<polygon class="{curve.kind} band" points="{" ".join(f"{x},{y}" for x, y in outline)}"/>')
    if curve.style == "line":
        parts.append(f'<polyline class="{curve.kind} line" points="{path}"/>')
    if curve.style == "dots" or edges:
        radius = 2 if curve.style == "dots" else 3.5
        parts += [f'<circle class="{curve.kind} dot" cx="{x}" cy="{y}" r="{radius}"/>' for x, y in points]
    return "".join(parts)


def _scale(low: Number, high: Number, start: Number, end: Number) -> Callable[[Number], Number]:
    """The map from data [low, high] to pixels [start, end], to a tenth of a pixel."""
    span = high - low
    return lambda value: round(start + (end - start) * ((value - low) / span if span else 0.5), 1)


def _text(x: Number, y: Number, text: str, css: str) -> str:
    return f'<text class="{css}" x="{x}" y="{y}">{escape(text)}</text>'


def _svg(width: int, height: int, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg>'
    )
