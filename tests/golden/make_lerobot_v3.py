"""Makes tests/golden/lerobot_v3: two tiny data sets of LIBERO's shape written by the package `lerobot` itself.

In an environment of its own (`pip install 'lerobot[dataset]'`; Hone is not needed there):

    python tests/golden/make_lerobot_v3.py

`videos` is stored as `lerobot/libero` is, `images` as `HuggingFaceVLA/libero`; `expected.npz` has what was put in. Run
it when a new lerobot writes otherwise, and look at the difference.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import lerobot  # pyright: ignore[reportMissingImports]
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

FOLDER = Path(__file__).parent / "lerobot_v3"
SIDE = 64
LENGTHS = (7, 5)
TASKS = ("pick up the milk and place it in the basket", "turn on the stove")
CAMERAS = ("observation.images.image", "observation.images.image2")


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    generator = np.random.default_rng(0)
    total = sum(LENGTHS)
    state = generator.normal(size=(total, 8)).astype(np.float32)
    action = generator.uniform(-1, 1, (total, 7)).astype(np.float32)
    action[:, 6] = np.sign(action[:, 6])
    success = np.zeros(total, bool)
    success[LENGTHS[0] - 1] = True  # the second episode is a failure
    pictures = _pictures(total)
    for kind in ("video", "image"):
        dataset = LeRobotDataset.create(
            "hone/golden", fps=20, features=_features(kind), root=FOLDER / f"{kind}s", robot_type="panda"
        )
        row = 0
        for length, task in zip(LENGTHS, TASKS, strict=True):
            for _ in range(length):
                frame = {key: pictures[row, camera] for camera, key in enumerate(CAMERAS)}
                numbers = {
                    "observation.state": state[row],
                    "action": action[row],
                    "next.success": success[row : row + 1],
                }
                dataset.add_frame({**frame, **numbers, "task": task})
                row += 1
            dataset.save_episode()
        dataset.finalize()
        shutil.rmtree(FOLDER / f"{kind}s" / "images", ignore_errors=True)
    np.savez_compressed(
        FOLDER / "expected.npz", state=state, action=action, success=success, pictures=pictures, lengths=LENGTHS
    )
    print(f"lerobot {lerobot.__version__}: {sum(f.stat().st_size for f in FOLDER.rglob('*') if f.is_file())} bytes")


def _features(kind: str) -> dict[str, dict]:
    camera = {"dtype": kind, "shape": (SIDE, SIDE, 3), "names": ["height", "width", "channel"]}
    return {
        **{key: dict(camera) for key in CAMERAS},
        "observation.state": {"dtype": "float32", "shape": (8,), "names": [f"state_{i}" for i in range(8)]},
        "action": {"dtype": "float32", "shape": (7,), "names": [f"action_{i}" for i in range(7)]},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
    }


def _pictures(count: int) -> np.ndarray:
    """`[T, 2, S, S, 3]`: smooth, with no symmetry, another shade at every step and in each camera."""
    ramp = np.linspace(0, 120, SIDE)
    planes = np.zeros((count, 2, SIDE, SIDE, 3))
    planes[..., 0] = ramp[:, None] + 60 * np.arange(2)[:, None, None]
    planes[..., 1] = ramp[None, :]
    planes[..., 2] = (16 * np.arange(count))[:, None, None, None]
    return planes.astype(np.uint8)


if __name__ == "__main__":
    main()
