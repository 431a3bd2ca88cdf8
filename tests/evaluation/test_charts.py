import xml.etree.ElementTree as ElementTree

import pytest

from hone.evaluation.charts import Axis, Series, line_chart, number, percent_axis, rate_rows, round_ticks, small_chart


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [(0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 2880, 6, [0, 500, 1000, 1500, 2000, 2500]), (3, 3, 5, [3])],
)
def test_ticks_are_round(low: float, high: float, count: int, expected: list[float]) -> None:
    assert round_ticks(low, high, count) == pytest.approx(expected)


def test_numbers_are_short() -> None:
    assert [number(v) for v in (0, 12345, 0.5, 5e-05, -0.25, 99.96)] == [
        "0",
        "12\u202f345",
        "0.5",
        "5e-5",
        "-0.25",
        "100",
    ]


def test_a_rate_lies_where_it_belongs() -> None:
    chart = ElementTree.fromstring(rate_rows([("before", (0.5, 0.25, 0.75))], width=112, title="t"))
    bar = next(line for line in chart.iter("line") if line.get("class") == "before interval")
    dot = next(chart.iter("circle"))
    # 6 pixels of margin on both sides leave 100 pixels for 0 to 100 %.
    assert (bar.get("x1"), dot.get("cx"), bar.get("x2")) == ("31.0", "56.0", "81.0")


def test_charts_are_well_formed_and_read_aloud() -> None:
    curve = Series("<greedy>", [(0, 0.2), (100, 0.8)], "after", [(0.1, 0.3), (0.7, 0.9)])
    axis = Axis("rollouts & more", 0, 100)
    for text in (
        line_chart([curve], axis, percent_axis(), top=Axis("minutes", 0, 100), title='the "curve"'),
        small_chart([(0, 1.0), (1, 1.0)], "plain", title="flat"),
        line_chart(
            [Series("", [(5, 0.5)], "before", [(0.4, 0.6)], "error_bars")], Axis("x", 5, 5), percent_axis(), title="one"
        ),
    ):
        chart = ElementTree.fromstring(text)
        assert chart.get("aria-label")
        assert "nan" not in text
