"""What is said of a drawer that is open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scenes import box, brick_and_bin, upright

from hone.envs.libero.facts import Facts, Joint, Pose
from hone.exploration.hinter import History, RuleHinter, next_step
from hone.exploration.shutting import shut
from hone.language.plan import Plan, Subgoal
from hone.primitives.grasps import TIP_M

SHUT = Plan("close the drawer", (Subgoal("close", "cabinet"),), "test")


def drawer(position: float, kind: str = "slide") -> Facts:
    """A drawer with a handle that comes out along -y, its handle at y = 0.3 when it is shut."""
    facts = brick_and_bin()
    joint = Joint(kind, position, (-0.16, 0.01), np.array([0.0, 1.0, 0.0]), np.zeros(3), "front", "cabinet")  # type: ignore[arg-type]
    handle = (box((0.1, 0.01, 0.03), (0, 0.02, 0)), box((0.03, 0.01, 0.01)))
    return replace(
        facts,
        objects={"brick": facts.objects["brick"]},
        fixtures={"cabinet": upright(0.0, 0.45, 0.0)},
        parts={"front": upright(0.0, 0.3 + position, 0.05)},
        joints={"slide": joint},
        shapes={"brick": facts.shapes["brick"], "cabinet": (), "front": handle},
    )


def test_the_fist_comes_down_before_the_handle_and_pushes():
    facts = drawer(-0.14)
    away = shut(facts, "slide")
    assert away.offset[1] < 0.16 - 0.05, "not as far as the handle, which is 16 cm on"
    before = facts.parts["front"].position - [0.0, 0.04, 0.0]
    there = replace(facts, eef=Pose(before - TIP_M * facts.eef.rotation[:, 2], facts.eef.rotation))
    pushed = shut(there, "slide")
    assert pushed.offset[1] > 0.05
    np.testing.assert_allclose(pushed.offset[[0, 2]], 0.0, atol=1e-9)
    assert abs(np.linalg.norm(pushed.turn[:2])) > 0.3, "it leans back"


def test_it_leans_further_the_less_is_open():
    turns = [np.linalg.norm(shut(drawer(position), "slide").turn[:2]) for position in (-0.16, -0.08, -0.01)]
    assert turns == sorted(turns)


def test_nothing_is_said_of_a_door():
    assert RuleHinter(8)(drawer(-0.14), SHUT, History(0)) is not None
    assert next_step(drawer(-0.14, "hinge"), SHUT) is None
    assert RuleHinter(8)(drawer(0.005), SHUT, History(0)) is None, "it is shut"
