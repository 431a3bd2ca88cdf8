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
    model, description = env.sim.model, mujoco.MjSpec.from_string(env.model.get_xml())
    try:
        # In a reset the samplers run before fixtures are put in place, and add their pose to what they find.
        for fixture in env.fixtures:
            body, index = description.body(fixture.root_body), env.obj_body_id[fixture.name]
            model.body_pos[index], model.body_quat[index] = body.pos, body.quat
        return np.stack([_draw(control_env, start, fixtures, seed) for seed in seeds])
    finally:
        np.random.set_state(generator_state)
        for name, (position, quaternion, _) in fixtures.items():
            model.body_pos[env.obj_body_id[name]], model.body_quat[env.obj_body_id[name]] = position, quaternion
        control_env.set_state(start)
        control_env.sim.forward()


def _draw(control_env: Any, start: np.ndarray, fixtures: dict[str, Any], seed: int) -> np.ndarray:
    """One draw, in the order of hf-libero's `_reset_internal`; a draw whose objects do not fit is repeated.

    Departure: LIBERO's samplers take a bowl and a plate for 5 cm wide and now and then draw one inside the other, which
    throws them apart. A few of its stored states are like that; the placements drawn here are not.
    """
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
        if _overlaps(env, [placed[name][2] for name in placed if name not in fixtures]):
            continue
        state = control_env.get_sim_state().copy()
        state[0] = 0.0
        state[1 + env.sim.model.nq :] = 0.0
        return state


def _overlaps(env: Any, movable: list[Any]) -> bool:
    """Whether two movable things are in each other."""
    model, data = env.sim.model._model, env.sim.data._data
    mujoco.mj_forward(model, data)
    roots = {model.body(thing.root_body).id for thing in movable}
    pairs = model.body_rootid[model.geom_bodyid[data.contact.geom[: data.ncon]]]
    return any(a in roots and b in roots and a != b for a, b in pairs)
