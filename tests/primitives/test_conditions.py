"""Where "beside" is, on a scene without a simulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scenes import box, brick_and_bin, upright

from hone.language.plan import Beside
from hone.primitives.conditions import beside, stands_at


def test_beside_is_a_gap_away_on_that_side():
    place = beside(brick_and_bin(), "brick", Beside("bin", "right"))
    np.testing.assert_allclose(place, [0.0, 0.2 + 0.075 + 0.03 + 0.02, 0.03], atol=1e-6)


def test_what_stands_higher_comes_down_beside():
    facts = brick_and_bin()
    raised = replace(facts, objects={**facts.objects, "brick": upright(0.0, -0.1, 0.23)})
    assert abs(beside(raised, "brick", Beside("bin", "right"))[2] - 0.03) < 1e-6


def test_what_lies_on_an_oven_is_not_in_it():
    facts = brick_and_bin()
    on_top = {**facts.objects, "brick": upright(0.0, 0.2, 0.14)}
    region = {"bin_inside": replace(facts.regions["bin_inside"], parent="oven")}
    touching = frozenset({frozenset(("brick", "oven"))})
    stove = replace(facts, objects=on_top, regions=region, contacts=touching, fixtures={"oven": upright(0.0, 0.2, 0.0)})
    low, high = (box((0.07, 0.07, 0.005), (0, 0, height)) for height in (0.0, 0.12))
    assert stands_at(replace(stove, shapes={**facts.shapes, "oven": (low,)}), "brick", "bin_inside")
    assert not stands_at(replace(stove, shapes={**facts.shapes, "oven": (low, high)}), "brick", "bin_inside")
    inside = replace(stove, shapes={**facts.shapes, "oven": (low, high)}, objects={"brick": upright(0.0, 0.2, 0.05)})
    assert stands_at(inside, "brick", "bin_inside")
