import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic_run import TASKS, make_card, make_result

from hone.errors import HoneError
from hone.evaluation.caveats import caveats
from hone.evaluation.report import render, write_report
from hone.evaluation.results import paired_difference
from hone.evaluation.run_folder import RunFolder
from hone.evaluation.run_record import load_run


class Page(HTMLParser):
    """Visible text, addresses, and whether every tag is closed in order."""

    VOID = ("br", "img", "meta")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(html)
        assert self.open == [], f"never closed: {self.open}"

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words)).replace("\u202f", " ")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def test_page_says_the_numbers(run_folder: RunFolder) -> None:
    page = Page(write_report(run_folder.path).read_text())
    record = load_run(run_folder.path)
    assert record.before is not None
    assert record.after is not None
    before, after = record.before.summary(), record.after.summary()
    difference = paired_difference(record.before, record.after)
    assert f"Success rose from {100 * before['success_rate']:.0f} % to {100 * after['success_rate']:.0f} %" in page.text
    assert f"{100 * difference.mean:+.0f} points (95 % interval {100 * difference.low:+.0f} to" in page.text.replace(
        " (", " ("
    )
    assert f"before · {before['successes']} of {before['episodes']}" in page.text
    for task in TASKS:
        assert task.replace("_", " ").capitalize() in page.text
        tally = after["per_task"][task]
        assert f"{tally['successes']} of {tally['episodes']}" in page.text
    assert record.after.protocol.hash() in page.text
    assert "440 000" in page.text  # training's environment steps
    assert "Another task's instruction 10 % 15 of 150" in page.text
    assert "0123456789ab" in page.text


def test_page_needs_nothing_else(run_folder: RunFolder) -> None:
    page = Page(write_report(run_folder.path).read_text())
    assert "script" not in page.tags
    assert page.tags.count("video") == 6
    assert page.sources
    assert all(source.startswith("data:") for source in page.sources)


def test_output_can_go_elsewhere(run_folder: RunFolder, tmp_path: Path) -> None:
    assert write_report(run_folder.path, tmp_path / "a" / "page.html") == tmp_path / "a" / "page.html"
    assert not run_folder.report.exists()


@pytest.mark.parametrize(
    "missing", ["summary", "metrics", "evaluations", "evaluation_after", "probes", "videos", "config"]
)
def test_a_run_that_lacks_a_part_is_still_reported(run_folder: RunFolder, missing: str) -> None:
    path: Path = getattr(run_folder, missing)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = Page(render(load_run(run_folder.path)))
    assert ("This run has not finished" in page.text) == (missing == "evaluation_after")


def test_text_from_files_is_escaped(run_folder: RunFolder) -> None:
    record = load_run(run_folder.path)
    page = Page(render(replace(record, config={"suite": "</pre><script>alert(1)</script>"}, summary={"commit": "<b>"})))
    assert "script" not in page.tags


def test_headline_does_not_call_chance_a_win(run_folder: RunFolder) -> None:
    record = replace(load_run(run_folder.path), before=make_result((0.5, 0.5, 0.5), seed=1))
    close = replace(record, after=make_result((0.52, 0.52, 0.56), seed=2))
    worse = replace(record, after=make_result((0.1, 0.1, 0.1), seed=2))
    assert "inconclusive" in Page(render(close)).text
    assert "Success fell from 50 % to 10 %" in Page(render(worse)).text


def test_caveats_follow_from_the_run(run_folder: RunFolder) -> None:
    record = load_run(run_folder.path)
    text = " ".join(caveats(record))
    for expected in ("one training run", "stand-in shapes", "1 episode ended in a fault", "that moment did not last"):
        assert expected in text
    for absent in ("no robot could see", "did not reach", "not in the commit", "reading the scene", "were not run"):
        assert absent not in text

    assert record.after is not None
    privileged = replace(
        record.after, protocol=make_card(privilege="object poses", step_cap=400, asset_pack="original")
    )
    deaf = {"normal": {"low": 0.9, "high": 1.0}, "other_task": {"low": 0.85, "high": 0.97}}
    text = " ".join(
        caveats(replace(record, before=privileged, after=privileged, probes=deaf, summary={"commit": "1+dirty"}))
    )
    for expected in (
        "given object poses",
        "published scores on libero_object use 280",
        "reading the scene",
        "not in the commit",
    ):
        assert expected in text
    assert "stand-in" not in text
    text = " ".join(caveats(replace(record, after=None, probes={})))
    assert "did not reach" in text
    assert "were not run" in text


def test_a_folder_that_is_no_run_is_a_clear_error(run_folder: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(HoneError, match=r"no run at .*dmo'. Runs in .*: demo\."):
        load_run(run_folder.path.parent / "dmo")
    with pytest.raises(HoneError, match="is not a run: it has no config"):
        load_run(run_folder.videos)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").write_text("{}")
    with pytest.raises(HoneError, match="nothing to report"):
        load_run(tmp_path / "new")
