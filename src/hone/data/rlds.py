"""LIBERO in RLDS, as TensorFlow Datasets stores it in TFRecords: `openvla/modified_libero_rlds` and its kin.

One record is an episode; what belongs to its steps lies in it as flat lists:

    steps/action                    [T * 7] floats; the gripper's -1 opens, +1 closes, as in LIBERO's files
    steps/observation/state         [T * 8] end-effector position (m), axis-angle (rad), two finger joints (m)
    steps/observation/image         [T] JPEGs of the main camera, turned by 180 degrees; wrist_image likewise
    steps/language_instruction      [T] strings;  steps/reward [T]
    episode_metadata/file_path      the HDF5 file it was made of, which names the task

Its makers left out steps that ask for nothing, executed the rest anew, and kept successes (openvla, README and
arXiv:2406.09246, appendix): the gripper's numbers are turned to 1 = open only when OpenVLA loads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hone.data.lerobot_format import Gripper, hone_actions, reorient
from hone.data.libero_tasks import known_task
from hone.data.pictures import decoded, resized
from hone.data.tfrecord import Feature, count_records, example, records
from hone.errors import HoneError
from hone.specs import Orientation, Spec
from hone.types import ACTION_DIM, PROPRIO_DIM, UNKNOWN_PLACEMENT, Episode, Task

ACTION, STATE, WORDS = "steps/action", "steps/observation/state", "steps/language_instruction"
CAMERAS = ("steps/observation/image", "steps/observation/wrist_image")
SOURCE = "episode_metadata/file_path"


@dataclass(frozen=True)
class RldsConvention:
    """What an RLDS data set of LIBERO does not say itself. The default is that of `openvla/modified_libero_rlds`."""

    image_orientation: Orientation = "rotated_180"
    """How the pictures stand."""
    gripper: Gripper = "close_positive"
    """The action's last number: `close_positive` (-1 opens, +1 closes) or `open_one` (1 opens, 0 closes)."""


class RldsReader:
    """Iterates over the episodes of every TFRecord file in a folder, one at a time."""

    def __init__(self, folder: Path, convention: RldsConvention, image_size: int) -> None:
        self._files = sorted(path for path in folder.rglob("*.tfrecord*") if path.is_file())
        self._convention = convention
        self._folder = folder
        self._count = sum(map(count_records, self._files))
        self.spec = Spec(image_size=image_size)
        if not self._count:
            raise HoneError(f"'{folder}' has no episodes in its *.tfrecord-* files.")

    def __len__(self) -> int:
        return self._count

    @property
    def provenance(self) -> dict[str, Any]:
        files = [str(path.relative_to(self._folder)) for path in self._files]
        return {"imported_from": "RLDS", "files": files, "convention": vars(self._convention)}

    def __iter__(self) -> Iterator[Episode]:
        for path in self._files:
            for number, content in enumerate(records(path)):
                yield self._episode(example(content, f"record {number} of '{path}'"), path, number)

    def _episode(self, features: dict[str, Feature], path: Path, number: int) -> Episode:
        where = f"record {number} of '{path}'"
        for name in (ACTION, STATE, WORDS, *CAMERAS):
            if name not in features:
                raise HoneError(f"{where} has no {name}. It has: {', '.join(sorted(features))}.")
        actions = _matrix(features[ACTION], ACTION_DIM, f"{where}: {ACTION}")
        actions = hone_actions(actions, self._convention.gripper, where)
        proprio = _matrix(features[STATE], PROPRIO_DIM, f"{where}: {STATE}")
        films = [self._film(features[name], f"{where}: {name}") for name in CAMERAS]
        lengths = {len(actions), len(proprio), *map(len, films)}
        if len(lengths) != 1:
            raise HoneError(f"{where}: its columns have {sorted(lengths)} steps, not as many each.")
        rewards = features.get("steps/reward")
        won = not isinstance(rewards, np.ndarray) or not len(rewards) or bool(rewards.max() > 0)
        return Episode(
            task=self._task(features),
            placement=UNKNOWN_PLACEMENT,
            status="success" if won else "failure",
            proprio=proprio,
            actions=actions,
            executed=actions,
            images=np.stack(films, axis=1),
            metadata={"file": path.name, "record": number},
        )

    def _film(self, encoded: Feature, where: str) -> np.ndarray:
        frames = [decoded(bytes(content), where) for content in encoded]
        if not frames or len({frame.shape for frame in frames}) != 1:
            raise HoneError(f"{where}: its pictures are not of one size.")
        return resized(reorient(np.stack(frames), self._convention.image_orientation, "upright"), self.spec.image_size)

    def _task(self, features: dict[str, Feature]) -> Task:
        """The benchmark's own task where the source's name tells it, else one made of the instruction."""
        instruction = _text(features[WORDS])
        source = Path(_text(features[SOURCE])) if SOURCE in features else Path()
        name = source.stem.removesuffix("_demo")
        known = known_task(name, (source.parent.name, self._folder.name, self._folder.parent.name))
        return known or Task("rlds", 0, instruction.replace(" ", "_"), instruction)


def _matrix(values: Feature, width: int, where: str) -> np.ndarray:
    """Flat numbers as `[T, width]` in float32."""
    if not isinstance(values, np.ndarray) or len(values) == 0 or len(values) % width:
        raise HoneError(f"{where} holds {len(values)} numbers, which is not {width} a step.")
    if not np.isfinite(values).all():
        raise HoneError(f"{where} has numbers that are not finite.")
    return values.reshape(-1, width).astype(np.float32)


def _text(values: Feature) -> str:
    return bytes(values[0]).decode() if len(values) else ""
