"""A recorded episode, replayed to see whether this machine simulates what the recording machine did.

`golden_episode.json` holds a scripted pick-and-place on the stand-in assets: the start, the actions, and what came of
them. tests/golden/make_golden_episode.py made it, and makes it again when the stand-ins' shapes change on purpose.

Rounding differs between compilers and processors and contact amplifies it, so before the gripper first touches the
thing positions must agree within `FREE_TOLERANCE`, and afterwards the outcome must: success within `STEP_TOLERANCE`
control steps of the recording. (Measured between robosuite's controller and the native one: 1e-8 to 2e-6 in free
motion, up to 5e-3 once a thing has been gripped and dropped.)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.assets import AssetPack, asset_pack
from hone.envs.libero.engine import Engine, Slot, build_stepper
from hone.envs.libero.scene import load_scene
from hone.envs.libero.suites import task as find_task

PATH = Path(__file__).with_name("golden_episode.json")
FREE_TOLERANCE = 1e-5
"""Largest difference of any position (m, rad) while nothing is gripped."""
STEP_TOLERANCE = 2


@dataclass(frozen=True)
class Golden:
    """A recording. `free_steps`: control steps before the gripper touches the thing; `qpos_free` is reached then."""

    suite: str
    task: int
    mujoco: str
    start: Float64[np.ndarray, " S"]
    actions: Float64[np.ndarray, "T 7"]
    free_steps: int
    qpos_free: Float64[np.ndarray, " Q"]
    success_step: int

    @classmethod
    def load(cls, path: Path = PATH) -> Golden:
        data = json.loads(path.read_text())
        for name in ("start", "actions", "qpos_free"):
            data[name] = np.array(data[name])
        return cls(**data)

    def save(self, path: Path = PATH) -> None:
        plain = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in vars(self).items()}
        path.write_text(json.dumps(plain) + "\n")


@dataclass(frozen=True)
class Replay:
    """What a replay found: `deviation` of positions in free motion, and the step of success (`None`: it failed)."""

    deviation: float
    success_step: int | None
    recorded_step: int

    @property
    def agrees(self) -> bool:
        return (
            self.deviation <= FREE_TOLERANCE
            and self.success_step is not None
            and abs(self.success_step - self.recorded_step) <= STEP_TOLERANCE
        )


def replay(golden: Golden, engine: Engine = "native", assets: AssetPack | None = None) -> Replay:
    """Run the recorded actions from the recorded start."""
    scene = load_scene(find_task(golden.suite, golden.task), assets or asset_pack("standin"))
    slot, stepper = Slot(scene.model, scene.robot, scene.goal), build_stepper(engine)
    slot.reset(golden.start)
    free, rest = golden.actions[None, : golden.free_steps], golden.actions[None, golden.free_steps :]
    stepper.step([slot], free, np.array([free.shape[1]]), stop_at_success=False)
    deviation = float(np.abs(slot.data.qpos - golden.qpos_free).max())
    result = stepper.step([slot], rest, np.array([rest.shape[1]]))
    success_step = golden.free_steps + int(result.steps[0]) if result.success[0] else None
    return Replay(deviation, success_step, golden.success_step)
