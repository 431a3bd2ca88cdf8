from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_stub import Stub, chat_server, say
from scenes import brick_and_bin
from test_scene_words import furnished

from hone.envs.libero.facts import Facts
from hone.language.llm import Client, LlmConfig
from hone.language.llm_planner import LlmDecomposer, plan_schema
from hone.language.plan import VERBS, Beside, Decomposer, Plan, Refusal, Subgoal

PICK = {"said": "take the brick", "verb": "pick", "thing": "brick", "target": None}
PLACE = {"said": "put it in the bin", "verb": "place_in", "thing": "brick", "target": "bin_inside"}
INSTRUCTION = "take the brick and put it in the bin"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def plan_of(*subgoals: dict[str, Any]) -> dict[str, Any]:
    return {"explanation": "as asked", "outcome": "plan", "subgoals": list(subgoals)}


def decompose(stub: Stub, folder: Path, facts: Facts, instruction: str = INSTRUCTION) -> Plan:
    decomposer = LlmDecomposer(Client(LlmConfig("stub", folder / "run", stub.url, backoff_s=0.01)))
    assert isinstance(decomposer, Decomposer)
    return decomposer(instruction, facts)


def test_plan(tmp_path: Path) -> None:
    with chat_server(say(plan_of(PICK, PLACE))) as stub:
        assert decompose(stub, tmp_path, brick_and_bin()) == Plan(
            INSTRUCTION,
            (
                Subgoal("pick", "brick", None, "take the brick"),
                Subgoal("place_in", "brick", "bin_inside", "put it in the bin"),
            ),
            "llm:stub",
        )
        assert f"Instruction: {INSTRUCTION}" in stub.last_user_message()


WRONG = {
    "no such thing": (plan_of({**PICK, "thing": "mug"}), "cannot pick 'mug'; this scene has bin, brick"),
    "no such place": (plan_of({**PLACE, "target": "shelf"}), "there is no 'shelf'"),
    "no such verb": (plan_of({**PICK, "verb": "throw"}), "has the verb 'throw'"),
    "opens a brick": (plan_of({**PICK, "verb": "open"}), "cannot open 'brick'"),
    "no target": (plan_of({**PLACE, "target": None}), "'place_in' needs a target"),
    "target too many": (plan_of({**PICK, "target": "bin"}), "'pick' has no target"),
    "bad side": (plan_of({**PLACE, "verb": "place_beside", "target": {"anchor": "bin", "side": "up"}}), "'side'"),
    "beside a name": (plan_of({**PLACE, "verb": "place_beside", "target": "bin"}), "needs 'anchor' and 'side'"),
    "in a side": (plan_of({**PLACE, "target": {"anchor": "bin", "side": "left"}}), "needs a name"),
    "into itself": (plan_of({**PLACE, "target": "brick"}), "'brick' cannot go to itself"),
    "beside itself": (
        plan_of({**PLACE, "verb": "place_beside", "target": {"anchor": "brick", "side": "left"}}),
        "cannot go to itself",
    ),
    "empty": (plan_of(), "at least one sub-goal"),
    "endless": (plan_of(*[PICK] * 21), "21 sub-goals are too many"),
    "no outcome": ({"subgoals": [PICK]}, "'outcome' must be 'plan'"),
    "odd outcome": ({"outcome": ["plan"], "subgoals": [PICK]}, "'outcome' must be 'plan'"),
    "odd sub-goals": ({"outcome": "plan", "subgoals": {"verb": "pick"}}, "a list with at least one"),
    "odd sub-goal": ({"outcome": "plan", "subgoals": ["pick the brick"]}, "expected an object"),
    "odd names": (plan_of({**PICK, "thing": ["brick"]}), "expected a name"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_plans_are_told_what_is_wrong(wrong: str, tmp_path: Path) -> None:
    answer, says = WRONG[wrong]
    with chat_server(say(answer), say(plan_of(PICK))) as stub:
        assert decompose(stub, tmp_path, furnished()).subgoals[0].verb == "pick"
        assert len(stub.requests) == 2
        assert says in stub.last_user_message()


def test_wrong_for_ever_ends_with_the_reason(tmp_path: Path) -> None:
    with chat_server(say(plan_of({**PICK, "thing": "mug"}))) as stub:
        with pytest.raises(Refusal, match="no acceptable answer in 3 tries: cannot pick 'mug'") as caught:
            decompose(stub, tmp_path, brick_and_bin())
        assert caught.value.reason == "absent"


@pytest.mark.parametrize("reason", ["absent", "ambiguous", "unparsed", "out_of_schema"])
def test_the_model_may_say_that_there_is_no_plan(reason: str, tmp_path: Path) -> None:
    answer = {"explanation": "there is\nno mug", "outcome": reason, "subgoals": []}
    with chat_server(say(answer)) as stub:
        for _ in range(2):  # the second time from the cache
            with pytest.raises(Refusal, match="llm:stub sees no plan: there is no mug") as caught:
                decompose(stub, tmp_path, brick_and_bin())
            assert caught.value.reason == reason
        assert len(stub.requests) == 1


def test_beside_and_doors(tmp_path: Path) -> None:
    open_it = {"said": "", "verb": "open", "thing": "cabinet_drawer_region", "target": None}
    beside = {**PLACE, "verb": "place_beside", "target": {"anchor": "bin", "side": "left"}}
    with chat_server(say(plan_of(open_it, beside, {**open_it, "verb": "close", "thing": "cabinet"}))) as stub:
        opened, placed, closed = decompose(stub, tmp_path, furnished()).subgoals
        assert opened.thing == "cabinet_drawer_region"
        assert placed.target == Beside("bin", "left")
        assert closed.thing == "cabinet"


def test_request_does_not_tell_the_goal(tmp_path: Path) -> None:
    facts = furnished()
    other = replace(facts, task_name="other", goal=(("on", "bin", "brick"),), satisfied=(True,), of_interest=("bin",))
    with chat_server(say(plan_of(PICK))) as stub:
        decompose(stub, tmp_path, facts)
        decompose(stub, tmp_path, other)
        assert len(stub.requests) == 1  # the same question: the second answer came from the cache
        assert "target_object" not in json.dumps(stub.requests)


def test_schema_has_the_names_of_the_scene_and_is_strict() -> None:
    schema = plan_schema(furnished())
    steps = schema["properties"]["subgoals"]["items"]["anyOf"]
    things = {
        verb: step["properties"]["thing"]["enum"] for step in steps for verb in step["properties"]["verb"]["enum"]
    }
    assert things["pick"] == things["push"] == ["bin", "brick"]
    assert things["turn_on"] == ["cabinet", "cabinet_drawer_region"]
    assert set(things) == set(VERBS)

    def check(part: Any) -> None:
        if isinstance(part, dict):
            if part.get("type") == "object":
                assert part["additionalProperties"] is False
                assert part["required"] == list(part["properties"])
            assert part.get("enum") != []
            assert part.get("anyOf") != []
            for inner in part.values():
                check(inner)
        elif isinstance(part, list):
            for inner in part:
                check(inner)

    check(schema)
    check(plan_schema(brick_and_bin()))  # without anything that opens: no empty list of names


@pytest.mark.parametrize(("instruction", "objects", "reason"), [("  ", True, "unparsed"), ("take it", False, "absent")])
def test_what_needs_no_model(instruction: str, objects: bool, reason: str, tmp_path: Path) -> None:
    facts = brick_and_bin() if objects else replace(brick_and_bin(), objects={})
    with chat_server(say(plan_of(PICK))) as stub:
        with pytest.raises(Refusal) as caught:
            decompose(stub, tmp_path, facts, instruction)
        assert caught.value.reason == reason
        assert not stub.requests
