"""Other masses and frictions, on a model of two bodies."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest

from hone.envs.libero.dynamics import Dynamics
from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError

XML = """
<mujoco><worldbody>
  <geom name="floor" type="plane" size="1 1 1" friction="0.9 0.01 0.001"/>
  <body name="thing" pos="0 0 0.1"><freejoint/>
    <geom type="box" size=".02 .02 .02" mass="0.5"/>
    <body name="lid" pos="0 0 .03"><joint type="hinge"/><geom type="sphere" size=".01" mass="0.1"/></body>
  </body>
  <body name="arm" pos="1 0 1"><joint type="hinge"/><geom type="capsule" size=".02 .1" mass="2"/></body>
</worldbody></mujoco>
"""


@pytest.fixture
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(XML)


def test_loose_things_weigh_more_and_the_arm_does_not(model):
    changed = Dynamics(friction=0.5, mass=2.0)(copy.copy(model))
    masses = {name: float(changed.body(name).mass[0]) for name in ("thing", "lid", "arm")}
    assert masses == pytest.approx({"thing": 1.0, "lid": 0.2, "arm": 2.0})
    np.testing.assert_allclose(changed.body("thing").inertia, 2 * model.body("thing").inertia)
    np.testing.assert_allclose(changed.geom_friction[:, 0], 0.5 * model.geom_friction[:, 0])
    np.testing.assert_array_equal(changed.geom_friction[:, 1:], model.geom_friction[:, 1:])
    assert changed.body_subtreemass[0] == pytest.approx(3.2)


def test_factors_of_one_change_nothing(model):
    before = [model.body_mass.copy(), model.geom_friction.copy(), model.body_invweight0.copy()]
    assert Dynamics()(model) is model
    for old, new in zip(before, (model.body_mass, model.geom_friction, model.body_invweight0), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_differs_is_on_the_card():
    assert LiberoConfig().perturbations == ()
    assert LiberoConfig(friction=0.6, perturb=("arm:1",)).perturbations == ("arm:1 seed 0", "friction x0.6")
    with pytest.raises(HoneError, match="friction"):
        LiberoConfig(friction=0.0)
