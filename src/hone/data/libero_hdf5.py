"""LIBERO's demonstrations in HDF5 (robomimic's layout) as Hone's episodes.

One file a task, `<task>_demo.hdf5`. The layout is that of LIBERO's scripts/create_dataset.py, which made the published
files, and of OpenVLA's regenerate_libero_dataset.py, which makes them anew:

    data                        attributes: problem_info (JSON), bddl_file_name, macros_image_convention, …
    data/demo_<i>/actions       [T, 7] in [-1, 1]; the gripper's -1 opens, +1 closes
    data/demo_<i>/states        [T, S] simulation state before the action: time, positions, velocities
    data/demo_<i>/rewards       [T] 1 at the last step of a success; likewise `dones`
    data/demo_<i>/obs/ee_states [T, 6] position (m), axis-angle (rad); gripper_states [T, 2] (m); joint_states [T, 7]
    data/demo_<i>/obs/agentview_rgb, eye_in_hand_rgb    [T, H, W, 3] as robosuite returns them

LIBERO's script steps first and records the observation then: what lies beside an action was seen *after* it. OpenVLA's
records before. Which it is, the file itself tells: joints of the observation against those of the states.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, UInt8

from hone.data.lerobot_format import Gripper, hone_actions, reorient
from hone.data.libero_tasks import known_task, starts_officially
from hone.data.pictures import resized
from hone.errors import HoneError
from hone.specs import Orientation, Spec
from hone.types import ACTION_DIM, UNKNOWN_PLACEMENT, Episode, Task

CAMERAS = ("agentview_rgb", "eye_in_hand_rgb")
ORIENTATIONS: dict[str, Orientation] = {"opengl": "opengl", "opencv": "upright"}
"""How robosuite's `macros.IMAGE_CONVENTION` lets pictures stand."""
LAYOUT = "Hone reads LIBERO's layout: data/demo_<i>/{actions, obs/…}, as scripts/create_dataset.py writes it"


@dataclass(frozen=True)
class Hdf5Convention:
    """What a file of LIBERO's does not say itself."""

    observed: Literal["auto", "before", "after"] = "auto"
    """Whether an observation was made `before` or `after` the action beside it. `auto` compares joints and states."""
    image_orientation: Orientation | None = None
    """How the pictures stand; by default as the file says, or as robosuite returns them (`opengl`)."""
    gripper: Gripper = "close_positive"
    """The action's last number: `close_positive` (-1 opens, +1 closes) or `open_one` (1 opens, 0 closes)."""


@dataclass(frozen=True)
class Demonstration:
    """One demonstration as it lies in a file, observations aligned to be before their actions."""

    task: Task
    name: str
    file: str
    actions: np.ndarray
    proprio: np.ndarray
    pictures: UInt8[np.ndarray, "T 2 H W 3"]
    success: bool
    start: Float64[np.ndarray, " S"] | None
    """Simulation state before the first action."""
    shifted: bool


class LiberoHdf5Reader:
    """Iterates over the demonstrations of a file, or of every file in a folder, one at a time."""

    def __init__(self, path: Path, convention: Hdf5Convention, image_size: int) -> None:
        self._h5py = h5py()
        self._files = [path] if path.is_file() else sorted(path.rglob("*.hdf5"))
        self._convention = convention
        self.spec = Spec(image_size=image_size)
        self._demos = [(file, name) for file in self._files for name in self._names(file)]
        if not self._demos:
            raise HoneError(f"'{path}' has no demonstrations in it. {LAYOUT}.")

    def __len__(self) -> int:
        return len(self._demos)

    @property
    def provenance(self) -> dict[str, Any]:
        return {
            "imported_from": "LIBERO HDF5",
            "files": [file.name for file in self._files],
            "convention": vars(self._convention),
        }

    def __iter__(self) -> Iterator[Episode]:
        for file, name in self._demos:
            yield self._episode(self.read(file, name))

    def demonstrations(self) -> Iterator[Demonstration]:
        for file, name in self._demos:
            yield self.read(file, name)

    def read(self, path: Path, name: str) -> Demonstration:
        """One demonstration. Raises `HoneError` where it is damaged or of another form."""
        where = f"'{path}', {name}"
        with self._opened(path) as file:
            try:
                return self._demonstration(path, name, file["data"], where)
            except (OSError, KeyError, RuntimeError) as error:
                raise HoneError(f"{where} cannot be read ({error}). {LAYOUT}; fetch the file again.") from error

    def _demonstration(self, path: Path, name: str, data: Any, where: str) -> Demonstration:
        demo, task = data[name], self._task(path, data)
        actions = _rows(demo["actions"], ACTION_DIM, f"{where}: actions")
        arm, fingers = demo["obs"]["ee_states"], demo["obs"]["gripper_states"]
        columns = [_rows(arm, 6, f"{where}: ee_states"), _rows(fingers, 2, f"{where}: gripper_states")]
        pictures = [demo["obs"][key][()] for key in CAMERAS]
        for key, film in zip(CAMERAS, pictures, strict=True):
            if film.dtype != np.uint8 or film.ndim != 4 or film.shape[1] != film.shape[2] or film.shape[3] != 3:
                raise HoneError(f"{where}: {key} is {film.dtype} {list(film.shape)}, not square RGB of 8 bits.")
        lengths = {len(part) for part in (actions, *columns, *pictures)}
        if len(lengths) != 1 or lengths == {0}:
            raise HoneError(f"{where}: its columns have {sorted(lengths)} rows, not as many each.")
        states = demo["states"][()].astype(np.float64) if "states" in demo else None
        after = self._observed_after(demo, states, where)
        orientation = self._orientation(data)
        proprio = np.concatenate(columns, axis=1)
        stacked = np.stack([reorient(film, orientation, "upright") for film in pictures], axis=1)
        if after:  # what is seen before an action lies beside the one before it
            actions, proprio, stacked = actions[1:], proprio[:-1], stacked[:-1]
        rewards = demo["rewards"][()] if "rewards" in demo else np.ones(1)
        start = None if states is None else states[1 if after else 0]
        won = bool(np.max(rewards) > 0)
        return Demonstration(task, name, path.name, actions, proprio, stacked, won, start, after)

    def _episode(self, demo: Demonstration) -> Episode:
        where = f"'{demo.file}', {demo.name}"
        actions = hone_actions(demo.actions.astype(np.float32), self._convention.gripper, where)
        size = self.spec.image_size
        return Episode(
            task=demo.task,
            placement=UNKNOWN_PLACEMENT,
            status="success" if demo.success else "failure",
            proprio=demo.proprio.astype(np.float32),
            actions=actions,
            executed=actions,
            images=np.stack([resized(demo.pictures[:, camera], size) for camera in range(len(CAMERAS))], axis=1),
            metadata={
                "file": demo.file,
                "demonstration": demo.name,
                "observed_after_its_action": demo.shifted,
                "official_start": None if demo.start is None else starts_officially(demo.task, demo.start),
            },
        )

    def _names(self, path: Path) -> list[str]:
        with self._opened(path) as file:
            if "data" not in file:
                raise HoneError(f"'{path}' has {', '.join(file) or 'nothing'} in it, but no group data. {LAYOUT}.")
            names = [name for name in file["data"] if name.startswith("demo_") and name[5:].isdigit()]
            return sorted(names, key=lambda name: int(name[5:]))

    def _opened(self, path: Path) -> Any:
        try:
            return self._h5py.File(path, "r")
        except OSError as error:
            raise HoneError(f"'{path}' is damaged or no HDF5 file ({error}). Fetch it again.") from error

    def _task(self, path: Path, data: Any) -> Task:
        """The benchmark's own task where its name is known, else one made of what the file says."""
        bddl = Path(str(data.attrs.get("bddl_file_name", "")))
        name = bddl.stem or path.stem.removesuffix("_demo")
        task = known_task(name, (bddl.parent.name, path.parent.name))
        if task is not None:
            return task
        info = json.loads(data.attrs.get("problem_info", "{}"))
        instruction = "".join(info.get("language_instruction", name.replace("_", " "))).strip(' "')
        return Task("libero_hdf5", self._files.index(path), name, instruction)

    def _orientation(self, data: Any) -> Orientation:
        if self._convention.image_orientation is not None:
            return self._convention.image_orientation
        said = str(data.attrs.get("macros_image_convention", "opengl"))
        if said not in ORIENTATIONS:
            raise HoneError(
                f"'{data.file.filename}' says that its pictures stand as '{said}', which Hone does not know. "
                "Pass --hdf5.image-orientation."
            )
        return ORIENTATIONS[said]

    def _observed_after(self, demo: Any, states: np.ndarray | None, where: str) -> bool:
        if self._convention.observed != "auto":
            return self._convention.observed == "after"
        if states is None or "joint_states" not in demo["obs"] or len(states) < 2:
            raise HoneError(
                f"{where} has no states and joint_states that say whether its observations were made before or after "
                "the actions beside them. Pass --hdf5.observed after (LIBERO's own script) or before (OpenVLA's)."
            )
        joints = demo["obs"]["joint_states"][()]
        return observed_after(joints.astype(np.float64), states)


def observed_after(joints: Float64[np.ndarray, "T 7"], states: Float64[np.ndarray, "T S"]) -> bool:
    """Whether observed joints (rad) are those of the state after the step, rather than before it.

    A state is time, then positions, and robosuite's arm comes first. Rows are compared where the arm moves.
    """
    before, after = states[:-1, 1:8], states[1:, 1:8]
    return float(np.abs(joints[:-1] - after).mean()) < float(np.abs(joints[:-1] - before).mean())


def h5py() -> Any:
    """The package, or a `HoneError` that says how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise HoneError("LIBERO's HDF5 files need h5py: pip install 'hone-vla[data]'.") from error
    return h5py


def _rows(column: Any, width: int, where: str) -> np.ndarray:
    values = column[()]
    if values.ndim != 2 or values.shape[1] != width:
        raise HoneError(f"{where} is {list(values.shape)}, but LIBERO's has {width} numbers a row.")
    if not np.isfinite(values).all():
        raise HoneError(f"{where} has numbers that are not finite.")
    return values
