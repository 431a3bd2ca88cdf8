from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scenes import brick_and_bin
from test_scene_words import furnished
from witnessed import PLAN, expert_episode, idle_episode

from hone.envs.libero.facts import Pose
from hone.errors import HoneError
from hone.language.plan import Plan, Refusal, Subgoal
from hone.rewards.planned import from_plan
from hone.rewards.program import RewardProgram
from hone.rewards.scoring import score, sight

NAMES = ["reach brick", "grip brick", "lift brick", "carry brick over bin_inside"]
NAMES += ["put brick down at bin_inside", "let go of brick"]


def program() -> RewardProgram:
    return from_plan(PLAN, brick_and_bin())


def test_a_plan_becomes_milestones():
    assert [milestone.name for milestone in program().milestones] == NAMES
    assert [milestone.lasting for milestone in program().milestones] == [False] * 5 + [True]
    assert {milestone.step for milestone in program().milestones} == {0}


def test_the_expert_reaches_every_milestone_in_order():
    facts = expert_episode()
    scored = score(program(), facts)
    assert scored.succeeded
    assert scored.total == 1.0
    assert None not in scored.reached
    assert list(scored.reached) == sorted(scored.reached)  # type: ignore[type-var]
    assert scored.reached[0] > 0  # type: ignore[operator]


def test_the_total_never_falls_along_an_episode():
    facts = expert_episode()
    totals = [score(program(), facts[: end + 1]).total for end in range(len(facts))]
    assert totals[0] == 0.0
    assert totals == sorted(totals)
    assert len(set(totals)) > 6  # partial credit between the milestones


def test_doing_nothing_earns_nothing():
    scored = score(program(), idle_episode())
    assert (scored.total, scored.succeeded, scored.stopped_at) == (0.0, False, 0)


def test_a_slippery_brick_is_reached_and_not_held():
    scored = score(program(), expert_episode(slippery=True))
    assert scored.stopped_at == 1
    assert not scored.succeeded
    assert 0 < scored.total < 0.4


def test_a_later_milestone_does_not_count_before_its_turn():
    facts = list(expert_episode())
    over = [row for row, seen in enumerate(sight(program(), facts).done) if seen[3] and not seen[4]]
    scored = score(program(), [facts[0], *(facts[row] for row in over)])
    assert scored.reached[3] is not None
    jumped = [replace(facts[0], objects={**facts[0].objects, "brick": Pose(np.array([0.0, 0.2, 0.3]), np.eye(3))})] * 3
    assert score(program(), [facts[0], *jumped]).reached == (None,) * 6


def test_the_end_of_a_step_completes_it_however_it_came_about():
    facts = expert_episode()
    scored = score(program(), [facts[0], facts[-1]])  # nobody saw how
    assert scored.reached == (1,) * 6
    assert scored.succeeded


def test_what_is_in_the_hand_is_not_delivered():
    facts = expert_episode()
    held = replace(facts[-1], contacts=frozenset({frozenset(("brick", "robot"))}))
    assert not score(program(), [*facts[:-4], held]).succeeded


def test_goal_and_success_check_are_not_read():
    facts = [replace(f, goal=(), satisfied=()) for f in expert_episode()]
    assert score(program(), facts).succeeded


def test_drawers_are_opened_first_and_what_is_undone_need_not_last():
    facts = furnished()
    shut = replace(facts.joints["cabinet_slide"], position=0.0)
    facts = replace(facts, joints={"cabinet_slide": shut})
    put = (Subgoal("pick", "brick"), Subgoal("place_in", "brick", "cabinet_drawer_region"))
    plan = Plan("", (*put, Subgoal("close", "cabinet_drawer_region")), "told")
    milestones = from_plan(plan, facts).milestones
    assert [m.name for m in milestones if m.lasting] == ["let go of brick", "close cabinet_drawer_region"]
    assert "open cabinet_drawer_region" in [m.name for m in milestones]
    asked = from_plan(Plan("", (Subgoal("open", "cabinet_drawer_region"), *put), "told"), facts).milestones
    assert [m.name for m in asked].count("open cabinet_drawer_region") == 1
    assert [m.name for m in asked if m.lasting] == ["open cabinet_drawer_region", "let go of brick"]


def test_a_plan_of_another_scene_is_refused():
    with pytest.raises(Refusal, match="cannot pick 'mug'"):
        from_plan(Plan("", (Subgoal("pick", "mug"),), "told"), brick_and_bin())


def test_json_there_and_back():
    assert RewardProgram.from_json(json.loads(json.dumps(program().to_json()))) == program()


def changed(**milestone: Any) -> dict[str, Any]:
    data = program().to_json()
    data["milestones"][1] |= milestone
    return data


NEAR = {"what": "brick", "within_m": 0.03}
WRONG = {
    "no list": ({"milestones": None}, "needs 'milestones'"),
    "empty": ({"milestones": []}, "needs 1 to 32 milestones; this one has 0"),
    "nameless": (changed(name=" "), "milestone 2 has the name ' '"),
    "extra": (changed(code="import os"), "milestone 2 is"),
    "weightless": (changed(weight=0), r"\('grip brick'\) has the weight 0; expected more than 0"),
    "weight nan": (changed(weight=float("nan")), "has the weight nan"),
    "truth": (changed(weight=True), "has the weight True"),
    "step": (changed(step=-1), "has the step -1"),
    "gap": (changed(step=3), r"count 0, 1, 2, … along the milestones without a gap; they are \[0, 3, 0"),
    "lasting": (changed(lasting="yes"), "'lasting' 'yes'"),
    "nothing to do": (changed(done=[]), r"'done' \[\]; expected a list of 1 to 4"),
    "word": (changed(done=[{"name": "hand_neer", "args": NEAR}]), "Did you mean 'hand_near'"),
    "arguments": (changed(done=[{"name": "hand_near", "args": {"what": "brick"}}]), "expected what, within_m"),
    "bound": (changed(done=[{"name": "hand_near", "args": {**NEAR, "within_m": 3}}]), "a number from 0.001 to 0.3"),
    "kind": (changed(done=[{"name": "hand_near", "args": {**NEAR, "what": 1}}]), "what 1; expected the name of"),
    "progress": (changed(progress={"name": "gripped", "args": {"thing": "brick"}}), "unknown word 'gripped'"),
    "not a term": (changed(progress="rise"), "expected an object with 'name' and 'args'"),
    "endless": (
        {"milestones": [{**program().to_json()["milestones"][0], "lasting": False}]},
        "no milestone is 'lasting'",
    ),
    "version": ({**program().to_json(), "version": "new"}, "'version' is 'new'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_json_errors_say_what_is_wrong(wrong: str):
    data, says = WRONG[wrong]
    with pytest.raises(HoneError, match=says):
        RewardProgram.from_json(data)


def test_names_are_checked_against_the_scene():
    elsewhere = RewardProgram.from_json(changed(done=[{"name": "gripped", "args": {"thing": "mug"}}]))
    with pytest.raises(
        HoneError, match="milestone 'grip brick': 'gripped' has thing 'mug'; expected an object: bin, brick"
    ):
        elsewhere.check_grounded(brick_and_bin())
    hidden = RewardProgram.from_json(changed(done=[{"name": "opened", "args": {"joint": "bin"}}]))
    with pytest.raises(HoneError, match="there is none"):
        hidden.check_grounded(brick_and_bin())
