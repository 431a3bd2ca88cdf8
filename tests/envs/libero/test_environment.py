"""The batched environment against hf-libero's own, and the promises of the `Environment` contract."""

from __future__ import annotations

import numpy as np
import pytest

from hone.cache import cache_dir
from hone.envs.libero import hf
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.environment import NO_OP, LiberoConfig, LiberoEnvironment
from hone.envs.libero.incidents import Incident
from hone.envs.libero.suites import official_initial_states, tasks
from hone.errors import HoneError
from hone.types import Placement

pytestmark = pytest.mark.sim

OBJECT = tasks("libero_object")[0]
SPATIAL = tasks("libero_spatial")[0]
OFFICIAL = Placement("official", 3)


def actions(steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (1, steps, 7)).astype(np.float32)


@pytest.fixture(scope="module")
def env():
    env = LiberoConfig(images=False, state_tokens="objects_v1").build(4)
    yield env
    env.close()


@pytest.mark.parametrize(("task", "tolerance"), [(OBJECT, 1e-6), (SPATIAL, 1e-4)], ids=["object", "spatial"])
def test_equals_hf_libero(env: LiberoEnvironment, task, tolerance):
    """Normative start (seed 0, reset, set_init_state, 10 no-ops), then 200 random actions: the same trajectory.

    The native controller differs from robosuite's by rounding only (its own 7x7 solves in place of LAPACK's). Contact
    amplifies rounding: measured 1e-17 after one step, up to 2e-6 after 200 on the cluttered spatial scene.
    """
    reference = hf.compose(task, asset_pack("standin").folder)
    reference.set_init_state(official_initial_states(task)[OFFICIAL.index])
    for _ in range(10):
        reference.step(NO_OP)

    env.reset([0], [task], [OFFICIAL])
    slot = env._slots[0]
    data = reference.sim.data
    np.testing.assert_allclose(slot.data.qpos, data.qpos, atol=1e-9)
    for action in actions(200)[0]:
        observation, _, done, _ = reference.step(action)
        env.step([0], action[None, None])
        np.testing.assert_allclose(slot.data.qpos, data.qpos, atol=tolerance)
        np.testing.assert_allclose(env.observe([0]).proprio[0, :3], observation["robot0_eef_pos"], atol=tolerance)
        np.testing.assert_allclose(env.observe([0]).proprio[0, 6:], observation["robot0_gripper_qpos"], atol=tolerance)
        assert slot.success == done
    reference.close()


def test_snapshot_gives_the_same_future_bit_for_bit(env: LiberoEnvironment):
    env.reset([0, 1], [OBJECT, SPATIAL], [Placement("sampled", 1), Placement("sampled", 2)])
    env.step([0, 1], np.concatenate([actions(20, 1), actions(20, 2)]))
    snapshots = env.snapshot([0, 1])
    future = np.concatenate([actions(30, 3), actions(30, 4)])
    env.step([0, 1], future)
    first = [env._slots[i].data.qpos.copy() for i in (0, 1)]
    env.restore([2, 3], snapshots)  # other slots: what a slot did before leaves no trace
    env.step([2, 3], future)
    for i, qpos in enumerate(first):
        np.testing.assert_array_equal(env._slots[i + 2].data.qpos, qpos)
    np.testing.assert_array_equal(env.observe([0, 1]).proprio, env.observe([2, 3]).proprio)


def test_a_kept_start_equals_a_fresh_one():
    fresh = LiberoConfig(images=False).build(2)
    placement = Placement("sampled", 7)
    fresh.reset([0], [OBJECT], [placement])
    fresh.step([0], actions(10))
    fresh.reset([0, 1], [OBJECT, OBJECT], [placement, placement])
    other = LiberoConfig(images=False).build(1)
    other.reset([0], [OBJECT], [placement])
    for slot in (0, 1):
        np.testing.assert_array_equal(fresh._slots[slot].data.qpos, other._slots[0].data.qpos)


def test_step_cap_truncates_and_counts_the_steps_taken():
    env = LiberoConfig(images=False, step_cap=10).build(1)
    env.reset([0], [OBJECT], [OFFICIAL])
    first = env.step([0], actions(8))
    assert (first.steps[0], first.truncated[0], first.done[0]) == (8, False, False)
    second = env.step([0], actions(8))
    assert (second.steps[0], second.truncated[0], second.terminated[0]) == (2, True, False)
    assert env.step([0], actions(8)).steps[0] == 0


def test_actions_that_are_not_finite_end_their_slot_alone_and_are_written_down(caplog, tmp_path, monkeypatch):
    env = LiberoConfig(images=False).build(2)
    env.reset([0, 1], [OBJECT, OBJECT], [OFFICIAL, OFFICIAL])
    monkeypatch.setenv("HONE_CACHE", str(tmp_path))  # from here on: incidents of this test alone
    first = actions(8, 1).repeat(2, axis=0)
    env.step([0, 1], first)
    senseless = actions(8, 2).repeat(2, axis=0)
    senseless[1, 4, 2] = np.nan
    result = env.step([0, 1], senseless)
    assert result.diverged.tolist() == [False, True]
    assert result.steps.tolist() == [8, 0]
    assert env.step([0, 1], first).steps.tolist() == [8, 0]
    (incident,) = [Incident.load(path) for path in (cache_dir() / "incidents").iterdir()]
    assert (incident.task, incident.placement) == (OBJECT, OFFICIAL)
    np.testing.assert_array_equal(incident.actions, np.concatenate([first[1], senseless[1, :1]]))
    assert LiberoConfig(**incident.config) == env.config
    assert "not finite after 8 steps" in caplog.text


def test_a_diverged_simulation_can_be_run_again():
    """The actions written down, run again from the same start, diverge at the same step."""
    env = LiberoConfig(images=False).build(1)
    env.reset([0], [OBJECT], [OFFICIAL])
    env._slots[0].data.qvel[0] = 1e9  # stands for what a policy cannot easily do
    assert env.step([0], actions(8, 5)).diverged[0]
    incident = env._incident(0)
    other = LiberoConfig(**incident.config).build(1)
    other.reset([0], [incident.task], [incident.placement])
    assert other.step([0], incident.actions[None]).steps[0] == len(incident.actions)


def test_success_terminates_and_holds(env: LiberoEnvironment):
    """Put the soup into the basket by hand: the next step succeeds, and still does after the release."""
    env.reset([0], [OBJECT], [OFFICIAL])
    slot = env._slots[0]
    basket = slot.data.body("basket_1_main").xpos
    address = slot.model.joint("alphabet_soup_1_joint0").qposadr[0]
    slot.data.qpos[address : address + 3] = basket + np.array([0, 0, 0.06])
    result = env.step([0], np.tile(NO_OP, (1, 5, 1)))
    assert result.terminated[0]
    assert not result.truncated[0]
    assert result.steps[0] < 5
    assert env.step([0], np.tile(NO_OP, (1, 5, 1))).steps[0] == 0
    assert env.hold([0], 20) == [True]
    facts = env.facts([0])[0]
    assert facts.goal == (("in", "alphabet_soup_1", "basket_1_contain_region"),)
    assert facts.satisfied == (True,)


def test_facts_tell_that_what_sleeps_touches():
    """MuJoCo drops the contacts of sleeping things, but the soup asleep in the basket still touches it."""
    sleepy = LiberoConfig(physics="fast").for_practice(400, stop_at_success=False).build(1)
    sleepy.reset([0], [OBJECT], [OFFICIAL])
    slot = sleepy._slots[0]
    address = slot.model.joint("alphabet_soup_1_joint0").qposadr[0]
    slot.data.qpos[address : address + 3] = slot.data.body("basket_1_main").xpos + np.array([0, 0, 0.06])
    for _ in range(8):
        sleepy.step([0], np.tile(NO_OP, (1, 10, 1)))
    soup, basket = (slot.model.body(name).id for name in ("alphabet_soup_1_main", "basket_1_main"))
    assert slot.data.body_awake[[soup, basket]].tolist() == [0, 0], "the test needs them to have fallen asleep"
    assert frozenset(("alphabet_soup_1", "basket_1")) in sleepy.facts([0])[0].contacts
    sleepy.close()


def test_state_tokens_name_the_objects_of_interest(env: LiberoEnvironment):
    env.reset([0], [OBJECT], [OFFICIAL])
    state, facts = env.observe([0]).state, env.facts([0])[0]
    assert state is not None
    tokens = state[0]
    assert facts.of_interest == ("alphabet_soup_1", "basket_1")
    for order, name in enumerate(facts.of_interest, start=1):
        row = tokens[tokens[:, 9] == order]
        np.testing.assert_allclose(row[0, :3], facts.objects[name].position, atol=1e-6)
    assert tokens[:, 10].sum() == len(facts.objects)


def test_sleeping_physics_stays_close_to_exact():
    """Island sleeping is for training only; it may not change what happens beyond a fraction of a millimetre."""
    ends = {}
    for physics in ("exact", "fast"):
        env = LiberoConfig(images=False, physics=physics).build(1)
        env.reset([0], [OBJECT], [OFFICIAL])
        env.step([0], actions(100) * 0.5)
        ends[physics] = env._slots[0].data.qpos.copy()
    assert 0 < np.abs(ends["exact"] - ends["fast"]).max() < 5e-4


def test_pictures_are_drawn_the_right_way_up():
    pictures = {}
    for orientation in ("upright", "opengl", "rotated_180"):
        env = LiberoConfig(image_orientation=orientation, image_size=64).build(1)
        env.reset([0], [OBJECT], [OFFICIAL])
        pictures[orientation] = env.render([0])[0]
        env.close()
    upright = pictures["upright"]
    assert upright.shape == (2, 64, 64, 3)
    np.testing.assert_array_equal(upright, pictures["opengl"][:, ::-1])
    np.testing.assert_array_equal(upright, pictures["rotated_180"][:, :, ::-1])
    # The camera looks down at the white floor; the grey wall is behind it, at the top of the picture.
    bright = (upright[0].min(-1) > 170).mean(axis=1)
    assert bright[44:].min() > bright[:8].max()


def test_bad_input_is_named(env: LiberoEnvironment):
    with pytest.raises(HoneError, match="0-49, not 50"):
        env.reset([0], [OBJECT], [Placement("official", 50)])
    with pytest.raises(HoneError, match="slot 9 does not exist"):
        env.reset([9], [OBJECT], [OFFICIAL])
    with pytest.raises(HoneError, match="no LIBERO assets in"):
        LiberoConfig(assets="/nowhere").build(1)
    with pytest.raises(HoneError, match="image_size 4"):
        LiberoConfig(image_size=4)
