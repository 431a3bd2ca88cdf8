"""Where curves go: TensorBoard always, W&B and trackio when asked for, and nothing leaves the machine unasked."""

from __future__ import annotations

import sqlite3
import sys
import types
from pathlib import Path

import pytest

from hone.errors import HoneError
from hone.evaluation.run_folder import RunFolder, RunLog
from hone.tracking import open_trackers
from hone.tracking.base import Tracker

ROW = {"iteration": 3, "rollouts": 8, "train_success": 0.5, "note": "text", "flag": True}


def test_tensorboard_is_always_there(tmp_path):
    with RunLog(RunFolder(tmp_path)) as log:
        log.training(ROW)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_unknown_trackers_are_refused_before_any_is_opened(tmp_path):
    with pytest.raises(HoneError, match=r"unknown tracker 'wnadb'. Did you mean 'wandb'"):
        open_trackers(("tensorboard", "wnadb"), tmp_path, {}, None)
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_an_absent_package_names_its_extra(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    with pytest.raises(HoneError, match=rf"pip install 'hone-vla\[{name}\]'"):
        open_trackers((name,), tmp_path, {}, None)


class FakeRun:
    """What Hone uses of either package's run."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict, dict]] = []
        self.finished = False

    def define_metric(self, *_: object, **__: object) -> None: ...

    def log(self, row: dict, **options: object) -> None:
        self.rows.append((row, options))

    def finish(self, **_: object) -> None:
        self.finished = True


def fake(monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[FakeRun, dict]:
    run, asked = FakeRun(), {}

    def init(**options):
        asked.update(options)
        print("a banner")
        return run

    package = types.SimpleNamespace(init=init, Settings=lambda **settings: settings)
    monkeypatch.setitem(sys.modules, name, package)
    return run, asked


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_scalars_go_out_and_the_run_is_offline_by_default(name, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    run, asked = fake(monkeypatch, name)
    with RunLog(RunFolder(tmp_path / "mine"), track=(name,)) as log:
        log.training(ROW)
    row, options = run.rows[0]
    assert row["train/train_success"] == 0.5
    assert "train/note" not in row
    assert "train/flag" not in row
    assert 3 in (row.get("iteration"), options.get("step"))
    assert run.finished
    assert asked["name"] == "mine"
    assert asked.get("mode", "offline") == "offline"
    if name == "trackio":
        assert capsys.readouterr().out == ""  # standard output belongs to --json


@pytest.mark.slow
def test_the_real_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs the extra hone-vla[wandb]")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    log_once("wandb", tmp_path)
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.slow
def test_the_real_trackio_keeps_a_local_database(tmp_path, monkeypatch):
    folder = pytest.importorskip("trackio.utils", reason="needs the extra hone-vla[trackio]").TRACKIO_DIR
    log_once("trackio", tmp_path)
    (database,) = Path(folder).glob("hone*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select metrics from metrics where run_name = ?", (tmp_path.name,)).fetchall()
    assert any("train/train_success" in str(row[0]) for row in rows)


def log_once(name: str, folder: Path) -> None:
    (tracker,) = open_trackers((name,), folder, {"seed": 0}, None)
    assert isinstance(tracker, Tracker)
    tracker.log({"train/train_success": 0.5}, 3)
    tracker.close()
