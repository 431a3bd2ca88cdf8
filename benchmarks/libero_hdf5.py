"""LIBERO's HDF5 layout, from Hone's own expert: what is imported is what was recorded, and a clone of it acts.

No published file was at hand, so one is written as LIBERO's scripts/create_dataset.py writes it: the simulator's state
before each action, and what is seen after it, at 128 pixels as robosuite returns pictures. Beside it the same episodes
are kept as they were seen before each action. The import has to find out that observations come late, and give back the
latter. Then the actions are replayed from the stored states in the engine.

    python benchmarks/libero_hdf5.py --per-task 3

One row per call in results/libero_hdf5.jsonl.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tyro

from hone.data.libero_hdf5 import Hdf5Convention, LiberoHdf5Reader
from hone.data.sources import import_episodes
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.benchmark import trace
from hone.envs.libero.environment import LiberoConfig, LiberoEnvironment
from hone.envs.libero.scene import load_scene
from hone.envs.libero.suites import task as libero_task
from hone.primitives.expert import Expert
from hone.types import Placement, Task
from rows import append_row

SIDE = 128
"""Of LIBERO's published pictures."""


@dataclass(frozen=True)
class Config:
    suite: str = "libero_object"
    tasks: tuple[int, ...] = (0, 1, 2)
    per_task: int = 3
    """Demonstrations of each, from sampled placements."""
    output: Path | None = None
    """Where the HDF5 files and the imported episodes are kept; by default nowhere."""


@dataclass
class Recorded:
    """One demonstration: what was there before and after each action."""

    states: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    proprio: list[np.ndarray] = field(default_factory=list)
    joints: list[np.ndarray] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)
    seen_before: list[np.ndarray] = field(default_factory=list)
    proprio_before: list[np.ndarray] = field(default_factory=list)
    success: bool = False


def main(config: Config) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = config.output or Path(temporary)
        rows = [one_task(config, libero_task(config.suite, index), folder) for index in config.tasks]
    for row in rows:
        append_row("libero_hdf5", row)
        print(json.dumps(row))


def one_task(config: Config, task: Task, folder: Path) -> dict[str, Any]:
    made = [record(task, placement) for placement in range(128, 128 + config.per_task)]
    path = folder / "hdf5" / f"{task.name}_demo.hdf5"
    write(path, task, made)
    started = time.monotonic()
    reader = LiberoHdf5Reader(path, Hdf5Convention(), SIDE)
    import_episodes(reader, folder / "imported" / str(task.index))
    seconds = time.monotonic() - started
    scene = load_scene(task, asset_pack("standin"))
    replayed = []
    for original, demo, episode in zip(made, reader.demonstrations(), reader, strict=True):
        assert demo.shifted
        assert episode.images is not None
        assert episode.metadata["official_start"] is False
        np.testing.assert_array_equal(episode.actions, np.stack(original.actions)[1:].astype(np.float32))
        np.testing.assert_array_equal(episode.proprio, np.stack(original.proprio_before)[1:])
        np.testing.assert_array_equal(episode.images, np.stack(original.seen_before)[1:])
        assert demo.start is not None
        again = trace(scene, "exact", demo.start, demo.actions.astype(np.float64))
        replayed.append(bool(again.success.any()))
    return {
        "suite": task.suite,
        "task": task.index,
        "demonstrations": len(made),
        "steps": sum(len(one.actions) for one in made),
        "recorded_successes": sum(one.success for one in made),
        "numbers_and_pictures_equal": True,
        "replayed_successes": sum(replayed),
        "import_seconds": round(seconds, 2),
    }


def record(task: Task, placement: int) -> Recorded:
    """The expert's demonstration, and what LIBERO's script would have recorded of it."""
    settings = LiberoConfig(image_size=SIDE, image_orientation="opengl", stop_at_success=False, step_cap=400)
    env, expert, made = settings.build(1), Expert(), Recorded()
    env.reset([0], [task], [Placement("sampled", placement)])
    while (command := expert.act(env.facts([0])[0])) is not None and len(made.actions) < 400:
        data = env.snapshot([0])[0].slot.data
        made.states.append(np.concatenate([[data.time], data.qpos, data.qvel]))
        made.proprio_before.append(env.observe([0]).proprio[0])
        made.seen_before.append(shown(env)[:, ::-1])
        made.actions.append(command.action.astype(np.float32).astype(np.float64))
        env.step([0], made.actions[-1].astype(np.float32)[None, None])
        made.proprio.append(env.observe([0]).proprio[0])
        made.joints.append(env.snapshot([0])[0].slot.data.qpos[:7].copy())
        made.pictures.append(shown(env))
    made.success = all(env.facts([0])[0].satisfied)
    env.close()
    return made


def shown(env: LiberoEnvironment) -> np.ndarray:
    images = env.observe([0]).images
    assert images is not None
    return images[0]


def write(path: Path, task: Task, made: list[Recorded]) -> None:
    """As LIBERO's scripts/create_dataset.py does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["bddl_file_name"] = f"libero/libero/bddl_files/{task.suite}/{task.name}.bddl"
        data.attrs["problem_info"] = json.dumps({"language_instruction": task.instruction})
        data.attrs["macros_image_convention"] = "opengl"
        data.attrs["tag"] = "libero-v1"
        data.attrs["num_demos"] = len(made)
        for number, one in enumerate(made):
            demo = data.create_group(f"demo_{number}")
            ends = np.zeros(len(one.actions), np.uint8)
            ends[-1] = one.success
            columns = {"actions": one.actions, "states": one.states, "rewards": ends, "dones": ends}
            for name, column in columns.items():
                demo.create_dataset(name, data=np.stack(column))
            proprio, pictures = np.stack(one.proprio), np.stack(one.pictures)
            seen = {
                "ee_states": proprio[:, :6],
                "gripper_states": proprio[:, 6:],
                "joint_states": np.stack(one.joints),
                "agentview_rgb": pictures[:, 0],
                "eye_in_hand_rgb": pictures[:, 1],
            }
            for name, column in seen.items():
                demo.create_dataset(f"obs/{name}", data=column)


if __name__ == "__main__":
    main(tyro.cli(Config))
