"""Drawers, knobs and pushed plates, in LIBERO on the stand-ins."""

from __future__ import annotations

import numpy as np
import pytest

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import task
from hone.primitives.clearing import before, drawer_path, free_place, in_the_way
from hone.primitives.conditions import is_open, joint_of
from hone.primitives.expert import Expert
from hone.types import Placement

pytestmark = pytest.mark.sim


@pytest.mark.parametrize(
    ("suite", "index"),
    [
        ("libero_goal", 0),  # open a drawer
        ("libero_goal", 7),  # turn a knob
        pytest.param("libero_goal", 3, marks=pytest.mark.slow),  # put a bowl aside, open a drawer, put the bowl inside
        pytest.param("libero_goal", 5, marks=pytest.mark.slow),  # push a plate
        pytest.param("libero_10", 2, marks=pytest.mark.slow),  # turn on the stove, then put a pot on it
        pytest.param("libero_10", 3, marks=pytest.mark.slow),  # put a bowl into an open drawer and shut it
        pytest.param("libero_10", 8, marks=pytest.mark.slow),  # put two pots on one stove
        pytest.param("libero_90", 24, marks=pytest.mark.slow),  # put a bowl into the lowest drawer
        pytest.param("libero_90", 33, marks=pytest.mark.slow),  # close a microwave
    ],
)
def test_reaches_the_goal(suite, index):
    env = LiberoConfig(images=False, stop_at_success=False, physics="fast", step_cap=600).build(1)
    env.reset([0], [task(suite, index)], [Placement("sampled", 0)])
    expert = Expert()
    while (command := expert.act(env.facts([0])[0])) is not None:
        assert not env.step([0], command.action[None, None].astype(np.float32)).done[0]
    facts = env.facts([0])[0]
    assert all(facts.satisfied)
    held = [pair for pair in facts.contacts if "robot" in pair]
    assert not held, "the hand has let go and drawn back"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "index"),
    [
        ("libero_90", 35),  # open the microwave
        ("libero_90", 39),  # turn the stove off
        ("libero_10", 5),  # put a book on edge into a caddy, turned
    ],
)
def test_passes_the_goal(suite, index):
    """True at some step, which is LIBERO's rule: door and knob spring back a little, and the book leans and slides."""
    env = LiberoConfig(images=False, physics="fast", step_cap=600).build(1)
    env.reset([0], [task(suite, index)], [Placement("sampled", 0)])
    expert, passed = Expert(), False
    while not passed and (command := expert.act(env.facts([0])[0])) is not None:
        passed = bool(env.step([0], command.action[None, None].astype(np.float32)).terminated[0])
    assert passed


def test_facts_say_what_moves_what():
    env = LiberoConfig(images=False).build(1)
    env.reset([0], [task("libero_goal", 3)], [Placement("official", 0)])
    facts = env.facts([0])[0]
    name = joint_of(facts, "wooden_cabinet_1_top_region")
    joint = facts.joints[name]
    assert (name, joint.kind, joint.fixture) == ("wooden_cabinet_1_top_level", "slide", "wooden_cabinet_1")
    assert not is_open(joint)
    assert joint_of(facts, "flat_stove_1") == "flat_stove_1_button"
    np.testing.assert_allclose(np.linalg.norm(joint.axis), 1.0)
    bowl = "akita_black_bowl_1"
    assert bowl not in in_the_way(facts, name), "it is lower than the top drawer"
    assert in_the_way(facts, name, [bowl]) == [bowl], "the drawer would be above it"
    aside = free_place(facts, bowl, np.concatenate(drawer_path(facts, name)))
    assert aside is not None
    assert np.linalg.norm(aside - facts.objects[bowl].position) > 0.05
    ahead = facts.objects["plate_1"].position + np.array([-0.10, 0.20, 0.0])
    assert before(facts, "plate_1", ahead) == ["cream_cheese_1"], "the pushed plate would take it along"
    assert before(facts, "plate_1", facts.objects["plate_1"].position + np.array([0.05, 0.0, 0.0])) == []
    lowest = joint_of(facts, "wooden_cabinet_1_bottom_region")
    assert bowl in in_the_way(facts, lowest), "the lowest drawer would hit it"
