"""Whole expert episodes in hf-libero and in the engine: success at the same step? All suites, official initial states.

The expert acts once in the engine; its actions are then executed in unmodified hf-libero, under `exact` and under
`fast`. `exact` has to give hf-libero's success flag at every step, `fast` the first success within two steps. One row
per episode in results/replay.jsonl; it resumes.

    python benchmarks/replay.py
"""

from __future__ import annotations

import numpy as np

from hone.envs.libero import hf
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.benchmark import expert_actions, reference_trace, trace
from hone.envs.libero.scene import load_scene
from hone.envs.libero.suites import task
from rows import append_row, finished

PER_TASK = 3
TASKS = (
    *(("libero_object", index) for index in range(10)),
    *(("libero_spatial", index) for index in range(10)),
    *(("libero_goal", index) for index in range(10)),
    *(("libero_10", index) for index in range(9)),
    *(("libero_90", index) for index in (0, 9, 17, 20, 33, 39)),
)
"""Four suites without the one task the expert cannot do; of libero_90 a drawer, a bowl, a stack, knobs and a door."""


def main() -> None:
    pack = asset_pack("standin")
    for suite, index in TASKS:
        wanted = [p for p in range(PER_TASK) if not finished("replay", suite=suite, task=index, placement=p)]
        if not wanted:
            continue
        chosen = task(suite, index)
        scene, control_env = load_scene(chosen, pack), None
        for placement in wanted:
            actions = expert_actions(chosen, "standin", placement)
            row = {"suite": suite, "task": index, "placement": placement, "assets": "standin"}
            if actions is None:
                append_row("replay", {**row, "expert": "failed"})
                continue
            control_env = control_env or hf.compose(chosen, pack.folder)
            state = scene.official_states[placement]
            _, reference = reference_trace(control_env, scene, state, actions)
            exact, fast = (trace(scene, physics, state, actions) for physics in ("exact", "fast"))
            append_row(
                "replay",
                {
                    **row,
                    "expert": "succeeded",
                    "steps": len(actions),
                    "first_success": {
                        "hf-libero": first(reference.success),
                        "exact": first(exact.success),
                        "fast": first(fast.success),
                    },
                    "flags_that_differ": int((exact.success != reference.success).sum()),
                    "max_abs_qpos_difference": float(np.abs(exact.qpos - reference.qpos).max()),
                    "median_abs_qpos_difference": float(np.median(np.abs(exact.qpos - reference.qpos))),
                },
            )
        if control_env is not None:
            control_env.close()


def first(success: np.ndarray) -> int | None:
    """The step of the first success, counted from 0."""
    return int(np.argmax(success)) if success.any() else None


if __name__ == "__main__":
    main()
