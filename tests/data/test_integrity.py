"""A LeRobot data set that Hone wrote is whole; each way of breaking it fails the check that is for it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recordings import PER_TASK, TASKS, episode

from hone.data import lerobot_writer
from hone.data.check import check
from hone.data.episodes import EpisodeWriter
from hone.data.findings import Finding
from hone.data.integrity import check_integrity
from hone.data.lerobot_table import LerobotTables
from hone.data.lerobot_writer import export_lerobot
from hone.errors import HoneError
from hone.specs import Spec

SIDE = 16
DATA = "data/chunk-000/file-000.parquet"
TABLE = "meta/episodes/chunk-000/file-000.parquet"
FILM = "videos/observation.images.image/chunk-000/file-000.mp4"


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check") / "demos"
    writer = EpisodeWriter(folder, Spec(image_size=SIDE), {})
    for number in range(PER_TASK * len(TASKS)):
        writer.write(episode(number, SIDE))
    return folder


@pytest.fixture(scope="module")
def exported(demos: Path) -> Path:
    export_lerobot(demos, demos.parent / "dataset")
    return demos.parent / "dataset"


@pytest.fixture
def dataset(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(exported, tmp_path / "dataset")


def found(folder: Path) -> dict[str, Finding]:
    """The integrity alone, which is quicker."""
    return {finding.check: finding for finding in check_integrity(LerobotTables(folder))}


def whole(folder: Path) -> dict[str, Finding]:
    return {finding.check: finding for finding in check(folder, 400).findings}


def edit_info(folder: Path, **changes: Any) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    columns = pq.ParquetFile(path).read().to_pydict()
    schema = pq.read_schema(path)
    change(columns)
    fields = [schema.field(name) for name in columns]
    pq.write_table(pa.table(columns, schema=pa.schema(fields)), path)


def test_what_hone_writes_passes(exported: Path, demos: Path):
    findings = whole(exported)
    assert {name: f.said for name, f in findings.items() if f.level not in ("pass", "skip")} == {}
    assert sum(f.group == "integrity" for f in findings.values()) == 8
    own = whole(demos)
    assert {name: f.said for name, f in own.items() if f.level not in ("pass", "skip")} == {}
    assert own["episodes"].said == "all 18 are whole"


def test_both_ways_to_read_it_say_the_same(exported: Path, demos: Path):
    ours, theirs = check(demos, 400).numbers, check(exported, 400).numbers
    for name in ("lengths", "tasks", "actions", "idle_share", "gripper", "motion_after_action", "effective_episodes"):
        assert theirs[name] == ours[name], name


def test_a_large_data_set_is_sampled(exported: Path):
    numbers = check(exported, 5).numbers
    assert (numbers["episodes"], numbers["read"]) == (18, 5)


def test_what_lerobot_wrote_is_whole():
    for kind in ("videos", "images"):
        findings = found(Path(__file__).parents[1] / "golden" / "lerobot_v3" / kind)
        assert {f.level for f in findings.values()} == {"pass"}


def _nan(columns: dict[str, Any]) -> None:
    columns["action"][7][2] = float("nan")


def _swap(columns: dict[str, Any]) -> None:
    columns["index"][3], columns["index"][4] = columns["index"][4], columns["index"][3]


def _foreign_task(columns: dict[str, Any]) -> None:
    columns["task_index"][0] = 7


def _late(columns: dict[str, Any]) -> None:
    columns["timestamp"][5] += 0.01


def _cut(columns: dict[str, Any]) -> None:
    for name in columns:
        columns[name] = columns[name][:-4]


def _miscounted(columns: dict[str, Any]) -> None:
    columns["frame_index"][2] = 9


@pytest.mark.parametrize(
    ("check_name", "said", "spoil"),
    [
        ("numbers", "'action' is not finite in 1 rows of file-000.parquet, first in row 7", _nan),
        ("indices", "index 2 is followed by 4", _swap),
        ("indices", "frame_index of episode 0 does not count", _miscounted),
        ("tasks", r"episode 0 has task 7; known: \[0, 1, 2\]", _foreign_task),
        ("time stamps", r"frame 5 of episode 0 is at 0\.2600 s, not 0\.2500 s", _late),
        ("episodes", r"episode 17 should have \d+ rows in file-000.parquet, has \d+", _cut),
        ("columns", "'executed_action' is declared, but not in", lambda columns: columns.pop("executed_action")),
    ],
)
def test_broken_rows_are_noticed(dataset: Path, check_name: str, said: str, spoil: Callable[[dict[str, Any]], object]):
    edit(dataset / DATA, spoil)
    fails(dataset, check_name, said)


def fails(folder: Path, check_name: str, said: str) -> None:
    finding = found(folder)[check_name]
    assert finding.level == "fail", finding
    assert re.search(said, finding.said), finding.said
    assert finding.advice


def test_broken_declarations_are_noticed(dataset: Path):
    edit_info(dataset, total_frames=7, fps=10)
    findings = found(dataset)
    assert "info.json has total_frames 7" in findings["episodes"].said
    assert "frame 1 of episode 0 is at 0.0500 s, not 0.1000 s" in findings["time stamps"].said
    assert "runs at 20 pictures a second, but 10 are declared" in findings["videos"].said
    info = json.loads((dataset / "meta/info.json").read_text())
    info["features"]["action"]["shape"] = [6]
    info["features"]["observation.state"]["dtype"] = "float64"
    info["features"]["observation.images.image"]["shape"] = [64, 64, 3]
    edit_info(dataset, fps=20, features=info["features"])
    findings = found(dataset)
    assert "'action' has 7 numbers a row, but 6 are declared" in findings["columns"].said
    assert "'observation.state' is float32, but float64 is declared" in findings["columns"].said
    assert "is 16 x 16, but 64 x 64 declared" in findings["videos"].said


def test_broken_films_are_noticed(dataset: Path, demos: Path, tmp_path: Path):
    one = tmp_path / "one"
    writer = EpisodeWriter(one, Spec(image_size=SIDE), {})
    writer.write(episode(0, SIDE))
    export_lerobot(one, tmp_path / "short")
    shutil.copy(tmp_path / "short" / FILM, dataset / FILM)
    fails(dataset, "videos", rf"{FILM} has \d+ pictures, but \d+ are needed")
    (dataset / FILM).write_bytes((dataset / FILM).read_bytes()[:500])
    fails(dataset, "videos", "is damaged")
    (dataset / FILM).unlink()
    fails(dataset, "videos", f"{FILM}' is missing")
    assert whole(dataset)["task from the first picture"].level == "skip"


def test_a_film_that_is_longer_than_its_episode_is_noticed(dataset: Path):
    def longer(columns: dict[str, Any]) -> None:
        columns["videos/observation.images.image/to_timestamp"][3] += 0.5

    edit(dataset / TABLE, longer)
    fails(dataset, "videos", r"episode 3 has \d+ frames, but its part of 'observation.images.image' lasts")


def test_a_gap_between_episodes_is_noticed(dataset: Path):
    def gap(columns: dict[str, Any]) -> None:
        for name in columns:
            del columns[name][2]

    edit(dataset / TABLE, gap)
    fails(dataset, "episodes", "episode 2 is missing from the episodes' table")


def test_stale_statistics_are_noticed(dataset: Path):
    path = dataset / "meta/stats.json"
    stats = json.loads(path.read_text())
    stats["action"]["mean"][0] += 0.1
    path.write_text(json.dumps(stats))
    fails(dataset, "stored statistics", r"mean of 'action'\[0\] is stored as")
    path.unlink()
    fails(dataset, "stored statistics", "cannot be read")


def test_what_cannot_be_read_is_a_finding(dataset: Path):
    (dataset / DATA).write_bytes(b"nonsense")
    findings = whole(dataset)
    assert f"{DATA}' is damaged" in findings["episodes"].said
    assert findings["readable"].level == "fail"
    (dataset / "meta/tasks.parquet").unlink()
    assert "tasks.parquet' is missing" in whole(dataset)["readable"].said


def test_damaged_episodes_of_hones_own_are_a_finding(demos: Path, tmp_path: Path):
    folder = shutil.copytree(demos, tmp_path / "demos")
    path = folder / "episodes/000003.npz"
    path.write_bytes(path.read_bytes()[:100])
    assert "000003.npz' is damaged" in whole(folder)["readable"].said


def test_problems_of_a_kind_are_counted_and_not_all_listed(dataset: Path):
    def unknown(columns: dict[str, Any]) -> None:
        columns["task_index"] = [9] * len(columns["task_index"])

    edit(dataset / DATA, unknown)
    assert found(dataset)["tasks"].said.endswith("(and 15 more)")


def test_many_files_are_checked_like_one(demos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lerobot_writer, "DATA_MEGABYTES", -1)
    monkeypatch.setattr(lerobot_writer, "VIDEO_MEGABYTES", -1)
    few = tmp_path / "few"
    writer = EpisodeWriter(few, Spec(image_size=SIDE), {})
    for number in range(3):
        writer.write(replace(episode(number, SIDE), status="failure" if number else "success"))
    export_lerobot(few, tmp_path / "dataset")
    findings = found(tmp_path / "dataset")
    assert {f.level for f in findings.values() if f.group == "integrity"} == {"pass"}
    findings = whole(tmp_path / "dataset")
    assert findings["success"].said == "1 of 3 episodes succeeded"


def test_an_evaluation_that_was_recorded_is_no_training_data(tmp_path: Path):
    writer = EpisodeWriter(tmp_path / "eval", Spec(image_size=SIDE), {})
    for number in range(4):
        made = episode(number, SIDE)
        writer.write(replace(made, placement=replace(made.placement, kind="official")))
    export_lerobot(tmp_path / "eval", tmp_path / "dataset")
    for folder in ("eval", "dataset"):
        assert whole(tmp_path / folder)["official initial states"].level == "fail"


def test_where_there_is_no_data_set_is_an_error(tmp_path: Path):
    with pytest.raises(HoneError, match="does not exist"):
        check(tmp_path / "nowhere", 400)
    with pytest.raises(HoneError, match="no data set that Hone reads"):
        check(tmp_path, 400)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(HoneError, match="is no data set"):
        check(tmp_path / "notes.txt", 400)
