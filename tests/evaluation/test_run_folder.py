import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from hone.errors import HoneError
from hone.evaluation.run_folder import RunFolder, RunLog, read_json, read_rows, write_json


def test_rows_are_on_disk_as_soon_as_they_are_logged(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    log = RunLog(folder, track=())
    log.training({"iteration": 1, "kl": np.float32(0.5), "dead_groups": 2})
    assert read_rows(folder.metrics) == [{"iteration": 1, "kl": 0.5, "dead_groups": 2}]


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    evaluation = {"mode": "greedy", "successes": 1, "episodes": 2}
    with RunLog(folder, track=()) as log:
        for iteration in (1, 2, 3):
            log.training({"iteration": iteration})
            log.evaluation({"iteration": iteration, **evaluation})
            with folder.attempts.open("a") as file:  # the episode memory writes its own
                file.write(json.dumps({"iteration": iteration}) + "\n")
    with RunLog(folder, resume_after=2, track=()) as log:
        log.training({"iteration": 3, "again": True})
    assert read_rows(folder.metrics) == [{"iteration": 1}, {"iteration": 2}, {"iteration": 3, "again": True}]
    assert [row["iteration"] for row in read_rows(folder.evaluations)] == [1, 2]
    assert [row["iteration"] for row in read_rows(folder.attempts)] == [1, 2]
    RunLog(folder, track=())  # a fresh start keeps nothing
    assert read_rows(folder.metrics) == []


def test_a_torn_first_line_is_not_in_the_way_of_what_is_appended(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"iterat')
    with RunLog(folder, resume_after=2, track=()) as log:
        log.training({"iteration": 3})
    assert read_rows(folder.metrics) == [{"iteration": 3}]


def test_numbers_reach_tensorboard(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's own imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        folder = RunFolder(tmp_path)
        with RunLog(folder) as log:
            log.training({"iteration": 4, "kl": 0.25, "note": "text is left out"})
            log.evaluation({"iteration": 4, "mode": "greedy", "successes": 3, "episodes": 4, "per_task": {}})
        events = EventAccumulator(str(folder.tensorboard)).Reload()
    assert {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]} == {
        "train/kl": 0.25,
        "evaluation_greedy/success_rate": 0.75,
    }
    assert events.Scalars("train/kl")[0].step == 4


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"iteration": 1}\n{"iterat')
    assert read_rows(path) == [{"iteration": 1}]
    path.write_text('{"iterat\n{"iteration": 2}\n')
    with pytest.raises(HoneError, match="line 1"):
        read_rows(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HoneError, match="cannot write"):
        write_json(tmp_path / "file" / "summary.json", {})


def test_missing_and_broken_json_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(HoneError, match=r"summary\.json does not exist"):
        read_json(tmp_path / "summary.json")
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(HoneError, match=r"summary\.json is not valid JSON"):
        read_json(tmp_path / "summary.json")
