"""Where "beside" is, on a scene without a simulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scenes import brick_and_bin, upright

from hone.language.plan import Beside
from hone.primitives.conditions import beside


def test_beside_is_a_gap_away_on_that_side():
    place = beside(brick_and_bin(), "brick", Beside("bin", "right"))
    np.testing.assert_allclose(place, [0.0, 0.2 + 0.075 + 0.03 + 0.02, 0.03], atol=1e-6)


def test_what_stands_higher_comes_down_beside():
    facts = brick_and_bin()
    raised = replace(facts, objects={**facts.objects, "brick": upright(0.0, -0.1, 0.23)})
    assert abs(beside(raised, "brick", Beside("bin", "right"))[2] - 0.03) < 1e-6
