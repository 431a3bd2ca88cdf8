"""LeRobotDataset v3.0 for LIBERO: which files a data set has, what its columns are called, and what its numbers mean.

A data set is a folder: `meta/info.json` (features, rate, path templates), `meta/tasks.parquet` (instructions),
`meta/episodes/…parquet` (one row per episode: where its frames lie, and their statistics), `meta/stats.json`,
`data/…parquet` (one row per frame) and `videos/<key>/…mp4` (several episodes in one file). Layout and names are those
of the package `lerobot` 0.6.1, against which `benchmarks/lerobot_roundtrip.py` checks both directions.

What the numbers mean is not written in such a folder, so `Convention` says it. The default is that of `lerobot/libero`
and of LeRobot's own LIBERO environment (lerobot/envs/libero.py and LiberoProcessorStep, 0.6.1): state and action as
Hone has them, pictures turned by 180 degrees. It is also what Hone writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from hone.data.parquet import read_parquet
from hone.data.pictures import decoded
from hone.errors import HoneError
from hone.specs import Orientation, Spec
from hone.types import ACTION_DIM, PROPRIO_DIM

VERSION = "v3.0"
CHUNK_SIZE = 1000
"""Files in one `chunk-…` folder at most."""

INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
HONE = "meta/hone.json"
"""Hone's own: the spec and the provenance of the episodes. LeRobot does not read it."""
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

STATE = "observation.state"
ACTION = "action"
EXECUTED = "executed_action"
"""What the robot was sent, where noise was added. LeRobot takes every key that begins with `action` for a label."""
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
PROGRESS = "next.progress"
"""How far each frame is from the start towards the goal, in [-1, 1], as a critic judges it; where one was given."""
PROGRESS_FILE = "sarm_progress.parquet"
"""The same, not below 0, where LeRobot's reward-aligned cloning (RA-BC) looks for it: `progress_sparse` by `index`."""
HEADER = "hone/header"
"""Column of the episodes' table: Hone's task, placement, status and metadata, as JSON."""

CAMERA_KEYS = {"agentview": "observation.images.image", "robot0_eye_in_hand": "observation.images.image2"}
STATE_NAMES = ["x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "finger_left", "finger_right"]
ACTION_NAMES = ["x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "gripper"]

Gripper = Literal["close_positive", "open_one"]
"""`close_positive`: -1 opens, +1 closes, as LIBERO's controller takes it. `open_one`: 1 opens, 0 closes, as OpenVLA's
RLDS transform and data sets made by any4lerobot have it."""


@dataclass(frozen=True)
class Convention:
    """What the numbers of a LeRobot data set of LIBERO mean. The default is that of `lerobot/libero`."""

    cameras: tuple[str, str] = ("observation.images.image", "observation.images.image2")
    """Keys of the main and of the wrist camera."""
    image_orientation: Orientation = "rotated_180"
    """How the pictures stand: `upright`, `opengl` (rows from the bottom up), or `rotated_180` (that, turned)."""
    gripper: Gripper = "close_positive"
    """The action's last number. `close_positive`: -1 opens, +1 closes. `open_one`: 1 opens, 0 closes."""
    fps: float = 20.0
    """Frames per second that the data set must declare. LIBERO's control rate is 20, and rows are taken for control
    steps whatever is declared here: `lerobot/libero` declares 10 although it has one row per control step."""


def reorient(images: UInt8[np.ndarray, "*B H W 3"], source: Orientation, target: Orientation) -> np.ndarray:
    """Pictures that stand as `source` says, turned to stand as `target` says (a view)."""
    if (source == "opengl") != (target == "opengl"):
        images = images[..., ::-1, :, :]
    if (source == "rotated_180") != (target == "rotated_180"):
        images = images[..., ::-1, :]
    return images


def hone_actions(actions: Float32[np.ndarray, "T 7"], gripper: Gripper, where: str) -> Float32[np.ndarray, "T 7"]:
    """The actions in Hone's convention: every number in [-1, 1], the gripper's +1 closing.

    Raises `HoneError` where the numbers contradict `gripper` or are no LIBERO actions at all.
    """
    low, high = float(actions.min()), float(actions.max())
    if not (np.isfinite(actions).all() and low >= -1.01 and high <= 1.01):
        raise HoneError(
            f"{where}: actions reach from {low:.3g} to {high:.3g}, but LIBERO's lie in [-1, 1]. Hone reads relative "
            "OSC_POSE actions that are not normalised."
        )
    fingers = actions[:, 6]
    if gripper == "open_one":
        if fingers.min() < -0.01:
            raise HoneError(f"{where}: gripper numbers below 0 do not fit 'open_one'; use 'close_positive'.")
        actions = np.concatenate([actions[:, :6], 1 - 2 * actions[:, 6:]], axis=1)
    elif fingers.min() > -0.01 and np.unique(np.round(fingers, 3)).size > 1:
        raise HoneError(
            f"{where}: the gripper's numbers lie in [0, 1], which does not fit 'close_positive' (-1 opens, +1 closes). "
            "Pass --convention.gripper open_one if 1 opens and 0 closes."
        )
    return np.clip(actions, -1.0, 1.0)


def check_exportable(spec: Spec, where: Path) -> None:
    """Raise `HoneError` naming every field in which the episodes are not LIBERO's as Hone has it."""
    expected = Spec()
    names = (
        "action_dim", "action_frame", "rotation", "action_low", "action_high", "gripper", "control_rate_hz", "proprio"
    )  # fmt: skip
    differing = [f"{n} {getattr(spec, n)!r}" for n in names if getattr(spec, n) != getattr(expected, n)]
    differing += [f"camera {name!r}" for name in spec.cameras if name not in CAMERA_KEYS]
    if differing:
        raise HoneError(f"'{where}' has {', '.join(differing)}; only LIBERO's own convention can be exported.")
    if spec.cameras and spec.image_size % 2:
        raise HoneError(
            f"'{where}' has pictures of {spec.image_size} pixels a side; videos need an even number. "
            "Record with an even --env.image-size."
        )


def features(spec: Spec, *, progress: bool) -> dict[str, dict[str, Any]]:
    """`info.json`'s features of a data set that Hone writes. Cameras are videos; all else is a column."""
    side, rate = spec.image_size, spec.control_rate_hz
    video = {
        "video.height": side,
        "video.width": side,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.fps": int(rate),
        "video.channels": 3,
        "has_audio": False,
        "is_depth_map": False,
    }
    cameras = {
        CAMERA_KEYS[name]: {
            "dtype": "video",
            "shape": [side, side, 3],
            "names": ["height", "width", "channel"],
            "info": dict(video),
        }
        for name in spec.cameras
    }
    return {
        STATE: {"dtype": "float32", "shape": [PROPRIO_DIM], "names": STATE_NAMES},
        ACTION: {"dtype": "float32", "shape": [ACTION_DIM], "names": ACTION_NAMES},
        **cameras,
        EXECUTED: {"dtype": "float32", "shape": [ACTION_DIM], "names": ACTION_NAMES},
        REWARD: _scalar("float32"),
        DONE: _scalar("bool"),
        SUCCESS: _scalar("bool"),
        **({PROGRESS: _scalar("float32")} if progress else {}),
        "timestamp": _scalar("float32"),
        "frame_index": _scalar("int64"),
        "episode_index": _scalar("int64"),
        "index": _scalar("int64"),
        "task_index": _scalar("int64"),
    }


def is_lerobot(folder: Path) -> bool:
    """Whether the folder is a LeRobot data set (of any version)."""
    return (folder / INFO).exists()


def read_info(folder: Path) -> dict[str, Any]:
    """`meta/info.json`, of the version Hone reads."""
    path = folder / INFO
    if not path.exists():
        raise HoneError(
            f"'{folder}' is no LeRobot data set (no {INFO}). Give the folder that has meta/ and data/ in it."
        )
    try:
        info = json.loads(path.read_text())
        version = str(info["codebase_version"])
        if not version.startswith("v3."):
            raise HoneError(
                f"'{folder}' is a LeRobot data set {version}; Hone reads {VERSION}. Convert it with LeRobot "
                "(python -m lerobot.scripts.convert_dataset_v21_to_v30)."
            )
        for name in ("fps", "features", "data_path"):
            info[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HoneError(f"'{path}' is damaged ({type(error).__name__}: {error}). Fetch the data set again.") from error
    return info


def read_tasks(folder: Path) -> dict[int, str]:
    """Every instruction by its `task_index`."""
    table = read_parquet(folder / TASKS)
    names = [name for name in table.column_names if name != "task_index"]  # pandas' index: "task" or nameless
    if len(names) != 1 or "task_index" not in table.column_names:
        raise HoneError(f"'{folder / TASKS}' has columns {table.column_names}, not task_index and task.")
    return dict(zip(table["task_index"].to_pylist(), table[names[0]].to_pylist(), strict=True))


def stored_picture(cell: dict[str, Any] | None, where: str) -> UInt8[np.ndarray, "H W 3"]:
    """One encoded picture out of a data file."""
    if not cell or not cell.get("bytes"):
        raise HoneError(f"{where}: a picture is not in the data file. Hone reads pictures embedded in it, or videos.")
    return decoded(cell["bytes"], where)


def picture_shape(about: dict[str, Any]) -> tuple[int, int, int]:
    """Height, width, colours, also where the colours are declared first."""
    shape = tuple(about["shape"])
    return (shape[1], shape[2], shape[0]) if len(shape) == 3 and shape[0] == 3 and shape[2] != 3 else shape


def _scalar(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [1], "names": None}
