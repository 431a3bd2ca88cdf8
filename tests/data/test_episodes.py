"""The episode format: what is written comes back, and what is broken is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hone.data.episodes import EpisodeWriter, read_dataset, read_episodes, read_headers
from hone.errors import HoneError
from hone.specs import Spec
from hone.types import Episode, Placement, Status, Task

SPEC = Spec(image_size=16)
TASKS = tuple(Task("toy", i, f"task-{i}", f"do {i}") for i in range(2))


def episode(steps: int = 5, task: Task = TASKS[0], status: Status = "success", images: bool = True) -> Episode:
    generator = np.random.default_rng(steps)
    return Episode(
        task=task,
        placement=Placement("sampled", 7),
        status=status,
        proprio=generator.normal(size=(steps, 8)).astype(np.float32),
        actions=generator.normal(size=(steps, 7)).astype(np.float32),
        executed=generator.normal(size=(steps, 7)).astype(np.float32),
        images=generator.integers(0, 255, (steps, 2, 16, 16, 3), np.uint8) if images else None,
        state=None if images else generator.normal(size=(steps, 3, 11)).astype(np.float32),
        metadata={"seed": 3, "who": ["expert"]},
    )


def writer(folder: Path, **provenance: object) -> EpisodeWriter:
    return EpisodeWriter(folder, SPEC, {"seed": 0, **provenance})


def same(a: Episode, b: Episode) -> bool:
    for name in ("proprio", "actions", "executed", "images", "state"):
        left, right = getattr(a, name), getattr(b, name)
        if (left is None) != (right is None) or (left is not None and not np.array_equal(left, right)):
            return False
    return (a.task, a.placement, a.status, a.metadata) == (b.task, b.placement, b.status, b.metadata)


def test_what_is_written_comes_back(tmp_path: Path):
    written = [episode(5), episode(3, TASKS[1], images=False)]
    out = writer(tmp_path)
    for one in written:
        out.write(one)
    assert all(same(a, b) for a, b in zip(written, read_episodes(tmp_path), strict=True))
    assert [header.steps for header in read_headers(tmp_path)] == [5, 3]
    assert read_dataset(tmp_path).spec == SPEC
    assert read_dataset(tmp_path).provenance == {"seed": 0}


def test_filters_by_task_and_status(tmp_path: Path):
    out = writer(tmp_path)
    for one in (episode(2), episode(3, status="failure"), episode(4, TASKS[1])):
        out.write(one)
    assert [len(e) for e in read_episodes(tmp_path)] == [2, 4]
    assert [len(e) for e in read_episodes(tmp_path, status=None)] == [2, 3, 4]
    assert [len(e) for e in read_episodes(tmp_path, tasks=[TASKS[1]])] == [4]


def test_a_second_writer_goes_on_where_the_first_stopped(tmp_path: Path):
    writer(tmp_path).write(episode(2))
    (tmp_path / "episodes" / ".000001.npz.half").write_bytes(b"interrupted")
    assert writer(tmp_path).write(episode(3)).name == "000001.npz"
    assert [len(e) for e in read_episodes(tmp_path)] == [2, 3]


def test_other_options_do_not_mix(tmp_path: Path):
    writer(tmp_path)
    with pytest.raises(HoneError, match=r"noise: there None, now 0.2"):
        writer(tmp_path, noise=0.2)
    with pytest.raises(HoneError, match=r"image_size: there 16, now 84"):
        EpisodeWriter(tmp_path, replace(SPEC, image_size=84), {"seed": 0})


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(HoneError, match="hone demos --output"):
        read_episodes(tmp_path / "nowhere")


def test_another_version_is_refused(tmp_path: Path):
    writer(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(HoneError, match="version 99"):
        read_episodes(tmp_path)


@pytest.mark.parametrize("keep", [0, 20, 400, 0.6, 0.98])
def test_a_damaged_file_is_named(tmp_path: Path, keep: float):
    """Cut off at any place: an empty file, a broken header, a broken array, a missing table of contents."""
    out = writer(tmp_path)
    out.write(episode(2))
    path = out.write(episode(40))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with pytest.raises(HoneError, match=r"000001\.npz.*damaged"):
        read_episodes(tmp_path)


def test_a_flipped_bit_is_noticed(tmp_path: Path):
    path = writer(tmp_path).write(episode(40))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(HoneError, match=r"000000\.npz.*damaged"):
        read_episodes(tmp_path)


def test_nothing_in_a_file_is_executed(tmp_path: Path):
    path = writer(tmp_path).write(episode(2))
    np.savez(path, header=np.array([{"pickled": "object"}], dtype=object))
    with pytest.raises(HoneError, match=r"000000\.npz.*damaged"):
        read_episodes(tmp_path)


def test_arrays_of_different_length_are_noticed(tmp_path: Path):
    path = writer(tmp_path).write(episode(4))
    with np.load(path) as arrays:
        columns = dict(arrays)
    np.savez(path, **{**columns, "actions": columns["actions"][:2]})
    with pytest.raises(HoneError, match="'actions' has 2 rows, not 4"):
        read_episodes(tmp_path)


def test_a_broken_description_is_named(tmp_path: Path):
    writer(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(HoneError, match=r"dataset\.json"):
        read_headers(tmp_path)
