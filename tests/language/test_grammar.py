"""The offline planner: syntax on all instructions, references on hand-made and on LIBERO's scenes, refusals."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from scenes import box, upright

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.facts import Facts, Joint, Region
from hone.envs.libero.suites import SUITES, task, tasks
from hone.language.grammar import decompose
from hone.language.paraphrase import paraphrase
from hone.language.plan import Beside, Plan, Refusal
from hone.language.syntax import parse
from hone.types import Placement

FLAT = (box((0.05, 0.05, 0.02), (0, 0, 0.02)),)
DRAWERS = {"top": 0.3, "middle": 0.2, "bottom": 0.1}


def kitchen() -> Facts:
    """Things on a table at z = 0, the robot's foot at x = -0.6: two black bowls, one beside the plate and one on the
    ramekin; mugs; a cabinet on the left with three drawers; a stove that can be turned on; two moka pots."""
    slides = {
        f"cabinet_1_{name}_level": Joint(
            "slide", 0.0, (-0.16, 0.01), np.array([0.0, 1, 0]), np.zeros(3), f"cabinet_1_{name}", "cabinet_1"
        )
        for name in DRAWERS
    }
    knob = Joint("hinge", 0.0, (0.0, 2.1), np.array([0.0, 0, 1]), np.zeros(3), "stove_1_button", "stove_1")
    drawers = {
        f"cabinet_1_{name}_region": Region(
            upright(0, -0.4, height), np.array([0.1, 0.1, 0.03]), "cabinet_1", f"cabinet_1_{name}_level"
        )
        for name, height in DRAWERS.items()
    }
    surfaces = {
        "cabinet_1_top_side": Region(upright(0, -0.4, 0.4), np.array([0.1, 0.1, 0.001]), "cabinet_1"),
        "stove_1_cook_region": Region(upright(-0.2, 0.3, 0.04), np.array([0.07, 0.07, 0.001]), "stove_1"),
        "table_plate_region": Region(upright(0, 0, 0), np.array([0.02, 0.02, 0.007]), None),
    }
    objects = {
        "akita_black_bowl_1": upright(0.0, 0.12, 0.0),
        "akita_black_bowl_2": upright(0.2, -0.1, 0.03),
        "glazed_rim_porcelain_ramekin_1": upright(0.2, -0.1, 0.0),
        "plate_1": upright(0.0, 0.0, 0.0),
        "porcelain_mug_1": upright(-0.2, -0.1, 0.0),
        "white_yellow_mug_1": upright(-0.2, 0.0, 0.0),
        "moka_pot_1": upright(0.0, 0.4, 0.0),
        "moka_pot_2": upright(0.15, 0.4, 0.0),
    }
    fixtures = {"cabinet_1": upright(0, -0.4, 0), "stove_1": upright(-0.2, 0.3, 0)}
    shapes = dict.fromkeys(objects, FLAT) | {
        "cabinet_1": (box((0.1, 0.1, 0.2), (0, 0, 0.2)),),
        "stove_1": (box((0.1, 0.1, 0.02), (0, 0, 0.02)),),
    }
    return Facts(
        task_name="",
        base=upright(-0.6, 0, 0),
        eef=upright(-0.1, 0, 0.3),
        gripper_width_m=0.08,
        hand_force_n=np.zeros(3),
        table_m=0.0,
        objects=objects,
        fixtures=fixtures,
        parts={},
        regions=drawers | surfaces,
        joints=slides | {"stove_1_button": knob},
        shapes=shapes,
        contacts=frozenset(),
        goal=(),
        satisfied=(),
        of_interest=(),
    )


class Sealed(Facts):
    """Facts whose goal cannot be looked at."""

    def __getattribute__(self, name: str) -> object:
        assert name not in ("goal", "satisfied", "of_interest", "task_name"), f"the planner read facts.{name}"
        return super().__getattribute__(name)


def sealed(facts: Facts) -> Facts:
    return Sealed(**{field.name: getattr(facts, field.name) for field in fields(Facts)})


def steps(plan: Plan) -> list[tuple[str, ...]]:
    """`("pick", "mug_1")`, `("place_on", "mug_1", "plate_1")`, `("place_beside", "mug_1", "plate_1", "left")`."""
    return [
        (subgoal.verb, subgoal.thing)
        + ((subgoal.target.anchor, subgoal.target.side) if isinstance(subgoal.target, Beside) else ())
        + ((subgoal.target,) if isinstance(subgoal.target, str) else ())
        for subgoal in plan.subgoals
    ]


def moved(thing: str, *target: str, verb: str = "place_on") -> list[tuple[str, ...]]:
    return [("pick", thing), (verb, thing, *target)]


def test_every_instruction_of_libero_is_read_to_the_last_word():
    sentences = [task.instruction for suite in SUITES for task in tasks(suite)]
    assert len(sentences) == 130
    for sentence in sentences:
        clauses = parse(sentence)
        words = " ".join(clause.said for clause in clauses).split()
        assert [word for word in sentence.split() if word != "and"] == [word for word in words if word != "and"]


def test_words_that_say_which_and_words_that_say_where():
    (clause,) = parse("stack the black bowl at the front on the black bowl in the middle")
    assert clause.objects[0].words == ("black", "bowl")
    assert [relation.kind for relation in clause.objects[0].relations] == ["front"]
    assert clause.place is not None
    assert clause.place.kind == "on"
    assert [relation.kind for relation in clause.place.anchors[0].relations] == ["middle"]
    (clause,) = parse("put the soup next to the plate in the middle drawer of the cabinet")
    assert [relation.kind for relation in clause.objects[0].relations] == ["near"]
    assert clause.place is not None
    assert clause.place.anchors[0].words == ("middle", "drawer")
    assert clause.place.anchors[0].whole is not None


BOWL, OTHER, MUG = "akita_black_bowl_1", "akita_black_bowl_2", "white_yellow_mug_1"
TOP = "cabinet_1_top_region"


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("pick up the black bowl next to the plate and place it on the stove", moved(BOWL, "stove_1_cook_region")),
        ("grab the bowl on the ramekin, then set it down on the plate", moved(OTHER, "plate_1")),
        ("put the bowl on the right on the plate", moved(BOWL, "plate_1")),
        ("put the front black bowl on top of the cabinet", moved(OTHER, "cabinet_1_top_side")),
        ("put the white mug in the top drawer", moved("porcelain_mug_1", TOP, verb="place_in")),
        ("put the yellow and white mug to the left of the plate", moved(MUG, "plate_1", "left", verb="place_beside")),
        ("put the cup between the plate and the stove behind the plate",
         moved(MUG, "plate_1", "back", verb="place_beside")),
        ("turn on the stove and put both moka pots on it", [
            ("turn_on", "stove_1"),
            *moved("moka_pot_1", "stove_1_cook_region"),
            *moved("moka_pot_2", "stove_1_cook_region"),
        ]),
        ("open the top drawer of the cabinet, put the white mug inside and close it", [
            ("open", TOP),
            *moved("porcelain_mug_1", TOP, verb="place_in"),
            ("close", TOP),
        ]),
        ("close the top drawer and put the white mug on top of it", [
            ("close", TOP),
            *moved("porcelain_mug_1", "cabinet_1_top_side"),
        ]),
        ("pick up the ramekin and the plate and put them on the stove", [
            *moved("glazed_rim_porcelain_ramekin_1", "stove_1_cook_region"),
            *moved("plate_1", "stove_1_cook_region"),
        ]),
        ("put the white mug on the plate and the ramekin on the cabinet", [
            *moved("porcelain_mug_1", "plate_1"),
            *moved("glazed_rim_porcelain_ramekin_1", "cabinet_1_top_side"),
        ]),
        ("stack the bowl on the right on the bowl on the left and place them on the plate", [
            *moved(OTHER, "plate_1"),  # the lower one first: the stack is built where it is to stand
            *moved(BOWL, OTHER),
        ]),
        ("push the plate to the front of the stove", [("push", "plate_1", "stove_1", "front")]),
        ("pick up the white mug", [("pick", "porcelain_mug_1")]),
    ],
)  # fmt: skip
def test_plans(sentence: str, expected: list[tuple[str, ...]]):
    assert steps(decompose(sentence, sealed(kitchen()))) == expected


@pytest.mark.parametrize(
    ("sentence", "reason", "says"),
    [
        ("", "unparsed", "empty"),
        ("do not open the top drawer", "unparsed", "'do not open the top drawer'"),
        ("only open the top drawer", "unparsed", "'only"),
        ("put the white mug upside down on the plate", "unparsed", "'upside'"),
        ("put the white mug on the plate without touching it", "unparsed", "at 'it'"),
        ("turn the stove on and off", "unparsed", "at its end"),
        ("put the plate next to the stove", "unparsed", "needs a place"),
        ("put it on the plate", "unparsed", "'it'"),
        ("close it", "unparsed", "'it'"),
        ("put the banana on the plate", "absent", "there is no 'banana' here; this scene has: akita black bowl"),
        ("put the white mug in the basket", "absent", "no 'basket'"),
        ("put the red mug on the plate", "absent", "no 'red mug'"),
        ("put the bowl on the stove on the plate", "absent", "no 'bowl' is on stove"),
        ("put the cabinet on the plate", "absent", "cannot be moved"),
        ("open the stove", "absent", "does not open"),
        ("turn on the cabinet", "absent", "does not turn on"),
        ("put the black bowl on the plate", "ambiguous", f"'{BOWL}' or '{OTHER}'"),
        ("open the drawer", "ambiguous", "top_region"),
        ("put the white mug in the cabinet", "ambiguous", "bottom_region"),
        ("put both plates on the stove", "ambiguous", "needs two; there are 1"),
    ],
)
def test_refusals(sentence: str, reason: str, says: str):
    with pytest.raises(Refusal, match=says) as refused:
        decompose(sentence, sealed(kitchen()))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("wish", "order"),
    [
        ("I need the top drawer to be open.", "open the top drawer"),
        ("Could I have the top drawer opened, please?", "open the top drawer"),
        ("what I want is the white mug on the plate", "put the white mug on the plate"),
        ("We'd like the white mug placed to the right of the plate", "place the white mug to the right of the plate"),
        ("the white mug belongs on the plate", "put the white mug on the plate"),
        ("the white mug is supposed to be on top of the cabinet", "put the white mug on top of the cabinet"),
        ("the stove should be turned on", "turn on the stove"),
        ("I require the stove off now", "turn off the stove"),
        ("would you mind putting the white mug on the plate?", "put the white mug on the plate"),
        ("find the white mug, then put it on the plate", "put the white mug on the plate"),
        ("Go to the stove. Then turn it on", "turn on the stove"),
    ],
)
def test_wishes_are_read_as_orders(wish: str, order: str):
    facts = sealed(kitchen())
    assert steps(decompose(wish, facts)) == steps(decompose(order, facts))


@pytest.mark.parametrize(
    "sentence",
    [
        "the top drawer is still closed",
        "the white mug is not on the plate",
        "was the white mug meant to be on the plate?",
        "the top drawer should not be open",
        "I do not need the top drawer open",
        "I need access to the top drawer",
        "can I have the white mug on the plate?",
        "I can't get the top drawer open",
        "would you mind not opening the top drawer",
        "if you can't open the top drawer",
        "I need the top drawer open and the stove off",
        "the white mug must stay on the plate",
        "find the white mug",
        "pick up the white mug, find the plate and put it on the stove",
    ],
)
def test_what_is_no_wish_is_not_acted_on(sentence: str):
    with pytest.raises(Refusal) as refused:
        decompose(sentence, sealed(kitchen()))
    assert refused.value.reason == "unparsed"


def test_what_is_out_of_reach_is_refused():
    facts = kitchen()
    far = replace(facts, objects={**facts.objects, "porcelain_mug_1": upright(0.5, 0, 0)})
    with pytest.raises(Refusal, match=r"1\.10 m from the robot's foot") as refused:
        decompose("put the white mug on the plate", far)
    assert refused.value.reason == "unreachable"


@pytest.mark.parametrize("level", [1, 2, 3])
def test_other_words_for_the_same(level: int):
    facts = kitchen()
    for sentence in (
        "pick up the black bowl next to the plate and place it on the stove",
        "open the top drawer of the cabinet and put the wine bottle inside",
        "turn on the stove and put both moka pots on it",
    ):
        objects = {**facts.objects, "wine_bottle_1": upright(-0.1, 0.2, 0)}
        here = replace(facts, objects=objects, shapes={**facts.shapes, "wine_bottle_1": FLAT})
        for seed in range(10):
            said = paraphrase(sentence, level, np.random.default_rng(seed))
            assert steps(decompose(said, here)) == steps(decompose(sentence, here)), said


CABINET, SHELF, TRAY = "wooden_cabinet_1", "wooden_two_layer_shelf_1", "wooden_tray_1_contain_region"


@pytest.mark.sim
@pytest.mark.parametrize(
    ("suite", "index", "expected"),
    [
        pytest.param("libero_spatial", 0, moved(BOWL, "plate_1"), id="between"),
        pytest.param("libero_spatial", 4, moved(BOWL, "plate_1"), id="in-the-drawer"),
        pytest.param("libero_90", 3, [
            *moved("butter_2", f"{CABINET}_top_region", verb="place_in"), ("close", f"{CABINET}_top_region"),
        ], id="at-the-back"),
        pytest.param("libero_spatial", 2, moved(BOWL, "plate_1"), id="table-center", marks=pytest.mark.slow),
        pytest.param("libero_90", 17, moved(OTHER, "akita_black_bowl_3"), id="middle-on-back", marks=pytest.mark.slow),
        pytest.param("libero_90", 42, moved("chefmate_8_frypan_1", f"{SHELF}_bottom_region", verb="place_in"),
                     id="under-the-shelf", marks=pytest.mark.slow),
        pytest.param("libero_90", 64, [
            *moved(BOWL, TRAY, verb="place_in"), *moved(OTHER, BOWL),
        ], id="stack", marks=pytest.mark.slow),
        pytest.param("libero_90", 86, moved("black_book_1", f"{SHELF}_top_region"),
                     id="book-in-the-middle", marks=pytest.mark.slow),
        pytest.param("libero_10", 5, moved("black_book_1", "desk_caddy_1_back_contain_region", verb="place_in"),
                     id="back-compartment", marks=pytest.mark.slow),
        pytest.param("libero_10", 9, [
            *moved("white_yellow_mug_1", "microwave_1_heating_region", verb="place_in"), ("close", "microwave_1"),
        ], id="microwave", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_references_in_libero(suite: str, index: int, expected: list[tuple[str, ...]]):
    chosen = task(suite, index)
    env = LiberoConfig(images=False, physics="fast").build(1)
    for placement in (0, 1):
        env.reset([0], [chosen], [Placement("official", placement)])
        assert steps(decompose(chosen.instruction, sealed(env.facts([0])[0]))) == expected
    env.close()
