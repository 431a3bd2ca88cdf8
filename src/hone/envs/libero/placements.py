"""Fresh starting placements, drawn by LIBERO's own samplers from a task's BDDL regions.

LIBERO's samplers live in hf-libero and read NumPy's global generator, so they run only where a scene is composed: a
block of placements is drawn once and stored with the scene. Row `i` of the result depends on its seed alone.

As in LIBERO's stored initial states, each arm joint starts with Gaussian noise of 0.02 rad (robosuite's default
`initialization_noise`; measured in the stored states). Fixtures keep the pose the scene was composed with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float64

JOINT_NOISE_RAD = 0.02


def draw_placements(control_env: Any, seeds: Sequence[int]) -> Float64[np.ndarray, "n S"]:
    """Flattened states (time, qpos, qvel), one per seed, from a freshly reset hf-libero `ControlEnv`.

    The simulation is left as it was found, NumPy's global generator too.
    """
    env = control_env.env
    start = control_env.get_sim_state()
    fixtures = {
        fixture.name: (
            env.sim.model.body_pos[env.obj_body_id[fixture.name]].copy(),
            env.sim.model.body_quat[env.obj_body_id[fixture.name]].copy(),
            fixture,
        )
        for fixture in env.fixtures
    }
    generator_state = np.random.get_state()
    try:
        return np.stack([_draw(control_env, start, fixtures, seed) for seed in seeds])
    finally:
        np.random.set_state(generator_state)
        control_env.set_state(start)
        control_env.sim.forward()


def _draw(control_env: Any, start: np.ndarray, fixtures: dict[str, Any], seed: int) -> np.ndarray:
    """One draw, in the order of hf-libero's `_reset_internal`; a draw whose objects do not fit is repeated."""
    from robosuite.utils.errors import RandomizationError

    env = control_env.env
    robot = env.robots[0]
    np.random.seed(seed)
    while True:
        control_env.set_state(start)
        env.sim.data.qpos[robot._ref_joint_pos_indexes] = robot.init_qpos + JOINT_NOISE_RAD * np.random.randn(7)
        # A reset appends the property samplers again, so the list holds each of them once per reset.
        for sampler in {sampler.name: sampler for sampler in env.object_property_initializers}.values():
            env.object_states_dict[sampler.name].set_joint(sampler.sample())
        mujoco.mj_step1(env.sim.model._model, env.sim.data._data)
        try:
            placed = env.placement_initializer.sample()
            placed.update({name: pose for name, pose in fixtures.items() if name in placed})
            placed = env.conditional_placement_initializer.sample(env.sim, placed)
            placed = env.conditional_placement_on_objects_initializer.sample(placed)
        except RandomizationError:
            continue
        for position, quaternion, thing in placed.values():
            if thing.name not in fixtures:
                env.sim.data.set_joint_qpos(thing.joints[-1], np.concatenate([position, quaternion]))
        state = control_env.get_sim_state().copy()
        state[0] = 0.0
        state[1 + env.sim.model.nq :] = 0.0
        return state
