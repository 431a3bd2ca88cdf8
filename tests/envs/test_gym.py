"""`hone/LIBERO-v0`: gymnasium's own check, and what its vector environments promise."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from hone.envs.gym import ENV_ID, LiberoEnv, LiberoVectorEnv
from hone.errors import HoneError

pytestmark = pytest.mark.sim

NO_OP = np.array([0, 0, 0, 0, 0, 0, -1], np.float32)


def single(**options: Any) -> LiberoEnv:
    env = gymnasium.make(ENV_ID, **{"images": False, **options}).unwrapped
    assert isinstance(env, LiberoEnv)
    return env


def vector(num_envs: int, **options: Any) -> LiberoVectorEnv:
    envs = gymnasium.make_vec(ENV_ID, num_envs, "vector_entry_point", **{"images": False, **options})
    assert isinstance(envs, LiberoVectorEnv)
    return envs


def put_into_basket(env: LiberoEnv | LiberoVectorEnv, row: int = 0) -> None:
    slot = env._env._slots[row]
    address = slot.model.joint("alphabet_soup_1_joint0").qposadr[0]
    slot.data.qpos[address : address + 3] = slot.data.body("basket_1_main").xpos + np.array([0, 0, 0.06])


@pytest.mark.parametrize(
    "options", [{"images": False}, {"images": True, "image_size": 32, "state_tokens": "objects_v2"}]
)
def test_passes_gymnasiums_own_check(options: dict[str, Any]) -> None:
    env = single(**options)
    check_env(env)
    env.close()


def test_seed_draws_a_placement_and_options_name_one() -> None:
    env = gymnasium.make(ENV_ID, images=False)
    first, info = env.reset(seed=5)
    second, other = env.reset()
    again, same = env.reset(seed=5)
    assert info["placement"] == same["placement"] != other["placement"]
    np.testing.assert_array_equal(first["proprio"], again["proprio"])
    assert not np.array_equal(first["proprio"], second["proprio"])
    _, info = env.reset(options={"official": 7})
    assert (info["placement_kind"], info["placement"]) == ("official", 7)
    with pytest.raises(HoneError, match="0-49, not 50"):
        env.reset(options={"official": 50})
    with pytest.raises(HoneError, match="Did you mean 'official'"):
        env.reset(options={"oficial": 7})


def test_success_is_rewarded_once_and_the_cap_truncates() -> None:
    env = single(step_cap=6)
    env.reset(options={"official": 3})
    assert [env.step(NO_OP)[1:4] for _ in range(6)] == [(0.0, False, False)] * 5 + [(0.0, False, True)]
    env.reset(options={"official": 3})
    put_into_basket(env)
    steps = [env.step(NO_OP) for _ in range(3)]
    won = next(step for step in steps if step[2])
    assert (won[1], won[3], won[4]["is_success"]) == (1.0, False, True)


def test_pictures_are_drawn_only_where_they_are_asked_for() -> None:
    env = single()
    env.reset(seed=0)
    env.step(NO_OP)
    assert env._env._renderer._gl is None
    assert env.render() is None
    seeing = single(images=True, keys="lerobot", image_size=32, render_mode="rgb_array")
    observation, _ = seeing.reset(options={"official": 3})
    assert set(observation["pixels"]) == {"image", "image2"}
    picture = seeing.render()
    assert picture is not None
    assert picture.shape == (256, 256, 3)
    assert picture[176:].mean() > picture[:32].mean()  # white floor below, grey wall above: upright
    assert observation["pixels"]["image"][:10].mean() > observation["pixels"]["image"][-4:].mean()  # as OpenGL draws it
    seeing.close()
    turned = single(images=True, image_size=32, render_mode="rgb_array", image_orientation="rotated_180")
    turned.reset(options={"official": 3})
    same = turned.render()
    assert same is not None
    assert np.abs(same.astype(int) - picture).max() <= 1
    turned.close()


def test_rows_of_the_vector_equal_single_environments() -> None:
    """Against gymnasium's own vector of single ones: same seeds, same actions, through an autoreset."""
    ours = vector(3, step_cap=4, keys="lerobot")
    theirs = SyncVectorEnv([lambda: LiberoEnv(images=False, step_cap=4, keys="lerobot") for _ in range(3)])
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    observation, info = ours.reset(seed=[4, 4, 9])
    expected, expected_info = theirs.reset(seed=[4, 4, 9])
    generator = np.random.default_rng(0)
    for _ in range(7):
        np.testing.assert_array_equal(observation["agent_pos"], expected["agent_pos"])
        assert info.keys() == expected_info.keys()
        for name in info:
            np.testing.assert_array_equal(info[name], expected_info[name])
        actions = generator.uniform(-1, 1, (3, 7)).astype(np.float32)
        observation, *ours_rest, info = ours.step(actions)
        expected, *theirs_rest, expected_info = theirs.step(actions)
        for mine, other in zip(ours_rest, theirs_rest, strict=True):
            np.testing.assert_array_equal(mine, other)


def test_same_step_keeps_the_end_of_the_old_episode() -> None:
    envs, alone = vector(2, autoreset_mode="SameStep"), single()
    envs.reset(seed=0, options={"official": [3, 4]})
    alone.reset(options={"official": 4})
    put_into_basket(envs, 1)
    put_into_basket(alone)
    old, *_, last = alone.step(NO_OP)
    observation, reward, terminated, truncated, info = envs.step(np.stack([NO_OP, NO_OP]))
    assert last["is_success"]
    assert (reward.tolist(), terminated.tolist(), truncated.tolist()) == ([0, 1], [False, True], [False, False])
    assert info["final_info"]["is_success"].tolist() == [False, True]
    assert info["_final_info"].tolist() == [False, True]
    assert not info["is_success"].any()
    assert info["placement_kind"][1] == "sampled"
    assert info["final_obs"][0] is None
    np.testing.assert_array_equal(info["final_obs"][1]["proprio"], old["proprio"])
    assert not np.array_equal(observation["proprio"][1], old["proprio"])


def test_disabled_autoreset_wants_a_mask_and_each_row_its_task() -> None:
    envs = vector(2, autoreset_mode="Disabled", step_cap=1, task=[0, 1])
    envs.reset(seed=0)
    assert "alphabet soup" in envs.task_descriptions[0]
    assert "cream cheese" in envs.task_descriptions[1]
    actions = np.stack([NO_OP, NO_OP])
    assert envs.step(actions)[3].all()
    with pytest.raises(HoneError, match=r"rows \[0, 1\] have ended"):
        envs.step(actions)
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(HoneError, match=r"rows \[1\] have ended"):
        envs.step(actions)


def test_bad_input_is_named() -> None:
    with pytest.raises(HoneError, match=r"unknown option 'image_sise'. Did you mean 'image_size'"):
        gymnasium.make(ENV_ID, image_sise=64)
    with pytest.raises(HoneError, match="unknown observation keys 'openpi'"):
        gymnasium.make(ENV_ID, keys="openpi")
    with pytest.raises(HoneError, match="2 tasks came for 3"):
        vector(3, task=[0, 1])
    env = single()
    with pytest.raises(HoneError, match=r"call reset\(\)"):
        env.step(NO_OP)
    env.reset(seed=0)
    with pytest.raises(HoneError, match=r"shape \(6,\)"):
        env.step(NO_OP[:6])
