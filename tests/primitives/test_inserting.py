"""Ways into a place that is closed from above, on a scene without a simulator: an oven with an open side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scenes import box, brick_and_bin, upright

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.facts import Facts, Region
from hone.envs.libero.suites import task
from hone.policies.scripted import Planning, pilot
from hone.primitives.conditions import is_enclosed
from hone.primitives.grasps import HAND_ABOVE_M
from hone.primitives.ways import find_way, way_in
from hone.types import Placement

FLOOR, ROOF, FRONT = 0.02, 0.14, 0.22
OVEN = (
    box((0.12, 0.08, 0.01), (0, 0, 0.01)),
    box((0.12, 0.08, 0.005), (0, 0, ROOF + 0.005)),
    box((0.12, 0.005, 0.08), (0, 0.08, 0.08)),
    box((0.005, 0.08, 0.08), (0.12, 0, 0.08)),
    box((0.005, 0.08, 0.08), (-0.12, 0, 0.08)),
)


def brick_and_oven() -> Facts:
    """A tall brick on the table, and an oven that is open towards -y."""
    facts = brick_and_bin()
    inside = Region(upright(0.0, 0.30, 0.08), np.array([0.10, 0.07, 0.06]), "oven")
    top = Region(upright(0.0, 0.30, 0.15), np.array([0.10, 0.07, 0.01]), "oven")
    return replace(
        facts,
        objects={"brick": facts.objects["brick"]},
        fixtures={"oven": upright(0.0, 0.30, 0.0)},
        regions={"oven_inside": inside, "oven_top": top},
        shapes={"brick": facts.shapes["brick"], "oven": OVEN},
    )


def test_only_what_has_a_roof_is_enclosed():
    facts = brick_and_oven()
    assert is_enclosed(facts, "oven_inside")
    assert not is_enclosed(facts, "oven_top")
    assert not is_enclosed(facts, "brick")
    assert not is_enclosed(brick_and_bin(), "bin_inside")


def test_the_way_in_is_where_no_wall_stands():
    facts = brick_and_oven()
    np.testing.assert_allclose(way_in(facts, facts.regions["oven_inside"]), [0.0, 1.0, 0.0])


def test_the_thing_ends_inside_and_the_hand_does_not():
    way = find_way(brick_and_oven(), "brick", "oven_inside", [])
    assert way is not None
    assert abs(way.spot.goal[0]) < 0.10
    assert way.spot.goal[1] > FRONT + 0.015, "its origin is behind the edge"
    assert FLOOR + 0.03 <= way.spot.goal[2] < ROOF - 0.03, "it goes in over the floor and under the roof"
    palm = way.release.position - (HAND_ABOVE_M + 0.05) * way.release.rotation[:, 2]
    assert palm[1] < FRONT
    assert way.spot.run > way.spot.goal[1] - FRONT, "it starts outside"


def test_a_grasp_that_failed_is_not_tried_again():
    facts = brick_and_oven()
    first = find_way(facts, "brick", "oven_inside", [])
    assert first is not None
    second = find_way(facts, "brick", "oven_inside", [first.taken])
    assert (
        second is None
        or np.linalg.norm(second.taken.offset - first.taken.offset) > 0.01
        or second.taken.yaw != first.taken.yaw
    )


def test_what_is_too_thick_has_no_way_in():
    facts = brick_and_oven()
    low = (*OVEN, box((0.12, 0.08, 0.05), (0, 0, 0.10)))
    assert find_way(replace(facts, shapes={**facts.shapes, "oven": low}), "brick", "oven_inside", []) is None


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "index"), [("libero_10", 9), ("libero_90", 36), ("libero_90", 40), ("libero_90", 89)]
)
def test_from_words_to_what_stays(suite, index):
    env = LiberoConfig(images=False, facts=True, physics="fast", step_cap=600).build(1)
    asked = task(suite, index)
    env.reset([0], [asked], [Placement("sampled", 1)])
    flying, done = pilot("skills", Planning(refinements=0)), False
    while not done:
        action = flying.act(asked.instruction, env.facts([0])[0])
        result = env.step([0], action.astype(np.float32)[None, None])
        assert not result.truncated[0]
        done = bool(result.terminated[0])
    assert env.hold([0], 20) == [True]
