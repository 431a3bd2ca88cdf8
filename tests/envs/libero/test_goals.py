"""Goal programs against hf-libero's own predicates, on random states in which each of them is true and false."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import mujoco
import numpy as np
import pytest

from hone.envs.libero.goals import Atom, GoalProgram
from hone.errors import HoneError

pytestmark = pytest.mark.sim


def random_state(control_env, rng: np.random.Generator) -> None:
    """Joints anywhere, thresholds included; each movable object near a region, on another object, or anywhere."""
    env, model, data = control_env.env, control_env.sim.model._model, control_env.sim.data._data
    for j in range(model.njnt):
        name = model.joint(j).name
        if model.jnt_type[j] != mujoco.mjtJoint.mjJNT_FREE and not name.startswith(("robot0", "gripper0")):
            low, high = model.jnt_range[j]
            edges = [x for x in (-0.14, 0.0, 0.5, -0.005) if low <= x <= high]
            value = rng.choice(edges) if edges and rng.random() < 0.4 else rng.uniform(low, high)
            data.qpos[model.jnt_qposadr[j]] = value
    mujoco.mj_forward(model, data)
    names = list(env.objects_dict)
    for name in rng.permutation(names):
        address = model.jnt_qposadr[model.body(env.objects_dict[name].root_body).jntadr[0]]
        where = rng.random()
        if where < 0.5:
            site = model.site(rng.choice(list(env.object_sites_dict))).id
            position = data.site_xpos[site] + rng.uniform(-1, 1, 3) * model.site_size[site] * rng.uniform(0.1, 1.3)
            position[2] += rng.uniform(-0.01, 0.04)
        elif where < 0.85:
            other = env.objects_dict[rng.choice([n for n in names if n != name])].root_body
            position = data.xpos[model.body(other).id] + rng.uniform(-0.03, 0.03, 3) + [0, 0, 0.02]
        else:
            position = data.xpos[model.body(names[0] + "_main").id] + rng.uniform(-0.4, 0.4, 3)
        data.qpos[address : address + 3] = position
        mujoco.mj_forward(model, data)


def test_every_predicate_is_hf_liberos(fresh_control_env) -> None:
    control_env = fresh_control_env("libero_spatial")
    env, model, data = control_env.env, control_env.sim.model._model, control_env.sim.data._data
    objects, sites = list(env.objects_dict), list(env.object_sites_dict)
    literals = [("in", x, site) for x in objects for site in sites]
    literals += [("on", x, site) for x in objects for site in sites]
    literals += [("on", x, y) for x, y in itertools.permutations(objects, 2)]
    drawers = [site for site in sites if env.object_sites_dict[site].joints]
    literals += [(p, name) for p in ("open", "close") for name in [*drawers, "wooden_cabinet_1"]]
    literals += [(p, "flat_stove_1") for p in ("turnon", "turnoff")]
    atoms = [Atom.read(control_env, literal) for literal in literals]
    goals = [GoalProgram((atom,)).bind(model) for atom in atoms]

    rng, counts = np.random.default_rng(0), Counter()
    for _ in range(60):
        random_state(control_env, rng)
        for literal, atom, goal in zip(literals, atoms, goals, strict=True):
            if literal[0] in ("on", "in") and rng.random() < 0.4:
                continue
            expected = bool(env._eval_predicate(list(literal)))
            assert goal.evaluate(model, data) == expected, literal
            counts[literal[0], atom.rule, bool(atom.touches), expected] += 1
    kinds = {key[:3] for key in counts}
    assert len(kinds) >= 8, kinds
    for kind in kinds:
        for outcome in (True, False):
            assert counts[(*kind, outcome)] >= 3, f"{kind} was {outcome} only {counts[(*kind, outcome)]} times"


def test_program_survives_json(fresh_control_env) -> None:
    control_env = fresh_control_env("libero_spatial")
    program = GoalProgram.read(control_env)
    again = GoalProgram.from_json(json.loads(json.dumps(program.to_json())))
    assert again == program
    assert again.literals == (("on", "akita_black_bowl_1", "plate_1"),)
    model = control_env.sim.model._model
    assert again.bind(model).atoms.tobytes() == program.bind(model).atoms.tobytes()


def test_unknown_predicate_says_what_exists(fresh_control_env) -> None:
    with pytest.raises(HoneError, match="known: in, on, open"):
        Atom.read(fresh_control_env("libero_spatial"), ("stack", "plate_1", "akita_black_bowl_1"))
