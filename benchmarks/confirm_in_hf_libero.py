"""A policy's success in unmodified hf-libero: its own simulation, controller and success check, none of Hone's engine.

Only the pictures are Hone's (the policy was trained on them), drawn from hf-libero's joint positions. Official initial
states, hf-libero's protocol (seed 0, reset, set_init_state, 10 no-ops). One row per call in results/confirm.jsonl.

    python benchmarks/confirm_in_hf_libero.py --policy runs/demo/checkpoints/<last>/policy --tasks 0 1 2
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from hone.envs.libero import hf
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.engine import axis_angle
from hone.envs.libero.environment import NO_OP
from hone.envs.libero.render import Renderer
from hone.envs.libero.scene import load_scene
from hone.envs.libero.suites import official_initial_states, step_cap, task
from hone.evaluation.stats import wilson_interval
from hone.policies import load_policy
from hone.types import Observation
from rows import append_row


@dataclass(frozen=True)
class Config:
    policy: Path
    """Folder of an image policy."""
    suite: str = "libero_object"
    tasks: tuple[int, ...] = (0, 1, 2)
    placements: int = 50
    """Official initial states per task, from 0."""


def main(config: Config) -> None:
    policy = load_policy(config.policy)
    pack = asset_pack("standin")
    spec = policy.spec
    renderer = Renderer(spec.cameras, spec.image_size, "cheap", spec.image_orientation)
    outcomes: dict[str, list[bool]] = {}
    for index in config.tasks:
        chosen = task(config.suite, index)
        scene, states = load_scene(chosen, pack), official_initial_states(chosen)
        env = hf.compose(chosen, pack.folder)
        results = outcomes.setdefault(chosen.name, [])
        for number in range(config.placements):
            env.seed(0)
            hf.reset(env)
            seen = env.set_init_state(states[number])
            for _ in range(10):
                seen, *_ = env.step(NO_OP)
            success, steps = False, 0
            while not success and steps < step_cap(config.suite):
                quat = seen["robot0_eef_quat"]  # x, y, z, w
                proprio = np.concatenate(
                    [seen["robot0_eef_pos"], axis_angle(quat[[3, 0, 1, 2]]), seen["robot0_gripper_qpos"]]
                )
                observation = Observation(
                    proprio[None].astype(np.float32),
                    (chosen.instruction,),
                    images=renderer.draw(scene, env.sim.data.qpos)[None],
                )
                for action in policy.predict_action_chunk(observation)[0].numpy():
                    seen, _, success, _ = env.step(action)
                    steps += 1
                    if success or steps == step_cap(config.suite):
                        break
            results.append(bool(success))
            print(f"{chosen.name} {number}: {'success' if success else 'failure'} after {steps} steps", flush=True)
        env.close()
    successes, episodes = sum(map(sum, outcomes.values())), sum(map(len, outcomes.values()))
    low, high = wilson_interval(successes, episodes)
    append_row(
        "confirm",
        {
            "policy": str(config.policy),
            "suite": config.suite,
            "successes": successes,
            "episodes": episodes,
            "low": low,
            "high": high,
            "per_task": {name: sum(results) for name, results in outcomes.items()},
            "episode_successes": outcomes,
        },
    )
    print(f"{successes}/{episodes} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main(tyro.cli(Config))
