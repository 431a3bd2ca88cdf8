"""What tasks need of the stand-ins physically: things hold things, doors and drawers move, predicates flip."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from hone.envs.libero import hf, suites
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.engine import Slot, build_stepper
from hone.envs.libero.goals import Atom, GoalProgram
from hone.envs.libero.scene import load_scene
from hone.envs.libero.standins import standin_assets
from hone.envs.libero.standins.kitchenware import KITCHENWARE, PANS
from hone.envs.libero.standins.objects import SCANNED_OBJECTS
from hone.envs.libero.standins.pack import FAMILIES

NO_OP = np.array([0.0, 0, 0, 0, 0, 0, -1])
UPRIGHT, LEANING = (1.0, 0.0, 0.0, 0.0), (0.8712, -0.4909, 0.0, 0.0)
OBJECTS = {name: thing for family in FAMILIES.values() for name, thing in family.items()}


def is_solid(thing, point) -> bool:
    """Whether a point of the object's frame is inside one of its collision boxes."""
    for solid in thing.collision:
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, np.array(solid.quat))
        if np.all(np.abs(rotation.reshape(3, 3).T @ (np.array(point) - solid.pos)) < solid.size):
            return True
    return False


@pytest.mark.parametrize(
    ("name", "centre", "floor", "rim", "radius"),
    [
        ("porcelain_mug", (0.0165, -0.0013), 0.014, 0.10, 0.020),
        ("red_coffee_mug", (-0.0165, -0.0012), 0.012, 0.12, 0.018),
        ("white_yellow_mug", (-0.0181, 0.0), 0.012, 0.10, 0.018),
        ("chefmate_8_frypan", (0.0045, -0.001), 0.014, 0.04, 0.050),
        ("white_bowl", (0.0, 0.0), 0.008, 0.03, 0.010),
    ],
)
def test_vessels_are_hollow_and_have_a_floor(name, centre, floor, rim, radius):
    thing = (KITCHENWARE | PANS | SCANNED_OBJECTS)[name]
    for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        x, y = centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)
        assert not any(is_solid(thing, (x, y, z)) for z in np.linspace(floor, rim, 10))
    assert any(is_solid(thing, (*centre, z)) for z in np.linspace(0.0, floor, 10))


@pytest.mark.parametrize(
    ("name", "inside", "grip"),
    [
        ("porcelain_mug", (-0.042, 0.0, 0.055), (-0.060, 0.0, 0.055)),
        ("red_coffee_mug", (0.032, 0.0, 0.080), (0.057, 0.0, 0.090)),
        ("white_yellow_mug", (0.045, 0.0, 0.055), (0.064, 0.0, 0.055)),
    ],
)
def test_handles_have_room_for_a_finger_and_can_be_pinched(name, inside, grip):
    thing = KITCHENWARE[name]
    assert not is_solid(thing, inside)
    assert is_solid(thing, grip)
    for side in (-0.012, 0.012):
        assert not is_solid(thing, (grip[0], side, grip[2]))


def test_containers_are_open_where_their_regions_are():
    for name, thing in OBJECTS.items():
        for region in thing.regions:
            if "contain" in region.name:
                assert not is_solid(thing, region.pos), (name, region.name)


@pytest.mark.sim
@pytest.mark.parametrize(
    ("suite", "index", "thing", "holder", "offset", "turn"),
    [
        ("libero_90", 75, "black_book_1", "desk_caddy_1", (0.006, -0.130, 0.035), UPRIGHT),  # right compartment
        ("libero_goal", 9, "wine_bottle_1", "wine_rack_1", (0.05, -0.0808, 0.2393), LEANING),  # its foot on the ledge
        ("libero_10", 9, "white_yellow_mug_1", "microwave_1", (-0.03, 0.0, 0.030), UPRIGHT),
        ("libero_90", 57, "cream_cheese_1", "wooden_tray_1", (0.0, 0.0, 0.03), UPRIGHT),
        ("libero_goal", 1, "akita_black_bowl_1", "flat_stove_1", (0.15, 0.0, 0.04), UPRIGHT),
    ],
)
def test_a_thing_put_there_stays_and_counts(suite, index, thing, holder, offset, turn):
    """Let go of `thing` at `offset` (m) in the frame of `holder`: a second later the goal's literal holds."""
    scene = load_scene(suites.task(suite, index), asset_pack("standin"))
    slot = Slot(scene.model, scene.robot, scene.goal)
    slot.reset(scene.official_states[0])
    stepper = build_stepper("native", 1)
    stepper.step([slot], np.tile(NO_OP, (1, 10, 1)), np.array([10]), stop_at_success=False)
    body = slot.data.body(f"{holder}_main")
    address = scene.model.joint(f"{thing}_joint0").qposadr[0]
    quaternion = np.zeros(4)
    mujoco.mju_mulQuat(quaternion, body.xquat, np.array(turn))
    slot.data.qpos[address : address + 3] = body.xpos + body.xmat.reshape(3, 3) @ offset
    slot.data.qpos[address + 3 : address + 7] = quaternion
    slot.data.qvel[:] = 0.0
    mujoco.mj_forward(scene.model, slot.data)
    stepper.step([slot], np.tile(NO_OP, (1, 20, 1)), np.array([20]), stop_at_success=False)
    (row,) = (i for i, literal in enumerate(scene.goal.literals) if literal[1] == thing)
    assert slot.literals()[row], slot.data.body(f"{thing}_main").xpos
    assert np.abs(slot.data.joint(f"{thing}_joint0").qvel).max() < 0.05


@pytest.mark.sim
@pytest.mark.parametrize(
    ("suite", "index", "name", "joint", "positive", "negative", "push"),
    [
        # A predicate true at the joint's low end, one true at the high end, and a force that moves it there from there.
        ("libero_10", 3, "white_cabinet_1_bottom_region", "white_cabinet_1_bottom_level", "open", "close", 30.0),
        ("libero_10", 9, "microwave_1", "microwave_1_microjoint", "open", "close", 2.0),
        ("libero_10", 2, "flat_stove_1", "flat_stove_1_button", "turnoff", "turnon", 5.0),
    ],
)
def test_joints_move_through_their_range_and_predicates_flip(suite, index, name, joint, positive, negative, push):
    control_env = hf.compose(suites.task(suite, index), standin_assets())
    model, data = control_env.sim.model._model, control_env.sim.data._data
    at_low, at_high = (GoalProgram((Atom.read(control_env, (p, name)),)).bind(model) for p in (positive, negative))
    address, dof = model.joint(joint).qposadr[0], model.joint(joint).dofadr[0]
    low, high = model.joint(joint).range
    for force, limit in ((-push, low), (push, high)):
        for _ in range(1500):
            data.qfrc_applied[:] = data.qfrc_bias
            data.qfrc_applied[dof] += force
            mujoco.mj_step(model, data)
        assert data.qpos[address] == pytest.approx(limit, abs=0.06 * (high - low))  # a drawer ends at its frame
        truths = (at_low.evaluate(model, data), at_high.evaluate(model, data))
        assert truths == ((True, False) if limit == low else (False, True))
    control_env.close()
