"""LIBERO's HDF5 files: what was recorded comes in, aligned, upright and in Hone's convention; what is broken is named.

The files here have the layout of LIBERO's scripts/create_dataset.py; `benchmarks/libero_hdf5.py` makes such files of
whole expert episodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hone.data.check import check
from hone.data.episodes import read_dataset, read_episodes
from hone.data.libero_hdf5 import Hdf5Convention, LiberoHdf5Reader, observed_after
from hone.data.sources import Conventions, import_episodes, open_source, without_idle
from hone.envs.libero import suites
from hone.errors import HoneError
from hone.specs import Spec
from hone.types import UNKNOWN_PLACEMENT, Episode

SIDE = 32
STEPS = 9
NAME = "pick_up_the_milk_and_place_it_in_the_basket"


def demonstration(seed: int, *, after: bool) -> dict[str, np.ndarray]:
    """An arm that moves by 0.01 rad a step; `after`: observations are made after the action beside them."""
    generator = np.random.default_rng(seed)
    joints = np.cumsum(np.full((STEPS + 1, 7), 0.01), axis=0) + generator.normal(size=7)
    seen = slice(1, None) if after else slice(0, -1)
    shade = (10 * np.arange(STEPS + 1)).astype(np.uint8)
    ramp = np.arange(SIDE, dtype=np.uint8)
    pictures = np.zeros((STEPS + 1, SIDE, SIDE, 3), np.uint8)
    pictures[..., 0], pictures[..., 1], pictures[..., 2] = ramp[:, None], 3 * ramp, shade[:, None, None]
    states = generator.normal(size=(STEPS, 110))
    states[:, 1:8] = joints[:-1]
    proprio = generator.normal(size=(STEPS + 1, 8))
    actions = generator.uniform(-1, 1, (STEPS, 7))
    actions[:, 6] = np.where(np.arange(STEPS) < 4, -1.0, 1.0)
    ends = np.zeros(STEPS, np.uint8)
    ends[-1] = 1
    return {
        "actions": actions,
        "states": states,
        "rewards": ends,
        "dones": ends,
        "obs/ee_states": proprio[seen, :6],
        "obs/gripper_states": proprio[seen, 6:],
        "obs/joint_states": joints[seen],
        "obs/agentview_rgb": pictures[seen],
        "obs/eye_in_hand_rgb": 255 - pictures[seen],
    }


def write(path: Path, demos: list[dict[str, np.ndarray]], **attributes: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs.update({"macros_image_convention": "opengl", "tag": "libero-v1", **attributes})
        for number, columns in enumerate(demos):
            for name, column in columns.items():
                data.create_dataset(f"demo_{number}/{name}", data=column)
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """As LIBERO's own script writes it."""
    return write(
        tmp_path / "libero_object" / f"{NAME}_demo.hdf5",
        [demonstration(seed, after=True) for seed in range(2)],
        bddl_file_name=f"chiliocosm/bddl_files/libero_object/{NAME}.bddl",
        problem_info=json.dumps({"language_instruction": ["pick", " it"]}),
    )


def read(path: Path, convention: Hdf5Convention | None = None) -> list[Episode]:
    return list(LiberoHdf5Reader(path, convention or Hdf5Convention(), SIDE))


def test_published_files_come_in_with_each_action_after_what_was_seen(published: Path):
    episodes = read(published)
    assert len(episodes) == 2
    for seed, episode in enumerate(episodes):
        raw = demonstration(seed, after=True)
        np.testing.assert_array_equal(episode.actions, raw["actions"][1:].astype(np.float32))
        proprio = np.concatenate([raw["obs/ee_states"], raw["obs/gripper_states"]], axis=1)
        np.testing.assert_array_equal(episode.proprio, proprio[:-1].astype(np.float32))
        assert episode.images is not None
        np.testing.assert_array_equal(episode.images[:, 0], raw["obs/agentview_rgb"][:-1, ::-1])
        np.testing.assert_array_equal(episode.images[:, 1], raw["obs/eye_in_hand_rgb"][:-1, ::-1])
        assert episode.metadata["observed_after_its_action"] is True
        assert (episode.placement, episode.status) == (UNKNOWN_PLACEMENT, "success")
        assert episode.task == suites.task("libero_object", NAME)


def test_files_made_anew_are_taken_as_they_are(tmp_path: Path):
    """OpenVLA's script records before it steps, and writes no attributes."""
    path = write(tmp_path / "libero_object_no_noops" / f"{NAME}_demo.hdf5", [demonstration(0, after=False)])
    with h5py.File(path, "a") as file:
        for name in list(file["data"].attrs):
            del file["data"].attrs[name]
    raw, episode = demonstration(0, after=False), read(path)[0]
    np.testing.assert_array_equal(episode.actions, raw["actions"].astype(np.float32))
    assert episode.images is not None
    np.testing.assert_array_equal(episode.images[:, 0], raw["obs/agentview_rgb"][:, ::-1])
    assert episode.task == suites.task("libero_object", NAME)


def test_joints_tell_when_was_observed():
    for after in (False, True):
        raw = demonstration(3, after=after)
        noise = 1e-3 * np.random.default_rng(0).normal(size=(STEPS, 7))
        assert observed_after(raw["obs/joint_states"] + noise, raw["states"]) is after


def test_what_the_user_says_comes_first(published: Path):
    convention = Hdf5Convention(observed="before", image_orientation="upright")
    raw, episode = demonstration(0, after=True), read(published, convention)[0]
    assert len(episode) == STEPS
    assert episode.images is not None
    np.testing.assert_array_equal(episode.images[:, 0], raw["obs/agentview_rgb"])


def test_tasks_that_are_not_the_benchmarks(tmp_path: Path):
    info = json.dumps({"language_instruction": '"stack the cups"'})
    path = write(tmp_path / "my_task_demo.hdf5", [demonstration(0, after=True)], problem_info=info)
    episode = read(path)[0]
    assert (episode.task.suite, episode.task.name) == ("libero_hdf5", "my_task")
    assert episode.instruction == "stack the cups"
    assert episode.metadata["official_start"] is None


def test_starts_that_are_official_are_found_out(tmp_path: Path):
    official = suites.official_initial_states(suites.task("libero_object", NAME))
    demos = [demonstration(seed, after=True) for seed in range(2)]
    for demo in demos:
        states = np.tile(official[7], (STEPS, 1))
        states[:, 1:8] = demo["states"][:, 1:8]
        demo["states"] = states
    demos[1]["states"][:, 12] += 0.05
    path = write(tmp_path / "libero_object" / f"{NAME}_demo.hdf5", demos)
    assert [episode.metadata["official_start"] for episode in read(path)] == [True, False]
    finding = next(f for f in check(path, 10).findings if f.check == "official initial states")
    assert finding.level == "fail"


def test_a_folder_of_files_becomes_a_folder_of_demonstrations(published: Path, tmp_path: Path):
    source = open_source(published.parent, Conventions(), 16)
    import_episodes(source, tmp_path / "demos", drop_idle=True)
    assert read_dataset(tmp_path / "demos").spec == Spec(image_size=16)
    episodes = read_episodes(tmp_path / "demos")
    assert [len(episode) for episode in episodes] == [STEPS - 1] * 2
    assert read_dataset(tmp_path / "demos").provenance["imported_from"] == "LIBERO HDF5"


def test_idle_steps_are_left_out(published: Path):
    episode = read(published)[0]
    episode.actions[2:5, :6] = 0
    shorter = without_idle(episode)
    # Rows 2 and 4 ask for nothing; at row 3 the hand changes its mind.
    np.testing.assert_array_equal(shorter.proprio, np.delete(episode.proprio, [2, 4], axis=0))
    assert shorter.metadata["idle_steps_dropped"] == 2
    episode.actions[:, :6] = 0
    episode.actions[:, 6] = -1
    assert len(without_idle(episode)) == len(episode)


def _drop(name: str) -> Callable[[Any], None]:
    def change(demo: Any) -> None:
        del demo[name]

    return change


def _replace(name: str, value: Any) -> Callable[[Any], None]:
    def change(demo: Any) -> None:
        del demo[name]
        demo[name] = value

    return change


@pytest.mark.parametrize(
    ("said", "spoil"),
    [
        ("demo_0 cannot be read .*actions.*Hone reads LIBERO's layout", _drop("actions")),
        ("demo_0 cannot be read .*agentview_rgb", _drop("obs/agentview_rgb")),
        (r"actions is \[9, 14\], but LIBERO's has 7 numbers", _replace("actions", np.zeros((STEPS, 14)))),
        (r"its columns have \[5, 9\] rows", _replace("actions", np.zeros((5, 7)))),
        ("ee_states has numbers that are not finite", _replace("obs/ee_states", np.full((STEPS, 6), np.nan))),
        (r"float64 \[9, 4, 4, 3\], not square RGB", _replace("obs/agentview_rgb", np.zeros((STEPS, 4, 4, 3)))),
        ("Pass --hdf5.observed after .* or before", _drop("states")),
        (r"actions reach from -2 to", _replace("actions", np.full((STEPS, 7), -2.0))),
    ],
)
def test_what_is_broken_is_named_and_nothing_is_written(
    published: Path, tmp_path: Path, said: str, spoil: Callable[[Any], None]
):
    with h5py.File(published, "a") as file:
        spoil(file["data/demo_0"])
    source = open_source(published, Conventions(), SIDE)
    with pytest.raises(HoneError, match=said):
        import_episodes(source, tmp_path / "demos")
    assert not list(tmp_path.glob("*demos*"))
    readable = next(f for f in check(published, 10).findings if f.check == "readable")
    assert readable.level == "fail"


def test_files_that_are_cut_off_or_something_else(published: Path, tmp_path: Path):
    content = published.read_bytes()
    published.write_bytes(content[: len(content) // 2])
    with pytest.raises(HoneError, match="is damaged or no HDF5 file"):
        open_source(published, Conventions(), SIDE)
    published.write_bytes(b"nonsense")
    with pytest.raises(HoneError, match="is damaged or no HDF5 file"):
        open_source(published, Conventions(), SIDE)
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["observations"] = np.zeros(3)
    with pytest.raises(HoneError, match="has observations in it, but no group data"):
        open_source(tmp_path / "other.hdf5", Conventions(), SIDE)
    with h5py.File(tmp_path / "empty.hdf5", "w") as file:
        file.create_group("data")
    with pytest.raises(HoneError, match="has no demonstrations in it"):
        open_source(tmp_path / "empty.hdf5", Conventions(), SIDE)


def test_an_unknown_way_of_standing_is_refused(tmp_path: Path):
    path = write(tmp_path / "x_demo.hdf5", [demonstration(0, after=True)], macros_image_convention="sideways")
    with pytest.raises(HoneError, match=r"stand as 'sideways'.*--hdf5.image-orientation"):
        read(path)
