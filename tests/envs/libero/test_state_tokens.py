"""What policies that read the state are shown of a scene."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.facts import FactReader
from hone.envs.libero.suites import task
from hone.specs import Spec, SpecMismatchError, check_compatible
from hone.types import Placement

pytestmark = pytest.mark.sim

SAMPLED = Placement("sampled", 100)
PLACE, OPEN = 9, 11


def started(suite: str, index: int):
    env = LiberoConfig(images=False, state_tokens="objects_v2").build(1)
    env.reset([0], [task(suite, index)], [SAMPLED])
    return env, env._slots[0]


def rows(env) -> np.ndarray:
    state = env.observe([0]).state
    assert state is not None
    return state[0][state[0][:, 10] > 0]


def test_all_that_is_of_interest_is_shown_where_it_is():
    env, _ = started("libero_10", 4)  # two mugs, two plates
    facts, tokens = env.facts([0])[0], rows(env)
    assert len(facts.of_interest) == 4
    for place, name in enumerate(facts.of_interest, start=1):
        (row,) = tokens[tokens[:, PLACE] == place]
        np.testing.assert_allclose(row[:3], facts.objects[name].position, atol=1e-6)
    assert len(tokens) == len(facts.objects)
    env.close()


@pytest.mark.parametrize(
    ("suite", "index", "joint", "place"),
    [
        ("libero_10", 3, "white_cabinet_1_bottom_level", 2),
        ("libero_10", 2, "flat_stove_1_button", 2),
        ("libero_10", 9, "microwave_1_microjoint", 2),
        ("libero_goal", 3, "wooden_cabinet_1_top_level", 2),  # the task names the drawer's inside
    ],
)
def test_drawers_doors_and_knobs_show_how_far_they_are(suite: str, index: int, joint: str, place: int):
    env, slot = started(suite, index)
    before = rows(env)
    low, high = slot.model.joint(joint).range
    slot.data.joint(joint).qpos[0] = low + 0.4 * (high - low)
    mujoco.mj_forward(slot.model, slot.data)
    after = rows(env)
    moved = np.flatnonzero(np.abs(after - before).max(1) > 1e-6)
    assert len(moved) == 1
    assert after[moved[0], PLACE] == place
    assert after[moved[0], OPEN] == pytest.approx(0.4, abs=1e-6)
    env.close()


def test_a_place_is_shown_where_it_is():
    env, slot = started("libero_goal", 1)  # the bowl on the stove's burner
    facts, tokens = FactReader(env._scenes[task("libero_goal", 1)]).read(slot), rows(env)
    assert facts.of_interest[1] == "flat_stove_1_cook_region"
    (row,) = tokens[tokens[:, PLACE] == 2]
    np.testing.assert_allclose(row[:3], facts.regions["flat_stove_1_cook_region"].pose.position, atol=1e-6)
    env.close()


def test_every_object_of_interest_of_every_task_has_a_row():
    for suite in ("libero_spatial", "libero_object", "libero_goal", "libero_10"):
        for index in range(10):
            env, _ = started(suite, index)
            places = set(rows(env)[:, PLACE]) - {0}
            assert places == set(range(1, len(env.facts([0])[0].of_interest) + 1)), (suite, index)
            env.close()


def test_a_policy_that_reads_another_state_does_not_fit():
    policy = Spec(cameras=(), state_tokens="vector4: hand[0:4]")
    with pytest.raises(SpecMismatchError, match="state_tokens: policy 'vector4"):
        check_compatible(policy, LiberoConfig().seen_by(policy).spec)
