"""What came of a movement, in numbers and words, and what rule and model make of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chat_stub import Stub, chat_server, late, say, send
from scenes import brick_and_bin, step

from hone.language.llm import Client, LlmConfig
from hone.language.plan import Plan, Subgoal
from hone.policies.scripted import Pilot
from hone.primitives.lmp import LmpConfig, LmpParameters
from hone.primitives.lmp_feedback import Attempt, Request, Touches
from hone.primitives.lmp_llm import LlmMotion
from hone.primitives.lmp_proposers import MARGIN_M, Cylinder, Movement
from hone.primitives.lmp_weights import ModelWeights, RuleWeights, Weigher, random_weights
from hone.primitives.motions import LmpMotions

PLACE = Subgoal("place_in", "brick", "bin_inside")
FREE = Movement(np.zeros(5), np.array([0.3, 0.0, 0.0, 0.0, 0.0]), (Cylinder(0.02, 0.0),), np.zeros((0, 3)), LmpConfig())


def attempt(**changes) -> Attempt:
    facts = brick_and_bin()
    first = Attempt("carry", PLACE, FREE, LmpParameters.zero(), False, (), facts, facts)
    return replace(first, **changes)


def test_notices_what_is_touched_on_the_way_and_was_not_before():
    facts = replace(brick_and_bin(), contacts=frozenset([frozenset(["brick", "world"])]))
    touching = frozenset([*facts.contacts, frozenset(["robot", "brick"]), frozenset(["bin", "brick"])])
    later = replace(facts, contacts=touching)
    carry, reach = Touches(facts, "carry", "brick"), Touches(facts, "reach", "brick")
    carry.look(later, 1.0)
    carry.look(later, 1.0)
    assert carry.names == ["bin"]
    reach.look(later, 1.0)
    assert reach.names == []
    reach.look(later, -1.0)
    assert reach.names == ["brick"]  # an open hand runs into what it is to take


def test_words_tell_how_the_motion_ended():
    facts = brick_and_bin()
    words = attempt(movement=replace(FREE, goal=np.array([0.1, 0.0, 0.25, 0.0, 0.0])), touched=("bin",)).outcome(facts)
    assert "did not succeed" in words
    assert "touched bin" in words
    assert "stopped before its goal; it lacked (20.0, 0.0, 0.0)" in words
    assert "what came after it failed" in attempt(well=True).outcome(facts)


def test_the_rule_keeps_away_from_what_was_touched_and_from_nothing_else():
    """A wall of 4 cm is cleared by 2 cm at first, by 4 cm after it was touched, and no wider if something else was."""
    wall = np.array([[0.15, y, 0.04] for y in np.linspace(-0.2, 0.2, 41)])
    facts = brick_and_bin(brick_x=0.15, brick_y=0.0)
    blocked = replace(FREE, columns=wall)
    rule = RuleWeights()
    clear = {}
    for touched in ((), ("brick",), ("brick", "brick"), ("bin",)):
        tried = tuple(attempt(touched=(name,)) for name in touched)
        clear[touched] = blocked.clearance(blocked.path(rule(Request("carry", PLACE, facts, blocked, tried))))
    assert MARGIN_M <= clear[()] == clear["bin",]
    assert clear["brick",] > clear[()]  # the brick is 6 cm high and in the same place
    assert clear["brick", "brick"] > clear["brick",]


def test_without_foresight_it_goes_straight_until_it_touched_something():
    facts, rule = brick_and_bin(brick_x=0.15, brick_y=0.0), RuleWeights(foresight=False)
    wall = np.array([[0.15, y, 0.04] for y in np.linspace(-0.2, 0.2, 41)])
    blocked = replace(FREE, columns=wall)
    assert not rule(Request("carry", PLACE, facts, blocked)).weights.any()
    told = rule(Request("carry", PLACE, facts, blocked, (attempt(touched=("brick",)),)))
    assert blocked.clearance(blocked.path(told)) > MARGIN_M


def test_the_rule_aims_beyond_a_goal_that_was_missed_by_a_little():
    short = np.array([0.008, -0.005, 0.012])
    facts = brick_and_bin()
    stopped = replace(facts, eef=replace(facts.eef, position=FREE.goal[:3] - short))
    again = RuleWeights()(Request("carry", PLACE, facts, FREE, (attempt(after=stopped),)))
    np.testing.assert_allclose(FREE.path(again)[-1, :3] - FREE.goal[:3], short, atol=2e-3)
    for reason in ({"touched": ("bin",)}, {"well": True}, {"after": facts}):
        kept = RuleWeights()(Request("carry", PLACE, facts, FREE, (attempt(**{"after": stopped, **reason}),)))
        assert not kept.weights[:2].any()


def test_chance_is_the_same_for_the_same_movement():
    one, same = random_weights(FREE), random_weights(FREE)
    np.testing.assert_array_equal(one.weights, same.weights)
    other = random_weights(replace(FREE, goal=FREE.goal + 0.01))
    assert not np.array_equal(one.weights, other.weights)


# The loop: a pilot whose brick slips, so that every reach fails and is asked for again.

GOOD = {"weights": [[0.0] * 11 for _ in range(4)] + [[-1.0 + 0.1] * 10 + [0.9]], "angle": 0.0, "height": 0.0}


@pytest.fixture
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def fly(weigh: Weigher, *, feedback: bool = True, slippery: bool = True, calls=lambda: 0) -> tuple[Pilot, LmpMotions]:
    motions = LmpMotions(weigh, feedback=feedback)
    plan = Plan("", (Subgoal("pick", "brick"), PLACE), "test")
    pilot, facts = Pilot(lambda instruction, facts: plan, motions, 1, calls=calls), brick_and_bin()
    for _ in range(600):
        facts = step(facts, pilot.act("", facts), slippery)
    return pilot, motions


def client(stub: Stub, folder: Path, deadline_s: float = 20.0) -> Client:
    return Client(
        LlmConfig("stub", folder / "run", stub.url, deadline_s=deadline_s, retries=1, backoff_s=0.01, tries=2)
    )


@pytest.mark.usefixtures("_own_cache")
def test_a_model_hears_what_failed_and_its_questions_are_counted(tmp_path: Path):
    with chat_server(say(GOOD)) as stub:
        asked = client(stub, tmp_path)
        pilot, motions = fly(ModelWeights(LlmMotion(asked)), calls=lambda: asked.calls)
        report = pilot.report()
        assert report["weights"] == "llm:stub"
        assert report["fallbacks"] == []
        assert report["adjusted"] == len(motions.attempts) - 1 > 0
        assert report["model_calls"] == len(stub.requests) > 1
        assert "Attempt" not in stub.requests[0]["messages"][1]["content"]
        last = stub.requests[-1]["messages"][1]["content"]
        assert f"Attempt 1: {json.dumps(LmpParameters.from_json(GOOD).to_json())}" in last
        assert "the fingers closed on nothing" in last
        assert len(report["movements"]) == len(motions.attempts)
        fly(ModelWeights(LlmMotion(client(stub, tmp_path))), feedback=False)
        assert "Attempt" not in stub.requests[-1]["messages"][1]["content"]


BAD = {**GOOD, "height": "high"}
ANSWERS = {
    "malformed": ((say("no idea"), say(BAD)), "no acceptable answer"),
    "late": ((late(0.6),), "no whole answer within 0.3 s"),
    "refused": ((say("", refusal="I will not move a robot."),), "declined: I will not"),
    "dies after one answer": ((say(GOOD), send(503, "gone")), "gave no answer: status 503"),
}


@pytest.mark.usefixtures("_own_cache")
@pytest.mark.parametrize("name", ANSWERS)
def test_where_the_model_fails_the_rule_stands_in_and_says_so(name: str, tmp_path: Path):
    script, why = ANSWERS[name]
    with chat_server(*script) as stub:
        pilot, motions = fly(
            ModelWeights(LlmMotion(client(stub, tmp_path, 0.3 if name == "late" else 20.0))), slippery=name != "refused"
        )
        fallbacks = pilot.report()["fallbacks"]
    assert why in fallbacks[0]
    answered = len(motions.attempts) - len(fallbacks)
    assert answered == (1 if name == "dies after one answer" else 0)
    assert pilot.report()["refusal"] is None
    if name != "malformed":  # who gave no answer is not asked again
        assert len(stub.requests) <= answered + 2
        assert all("not asked" in line for line in fallbacks[1:])
    if name == "refused":  # and the rule brings the brick home
        assert [a.primitive for a in motions.attempts] == ["reach", "carry"]
        assert all(a.well for a in motions.attempts)
