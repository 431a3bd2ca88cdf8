"""Makes src/hone/envs/libero/golden_episode.json: the scripted expert on one task, its actions rounded to 4 digits.

    MUJOCO_GL=egl python tests/golden/make_golden_episode.py

Run it when the stand-in shapes or the episode's start change on purpose, and look at the difference.
"""

from __future__ import annotations

import mujoco
import numpy as np

from hone.envs.libero.assets import asset_pack
from hone.envs.libero.engine import Slot, build_stepper
from hone.envs.libero.facts import FactReader
from hone.envs.libero.golden import PATH, Golden, replay
from hone.envs.libero.scene import load_scene
from hone.envs.libero.suites import task as find_task
from hone.primitives.expert import Expert
from hone.types import Placement

SUITE, TASK, PLACEMENT = "libero_object", 0, Placement("sampled", 0)
NO_OP = np.array([0, 0, 0, 0, 0, 0, -1.0])
WAIT_STEPS, MOST_STEPS, FREE_MARGIN = 10, 300, 5


def main() -> None:
    scene = load_scene(find_task(SUITE, TASK), asset_pack("standin"))
    slot, stepper, reader = Slot(scene.model, scene.robot, scene.goal), build_stepper(), FactReader(scene)
    start = scene.initial_state(PLACEMENT)
    slot.reset(start)
    expert, actions, positions, touched = Expert(), [], [], None
    while not slot.success and len(actions) < MOST_STEPS:
        facts = reader.read(slot)
        if touched is None and frozenset(("robot", scene.of_interest[0])) in facts.contacts:
            touched = len(actions)
        decided = None if len(actions) < WAIT_STEPS else expert.act(facts)
        if len(actions) >= WAIT_STEPS and decided is None:
            break
        action = np.round(NO_OP if decided is None else decided.action, 4)
        stepper.step([slot], action[None, None], np.array([1]), stop_at_success=False)
        actions.append(action)
        positions.append(slot.data.qpos.copy())
    assert slot.success, "the expert failed; choose another placement"
    assert touched is not None
    free = touched - FREE_MARGIN
    golden = Golden(SUITE, TASK, mujoco.__version__, start, np.stack(actions), free, positions[free - 1], len(actions))
    golden.save()
    print(f"{PATH.name}: {len(actions)} steps, free for {free}; replayed: {replay(golden)}")


if __name__ == "__main__":
    main()
