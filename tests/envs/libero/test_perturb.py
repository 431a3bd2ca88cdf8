"""Perturbations: declared, seeded, valid, and without a trace in physics where they are for the eye."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.perturb import KINDS, LEVELS, Perturbation, Perturber
from hone.envs.libero.perturb_looks import LOOKS
from hone.envs.libero.perturb_state import touching
from hone.envs.libero.suites import tasks
from hone.errors import HoneError
from hone.types import Placement, Task

pytestmark = pytest.mark.sim

OBJECT, SPATIAL = tasks("libero_object")[0], tasks("libero_spatial")[0]
OFFICIAL = Placement("official", 2)
VISUAL = (*LOOKS, "distractors")


def started(task: Task, *perturb: str, placement: Placement = OFFICIAL, images: bool = False, seed: int = 0) -> Any:
    """An environment with an episode begun in slot 0."""
    env = LiberoConfig(images=images, image_size=48, perturb=perturb, perturb_seed=seed).build(1)
    env.reset([0], [task], [placement])
    return env


def pictures(task: Task, *perturb: str, **options: Any) -> np.ndarray:
    env = started(task, *perturb, images=True, **options)
    images = env.observe([0]).images[0].astype(int)
    env.close()
    return images


@pytest.mark.parametrize("kind", VISUAL)
def test_visual_kinds_change_pictures_and_nothing_else(kind: str):
    plain, dressed = started(SPATIAL), started(SPATIAL, f"{kind}:3")
    chunk = np.random.default_rng(0).uniform(-1, 1, (1, 8, 7)).astype(np.float32)
    plain.step([0], chunk)
    dressed.step([0], chunk)
    np.testing.assert_array_equal(plain._slots[0].data.qpos, dressed._slots[0].data.qpos)
    assert plain.observe([0]).instructions == dressed.observe([0]).instructions
    before, after = plain.render([0]).astype(int), dressed.render([0]).astype(int)
    assert np.abs(before - after)[0, 0].mean() > 1.0
    again = dressed.render([0])
    np.testing.assert_array_equal(after, again)  # edits do not pile up
    scene = dressed._scenes[SPATIAL]
    stage = dressed._renderer._stages[str(scene.folder)]
    fresh = scene.visual_model("cheap")
    for name in ("cam_pos", "light_diffuse", "geom_rgba", "geom_matid", "mat_rgba"):
        np.testing.assert_array_equal(getattr(stage.model, name), getattr(fresh, name))
    plain.close()
    dressed.close()


def test_level_0_is_off_to_the_bit():
    every = tuple(f"{kind}:0" for kind in KINDS)
    np.testing.assert_array_equal(pictures(OBJECT, *every), pictures(OBJECT))
    assert LiberoConfig(perturb=every).perturbations == ()


def test_all_five_of_kind_level_seed_task_and_placement_count_and_nothing_else():
    def state(*perturb: str, placement: Placement = OFFICIAL, seed: int = 0) -> np.ndarray:
        return started(OBJECT, *perturb, placement=placement, seed=seed)._slots[0].data.qpos.copy()

    reference = state("arm:2")
    np.testing.assert_array_equal(reference, state("arm:2", "camera:3", "instruction:1"))
    assert not np.array_equal(reference, state("arm:2", seed=1))
    assert not np.array_equal(reference, state("arm:3"))
    offsets = [state("arm:2", placement=p) - state(placement=p) for p in (OFFICIAL, Placement("official", 3))]
    assert np.abs(offsets[0] - offsets[1]).max() > 0.01
    np.testing.assert_array_equal(pictures(OBJECT, "camera:1", "light:2"), pictures(OBJECT, "light:2", "camera:1"))


@pytest.mark.parametrize("task", [OBJECT, SPATIAL], ids=["object", "spatial"])
def test_moved_things_stand_apart_and_come_to_rest(task: Task):
    plain, moved, shifts = started(task), started(task, "objects:3"), {}
    for index in range(6):
        placement = Placement("official", index)
        for env in (plain, moved):
            env.reset([0], [task], [placement])
        before, after = plain.facts([0])[0], moved.facts([0])[0]
        shifts = {n: after.objects[n].position - pose.position for n, pose in before.objects.items()}
        lengths = np.array([np.linalg.norm(shift[:2]) for shift in shifts.values()])
        assert np.all((lengths > 0.035) & (lengths < 0.085))
        assert max(abs(shift[2]) for shift in shifts.values()) < 2e-3  # on the same surface, at rest
        assert not any(after.satisfied)
        things = set(after.objects) | {"robot"}
        assert {pair for pair in after.contacts if pair <= things} <= before.contacts
    if task is SPATIAL:  # "between the plate and the ramekin" stays true: all moved alike
        assert np.ptp(np.stack(list(shifts.values()))[:, :2], axis=0).max() < 2e-3


def test_the_turned_arm_touches_nothing_and_keeps_its_size():
    sizes = []
    for level in LEVELS:
        perturber = Perturber((f"arm:{level}",), 0)
        env = started(SPATIAL)
        scene = env._scenes[SPATIAL]
        for index in range(8):
            placement = Placement("official", index)
            before, after = scene.initial_state(placement), perturber.initial_state(scene, placement)
            assert np.flatnonzero(before != after).tolist() == list(range(1, 8))  # the arm's joints, nothing else
            data = mujoco.MjData(scene.model)
            data.qpos[:] = after[1 : 1 + scene.model.nq]
            mujoco.mj_forward(scene.model, data)
            robot = scene.model.body("robot0_base").rootid[0]
            assert not any(robot in pair for pair in touching(scene, data))
            sizes.append(np.sqrt(np.mean((after - before)[1:8] ** 2)))
    np.testing.assert_array_less([0.024] * 8 + [0.049] * 8 + [0.099] * 8, sizes)
    np.testing.assert_array_less(sizes, [0.051] * 8 + [0.101] * 8 + [0.201] * 8)


def test_black_bowls_stay_black_and_other_things_do_not():
    env = started(SPATIAL, "colours:3")
    scene, look = env._scenes[SPATIAL], env._looks[0]
    model = scene.visual_model("cheap")
    plain = model.geom_rgba.copy()
    with look.worn_by(model):
        changed = {model.geom(g).name.rsplit("_", 1)[0] for g in np.flatnonzero((model.geom_rgba != plain).any(1))}
    assert {"plate_1", "cookies_1"} <= changed
    assert not {"akita_black_bowl_1", "akita_black_bowl_2"} & changed


def test_instruction_is_told_in_other_words_until_the_episode_ends():
    env = started(OBJECT, "instruction:3")
    told = env.observe([0]).instructions[0]
    assert told != OBJECT.instruction
    env.step([0], np.zeros((1, 3, 7), np.float32))
    assert env.observe([0]).instructions[0] == told
    snapshot = env.snapshot([0])
    env.reset([0], [OBJECT], [Placement("official", 9)])
    env.restore([0], snapshot)
    assert env.observe([0]).instructions[0] == told


def test_what_does_not_exist_is_named():
    with pytest.raises(HoneError, match=r"unknown perturbation 'camra'. Did you mean 'camera'\?"):
        LiberoConfig(perturb=("camra:1",))
    with pytest.raises(HoneError, match="write 'camera:1' to 'camera:3'"):
        LiberoConfig(perturb=("camera:4",))
    with pytest.raises(HoneError, match="given 2 times"):
        LiberoConfig(perturb=("camera:1", "camera:2"))
    assert str(Perturbation.parse("light:2")) == "light:2"
    assert LiberoConfig(perturb=("light:2", "objects:1"), perturb_seed=3).perturbations == (
        "objects:1 seed 3",
        "light:2 seed 3",
    )
