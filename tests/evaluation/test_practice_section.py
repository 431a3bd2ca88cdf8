"""Which task was practised when, as a reader of the report sees it."""

from __future__ import annotations

from typing import Any

import pytest

from hone.evaluation.practice_section import DARKEST, Practised, practice_content, practised


def row(task: str, update: int, success: bool, hint: str = "") -> dict[str, Any]:
    return {"task": task, "iteration": update, "success": success, "hint": hint}


ROWS = [
    row("open_it", 1, False),
    row("open_it", 1, True, "lower"),
    row("open_it", 2, True),
    row("open_it", 2, False),
    row("<close>", 2, True, "raise"),
]


def test_hinted_and_plain_episodes_are_counted_apart():
    assert practised(ROWS) == {
        ("open_it", 1): Practised(2, 1, 0.0, 1.0),
        ("open_it", 2): Practised(2, 0, 0.5, None),
        ("<close>", 2): Practised(1, 1, None, 1.0),
    }


def test_the_table_has_a_cell_for_every_task_and_update():
    content = practice_content(ROWS)
    assert content.count("<td") == 4
    assert content.count("<td></td>") == 1  # not practised in the first update
    assert f"--share:{DARKEST / 2:.0f}%" in content
    assert "--share:none" in content
    assert content.count('class="dot"') == 2
    assert "&lt;close&gt;" in content


@pytest.mark.parametrize("rows", [[], [row("open_it", 1, True), row("open_it", 2, False)]])
def test_nothing_to_choose_is_no_section(rows):
    assert practice_content(rows) == ""
