from __future__ import annotations

from dataclasses import replace

import numpy as np
from scenes import brick_and_bin, upright

from hone.envs.libero.facts import Facts, Joint, Pose, Region
from hone.language.plan import Beside, Subgoal
from hone.language.scene_words import describe, explain_failure, relations


def furnished() -> Facts:
    """Brick and bin, a cabinet with a drawer, and a region of the task file that names the goal."""
    facts = brick_and_bin()
    slide = Joint("slide", -0.05, (-0.16, 0.01), np.array([0.0, 1.0, 0.0]), np.zeros(3), "cabinet_drawer", "cabinet")
    drawer = Region(upright(0.2, -0.2, 0.1), np.array([0.05, 0.1, 0.03]), "cabinet", "cabinet_slide")
    target = Region(upright(0.0, -0.1, 0.0), np.array([0.01, 0.01, 0.007]), None)
    return replace(
        facts,
        fixtures={"cabinet": upright(0.2, -0.25, 0.0)},
        regions={**facts.regions, "cabinet_drawer_region": drawer, "floor_target_object_region": target},
        joints={"cabinet_slide": slide},
    )


def test_description() -> None:
    text = describe(furnished())
    assert "- brick: middle at (60.0, -10.0, 3.0), size (4.0 x 4.0 x 6.0), turned 0" in text
    assert "The hand is at (50.0, 0.0, 25.0), its fingers are 8.0 cm apart." in text
    assert "- bin_inside: part of bin, at (60.0, 20.0, 5.0), size (12.0 x 12.0 x 10.0)" in text
    assert "part of cabinet, at (80.0, -20.0, 10.0), size (10.0 x 20.0 x 6.0), moved by cabinet_slide" in text
    assert "- cabinet_slide: slide of cabinet, at -5.0 cm, from -16.0 cm to 1.0 cm" in text
    assert "-0.0" not in text


def test_size_is_along_the_thing_and_says_how_it_is_turned() -> None:
    facts = brick_and_bin()
    cos, sin = np.cos(np.radians(30)), np.sin(np.radians(30))
    turned = replace(upright(0.0, -0.1, 0.03), rotation=np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]))
    facts = replace(facts, objects={**facts.objects, "brick": turned})
    assert "size (4.0 x 4.0 x 6.0), turned 30" in describe(facts)


def test_everything_is_seen_from_the_foot() -> None:
    facts = furnished()
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    shift = np.array([1.0, 2.0, 0.5])

    def moved(pose: Pose) -> Pose:
        return replace(pose, position=quarter @ pose.position + shift, rotation=quarter @ pose.rotation)

    elsewhere = replace(
        facts,
        base=moved(facts.base),
        eef=moved(facts.eef),
        objects={name: moved(pose) for name, pose in facts.objects.items()},
        fixtures={name: moved(pose) for name, pose in facts.fixtures.items()},
        regions={name: replace(region, pose=moved(region.pose)) for name, region in facts.regions.items()},
    )
    assert describe(elsewhere) == describe(facts)


def test_nothing_tells_the_goal() -> None:
    facts = furnished()
    other = replace(facts, task_name="other", goal=(("on", "bin", "brick"),), satisfied=(True,), of_interest=("bin",))
    assert describe(facts) == describe(other)
    assert "target_object" not in describe(facts)


def test_order_of_dictionaries_does_not_matter() -> None:
    facts = furnished()
    turned = replace(
        facts,
        objects=dict(reversed(facts.objects.items())),
        regions=dict(reversed(facts.regions.items())),
    )
    assert describe(turned) == describe(facts)


def in_the_bin(facts: Facts) -> Facts:
    return replace(
        facts,
        objects={**facts.objects, "brick": upright(0.0, 0.2, 0.04)},
        contacts=frozenset({frozenset({"brick", "bin"}), frozenset({"robot", "brick"}), frozenset({"bin", "world"})}),
    )


def test_relations() -> None:
    assert relations(furnished()) == []
    assert relations(in_the_bin(furnished())) == [
        "brick rests on bin",
        "the hand touches brick",
        "brick is in bin_inside",
    ]
    beside = replace(furnished(), contacts=frozenset({frozenset({"brick", "bin"})}))
    assert relations(beside) == ["brick touches bin"]


def test_failure_in_words() -> None:
    before = furnished()
    joint = replace(before.joints["cabinet_slide"], position=-0.12)
    after = replace(in_the_bin(before), joints={"cabinet_slide": joint})
    words = explain_failure(before, after, Subgoal("place_beside", "brick", Beside("bin", "left")))
    assert words.splitlines() == [
        "The attempt to place_beside brick (target: the left of bin) did not succeed. What changed:",
        "- brick moved by (0.0, 30.0, 1.0) to (60.0, 20.0, 4.0)",
        "- cabinet_slide went from -5.0 cm to -12.0 cm",
        "- now: brick rests on bin",
        "- now: the hand touches brick",
        "- now: brick is in bin_inside",
        "The hand is at (50.0, 0.0, 25.0), its fingers are 8.0 cm apart.",
        "From brick to bin it is (0.0, 0.0, 1.2).",
    ]
    still = explain_failure(before, before, Subgoal("pick", "brick"))
    assert "- nothing but the hand" in still
    assert "From the hand to brick it is (10.0, -10.0, -22.0)." in still
    assert "From" not in explain_failure(before, before, Subgoal("open", "cabinet_drawer_region")).split("What")[1]
