"""LeRobot data sets: what Hone writes comes back, LeRobot's own files are read, and what does not fit is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hone.data import lerobot_writer
from hone.data.episodes import EpisodeWriter, read_dataset, read_episodes
from hone.data.lerobot_format import Convention, hone_actions, reorient
from hone.data.lerobot_reader import LerobotReader
from hone.data.lerobot_stats import column_stats, join, picture_stats
from hone.data.lerobot_writer import export_lerobot
from hone.data.sources import import_episodes
from hone.errors import HoneError
from hone.specs import Orientation, Spec
from hone.types import UNKNOWN_PLACEMENT, Episode, Placement, Status, Task

SIDE = 32
SPEC = Spec(image_size=SIDE)
TASKS = (Task("libero_x", 3, "scene_1_do_it", "do it"), Task("libero_x", 4, "scene_2_do_it", "do it"))
KEYS = ("observation.images.image", "observation.images.image2")
GOLDEN = Path(__file__).parents[1] / "golden" / "lerobot_v3"


def pictures(steps: int, seed: int) -> np.ndarray:
    """`[T, 2, S, S, 3]`: smooth, with no symmetry, different at every step, in every camera and episode."""
    ramp = np.linspace(0, 100, SIDE)
    planes = np.zeros((steps, 2, SIDE, SIDE, 3))
    planes[..., 0] = ramp[:, None] + 50 * np.arange(2)[:, None, None]
    planes[..., 1] = ramp[None, :] + seed
    planes[..., 2] = (8 * np.arange(steps))[:, None, None, None]
    return planes.astype(np.uint8)


def episode(seed: int, steps: int, task: Task = TASKS[0], status: Status = "success") -> Episode:
    generator = np.random.default_rng(seed)
    actions = generator.uniform(-1, 1, (steps, 7)).astype(np.float32)
    return Episode(
        task=task,
        placement=Placement("sampled", 7 + seed),
        status=status,
        proprio=generator.normal(size=(steps, 8)).astype(np.float32),
        actions=actions,
        executed=np.clip(actions + 0.1, -1, 1),
        images=pictures(steps, 20 * seed),
        metadata={"seed": seed, "who": ["expert"]},
    )


EPISODES = (
    episode(0, 9),
    episode(1, 6, TASKS[1], "failure"),
    episode(2, 4, status="error"),
    episode(3, 5, replace(TASKS[0], instruction="do that")),
)
KEPT = [EPISODES[i] for i in (0, 1, 3)]


def record(folder: Path, spec: Spec = SPEC) -> Path:
    writer = EpisodeWriter(folder, spec, {"seed": 0})
    for one in EPISODES:
        assert one.images is not None
        images = np.ascontiguousarray(reorient(one.images, "upright", spec.image_orientation))
        writer.write(replace(one, images=images if spec.cameras else None))
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lerobot")
    export_lerobot(record(folder / "demos"), folder / "dataset")
    return folder / "dataset"


@pytest.fixture
def dataset(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(exported, tmp_path / "dataset")


def read(folder: Path, convention: Convention | None = None, side: int = SIDE) -> list[Episode]:
    return list(LerobotReader(folder, convention or Convention(), side))


def edit_info(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "meta" / "info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def edit_data(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "data/chunk-000/file-000.parquet"
    columns = {name: column.combine_chunks() for name, column in zip(*_named(pq.ParquetFile(path).read()), strict=True)}
    change(columns)
    pq.write_table(pa.table(columns), path)


def _named(table: pa.Table) -> tuple[list[str], list[pa.ChunkedArray]]:
    return table.column_names, table.columns


def test_what_is_exported_comes_back(exported: Path):
    for original, back in zip(KEPT, read(exported), strict=True):
        for name in ("proprio", "actions", "executed"):
            np.testing.assert_array_equal(getattr(original, name), getattr(back, name))
        assert (back.task, back.placement, back.status) == (original.task, original.placement, original.status)
        assert back.metadata == original.metadata
        assert original.images is not None
        assert back.images is not None
        # Both cameras, upright, the right step of the right episode: any mix-up is off by 8 or more.
        assert np.abs(back.images.astype(int) - original.images).mean() < 2.5


def test_pictures_are_stored_as_published_policies_were_trained(exported: Path):
    """Robosuite's picture turned by 180 degrees is the upright one, mirrored left to right."""
    mirrored = read(exported, Convention(image_orientation="upright"))[0].images
    assert mirrored is not None
    assert EPISODES[0].images is not None
    assert np.abs(mirrored[:, :, :, ::-1].astype(int) - EPISODES[0].images).mean() < 2.5


def test_whatever_way_pictures_were_recorded_they_come_back_upright(tmp_path: Path):
    export_lerobot(record(tmp_path / "demos", replace(SPEC, image_orientation="opengl")), tmp_path / "dataset")
    images = read(tmp_path / "dataset")[0].images
    assert images is not None
    assert EPISODES[0].images is not None
    assert np.abs(images.astype(int) - EPISODES[0].images).mean() < 2.5


def test_orientations_are_three_ways_to_turn_one_picture():
    upright = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    opengl, rotated = upright[:, ::-1], upright[:, :, ::-1]
    np.testing.assert_array_equal(rotated, opengl[:, ::-1, ::-1])
    turned: dict[Orientation, np.ndarray] = {"upright": upright, "opengl": opengl, "rotated_180": rotated}
    for source, picture in turned.items():
        for target, expected in turned.items():
            np.testing.assert_array_equal(reorient(picture, source, target), expected)


def test_the_marks_of_success_and_the_indices(exported: Path):
    table = pq.ParquetFile(exported / "data/chunk-000/file-000.parquet").read().to_pydict()
    assert table["episode_index"] == [0] * 9 + [1] * 6 + [2] * 5
    assert table["frame_index"] == [*range(9), *range(6), *range(5)]
    assert table["index"] == list(range(20))
    assert table["task_index"] == [0] * 15 + [1] * 5
    assert np.flatnonzero(table["next.done"]).tolist() == [8, 14, 19]
    assert np.flatnonzero(table["next.success"]).tolist() == [8, 19]
    assert np.flatnonzero(table["next.reward"]).tolist() == [8, 19]
    np.testing.assert_allclose(table["timestamp"][:3], [0, 0.05, 0.1], atol=1e-7)
    episodes = pq.read_table(exported / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["success"] == [True, False, True]
    assert episodes["length"] == [9, 6, 5]
    assert episodes["tasks"] == [["do it"], ["do it"], ["do that"]]
    assert episodes[f"videos/{KEYS[0]}/from_timestamp"] == [0, 9 / 20, 15 / 20]


def test_many_files_read_like_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lerobot_writer, "DATA_MEGABYTES", -1)
    monkeypatch.setattr(lerobot_writer, "VIDEO_MEGABYTES", -1)
    export_lerobot(record(tmp_path / "demos"), tmp_path / "dataset")
    assert len(list((tmp_path / "dataset/data").rglob("*.parquet"))) == 3
    assert len(list((tmp_path / "dataset/videos" / KEYS[1]).rglob("*.mp4"))) == 3
    for original, back in zip(KEPT, read(tmp_path / "dataset"), strict=True):
        np.testing.assert_array_equal(original.actions, back.actions)
        assert original.images is not None
        assert back.images is not None
        assert np.abs(back.images.astype(int) - original.images).mean() < 2.5


def test_imported_episodes_are_a_folder_of_demonstrations(exported: Path, tmp_path: Path):
    import_episodes(LerobotReader(exported, Convention(), 16), tmp_path / "demos")
    assert read_dataset(tmp_path / "demos").spec == Spec(image_size=16)
    provenance = read_dataset(tmp_path / "demos").provenance
    assert provenance["exported_by_hone"]["provenance"] == {"seed": 0}
    episodes = read_episodes(tmp_path / "demos", status=None)
    assert [(e.status, len(e)) for e in episodes] == [("success", 9), ("failure", 6), ("success", 5)]
    images, original = episodes[0].images, EPISODES[0].images
    assert images is not None
    assert original is not None
    averaged = original.reshape(9, 2, 16, 2, 16, 2, 3).mean(axis=(3, 5))
    assert np.abs(images - averaged).mean() < 2.5
    with pytest.raises(HoneError, match="exists already"):
        import_episodes(LerobotReader(exported, Convention(), 16), tmp_path / "demos")
    with pytest.raises(HoneError, match="hone data import --dataset"):
        read_episodes(exported)


def test_an_export_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    record(tmp_path / "demos")
    monkeypatch.setattr(lerobot_writer, "picture_stats", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_lerobot(tmp_path / "demos", tmp_path / "dataset")
    assert [path.name for path in tmp_path.iterdir()] == ["demos"]
    (tmp_path / "dataset").mkdir()
    with pytest.raises(HoneError, match="exists already"):
        export_lerobot(tmp_path / "demos", tmp_path / "dataset")


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_what_cannot_be_exported_is_named(tmp_path: Path):
    EpisodeWriter(tmp_path / "odd", replace(SPEC, image_size=33), {})
    with pytest.raises(HoneError, match="33 pixels"):
        export_lerobot(tmp_path / "odd", tmp_path / "dataset")
    EpisodeWriter(tmp_path / "euler", replace(SPEC, rotation="euler"), {})
    with pytest.raises(HoneError, match="rotation 'euler'"):
        export_lerobot(tmp_path / "euler", tmp_path / "dataset")
    EpisodeWriter(tmp_path / "empty", SPEC, {})
    with pytest.raises(HoneError, match="no episodes"):
        export_lerobot(tmp_path / "empty", tmp_path / "dataset")


def test_statistics_of_parts_join_to_those_of_the_whole():
    generator = np.random.default_rng(0)
    whole = generator.normal(size=(50, 3)) * [1, 2, 3]
    joined, direct = join([column_stats(whole[:20]), column_stats(whole[20:])]), column_stats(whole)
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(joined[name], direct[name], rtol=1e-12)
    images = generator.integers(0, 256, (4, 5, 6, 3), np.uint8)
    stats = picture_stats(images)
    np.testing.assert_allclose(stats["mean"][:, 0, 0], images.mean(axis=(0, 1, 2)) / 255, rtol=1e-5)
    assert stats["count"].tolist() == [4]


def test_the_gripper_is_turned_to_close_at_plus_one():
    actions = np.zeros((3, 7), np.float32)
    actions[:, 6] = [1, 0, 0.5]
    assert hone_actions(actions, "open_one", "here")[:, 6].tolist() == [-1, 1, 0]
    with pytest.raises(HoneError, match=r"here: .* \[0, 1\].*--convention.gripper open_one"):
        hone_actions(actions, "close_positive", "here")
    actions[:, 6] = [1, -1, 1]
    np.testing.assert_array_equal(hone_actions(actions, "close_positive", "here"), actions)
    with pytest.raises(HoneError, match="do not fit 'open_one'"):
        hone_actions(actions, "open_one", "here")
    with pytest.raises(HoneError, match="from -1 to 3"):
        hone_actions(np.where(actions > 0, 3, actions).astype(np.float32), "close_positive", "here")


def test_another_rate_is_refused_until_it_is_declared(dataset: Path):
    edit_info(dataset, lambda info: info.update(fps=10))
    with pytest.raises(HoneError, match=r"declares 10 frames per second, not 20.*--convention\.fps 10"):
        read(dataset)


def test_other_cameras_are_listed(dataset: Path):
    with pytest.raises(HoneError, match=rf"no camera 'observation\.images\.wrist'.*It has: {KEYS[0]}, {KEYS[1]}"):
        read(dataset, Convention(cameras=(KEYS[0], "observation.images.wrist")))


def test_other_shapes_are_named(dataset: Path):
    edit_info(dataset, lambda info: info["features"]["observation.state"].update(shape=[6]))
    with pytest.raises(HoneError, match=r"'observation\.state' of shape \[6\], but LIBERO's is \[8\]"):
        read(dataset)


def test_pictures_of_another_size_than_declared_are_named(dataset: Path):
    edit_info(dataset, lambda info: info["features"][KEYS[0]].update(shape=[64, 64, 3]))
    with pytest.raises(HoneError, match=r"pictures of .* are \[32, 32, 3\], but meta/info.json declares \[64, 64, 3\]"):
        read(dataset)


def test_pictures_that_are_not_square_are_named(dataset: Path):
    edit_info(dataset, lambda info: info["features"][KEYS[0]].update(shape=[32, 64, 3]))
    with pytest.raises(HoneError, match="square"):
        read(dataset)


def test_rows_of_another_width_are_named(dataset: Path):
    edit_data(
        dataset,
        lambda columns: columns.update(action=columns["executed_action"].from_arrays(pa.array(np.zeros(60)), 3)),
    )
    with pytest.raises(HoneError, match="'action' holds 27 numbers in 9 rows, not 7 in each"):
        read(dataset)


def test_a_missing_video_is_named(dataset: Path):
    (dataset / "videos" / KEYS[1] / "chunk-000/file-000.mp4").unlink()
    with pytest.raises(HoneError, match=r"image2.*file-000\.mp4' is missing"):
        read(dataset)


@pytest.mark.parametrize("name", ["meta/tasks.parquet", "data/chunk-000/file-000.parquet"])
def test_missing_and_damaged_tables_are_named(dataset: Path, name: str):
    (dataset / name).write_bytes(b"nonsense")
    with pytest.raises(HoneError, match=f"{name}' is damaged"):
        read(dataset)
    (dataset / name).unlink()
    with pytest.raises(HoneError, match=f"{name}' is missing"):
        read(dataset)


def test_a_missing_column_is_named(dataset: Path):
    edit_data(dataset, lambda columns: columns.pop("observation.state"))
    with pytest.raises(HoneError, match=r"no column 'observation\.state'"):
        read(dataset)
    path = dataset / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["dataset_to_index"]), path)
    with pytest.raises(HoneError, match=r"file-000\.parquet' has no column 'dataset_to_index'"):
        read(dataset)


def test_missing_rows_are_named(dataset: Path):
    edit_data(dataset, lambda columns: columns.update({name: column[:12] for name, column in columns.items()}))
    with pytest.raises(HoneError, match=r"episode 1 .* should have 6 rows.* but 3 are there"):
        read(dataset)


def test_an_older_version_says_how_to_convert_it(dataset: Path):
    edit_info(dataset, lambda info: info.update(codebase_version="v2.1"))
    with pytest.raises(HoneError, match=r"data set v2\.1; Hone reads v3\.0.*convert_dataset_v21_to_v30"):
        read(dataset)


def test_a_folder_that_is_no_data_set_is_named(tmp_path: Path):
    with pytest.raises(HoneError, match="no LeRobot data set"):
        read(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("{")
    with pytest.raises(HoneError, match=r"info\.json' is damaged"):
        read(tmp_path)


def test_a_foreign_data_set_needs_nothing_of_hones_own(dataset: Path):
    """As after LeRobot's own tools rewrote it: no header, no marks in the episodes' table, no executed actions."""
    path = dataset / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["hone/header", "success"]), path)
    edit_info(dataset, lambda info: info["features"].pop("executed_action"))
    (dataset / "meta/hone.json").unlink()
    first, second, third = read(dataset)
    assert (first.status, second.status, third.status) == ("success", "failure", "success")
    assert first.task == Task("lerobot", 0, "do_it", "do it")
    assert third.task.instruction == "do that"
    assert first.placement == UNKNOWN_PLACEMENT
    np.testing.assert_array_equal(first.executed, first.actions)


def test_without_marks_all_count_as_successes_and_it_is_said(dataset: Path, caplog: pytest.LogCaptureFixture):
    path = dataset / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["hone/header", "success"]), path)
    edit_info(dataset, lambda info: info["features"].pop("next.success"))
    assert [e.status for e in read(dataset)] == ["success"] * 3
    assert "does not mark success" in caplog.text


@pytest.mark.parametrize("kind", ["videos", "images"])
def test_what_lerobot_itself_wrote_is_read(kind: str):
    """tests/golden/make_lerobot_v3.py made these with the package `lerobot`, in the convention of `lerobot/libero`."""
    expected = np.load(GOLDEN / "expected.npz")
    start = 0
    episodes = read(GOLDEN / kind, side=64)
    for length, one in zip(expected["lengths"], episodes, strict=True):
        rows = slice(start, start + int(length))
        np.testing.assert_array_equal(one.proprio, expected["state"][rows])
        np.testing.assert_array_equal(one.actions, expected["action"][rows])
        assert one.images is not None
        off = np.abs(one.images.astype(int) - expected["pictures"][rows][:, :, :, ::-1])  # upright again
        assert off.mean() < (0.001 if kind == "images" else 4)  # another step is 16/3 away, the other camera 20
        start += int(length)
    assert [e.status for e in episodes] == ["success", "failure"]
    assert episodes[1].task.instruction == "turn on the stove"


def test_what_hone_writes_has_the_columns_and_types_that_lerobot_writes(exported: Path):
    own, theirs = exported, GOLDEN / "videos"
    for name in ("data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"):
        left, right = pq.read_schema(own / name), pq.read_schema(theirs / name)
        for column in right.names:
            assert column in left.names, column
            if not column.startswith("stats/"):
                assert left.field(column).type == right.field(column).type, column
    infos = [json.loads((folder / "meta/info.json").read_text()) for folder in (own, theirs)]
    assert set(infos[1]) <= set(infos[0])
    for name in ("codebase_version", "chunks_size", "fps", "data_path", "video_path"):
        assert infos[0][name] == infos[1][name], name
    for key, about in infos[1]["features"].items():
        assert infos[0]["features"][key]["dtype"] == about["dtype"], key


def test_statistics_are_those_that_lerobot_computes():
    """Extremes and moments. Quantiles of so few values depend on how one interpolates, which the two do not alike."""
    expected = np.load(GOLDEN / "expected.npz")
    theirs = json.loads((GOLDEN / "images/meta/stats.json").read_text())
    ends = np.cumsum(expected["lengths"])[:-1]
    numbers = {"observation.state": expected["state"], "action": expected["action"]}
    ours = {key: join([column_stats(part) for part in np.split(column, ends)]) for key, column in numbers.items()}
    for camera, key in enumerate(KEYS):
        ours[key] = join([picture_stats(part) for part in np.split(expected["pictures"][:, camera], ends)])
    for key, stats in ours.items():
        assert sorted(stats) == sorted(theirs[key])
        for name in ("min", "max", "mean", "std", "count"):
            np.testing.assert_allclose(stats[name], theirs[key][name], rtol=1e-4, atol=1e-4, err_msg=f"{key} {name}")
            assert np.shape(stats[name]) == np.shape(theirs[key][name])
