from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_stub import Stub, chat_server, say
from scenes import brick_and_bin

from hone.language.llm import Client, LlmConfig
from hone.language.plan import Beside, Refusal, Subgoal
from hone.primitives.lmp import LmpConfig, LmpParameters
from hone.primitives.lmp_feedback import Attempt, Primitive, Request
from hone.primitives.lmp_llm import MOTION_SCHEMA, LlmMotion
from hone.primitives.lmp_proposers import Movement

ZERO: dict[str, Any] = {"weights": [[0.0] * 11 for _ in range(5)], "angle": 0.0, "height": 0.1}
PICK = Subgoal("pick", "brick")
PLACE = Subgoal("place_in", "brick", "bin_inside")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def motion(stub: Stub, folder: Path) -> LlmMotion:
    return LlmMotion(Client(LlmConfig("stub", folder / "run", stub.url, backoff_s=0.01)))


def request(primitive: Primitive = "reach", subgoal: Subgoal = PICK, attempts: tuple[Attempt, ...] = ()) -> Request:
    facts = brick_and_bin()
    start = np.array([*facts.eef.position, 0.0, 0.0])
    movement = Movement(start, np.array([0.0, -0.1, 0.03, 0.0, 1.0]), (), np.zeros((0, 3)), LmpConfig())
    return Request(primitive, subgoal, facts, movement, attempts)


def changed(where: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    answer: Any = copy.deepcopy(ZERO)
    inner = answer
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    return answer


def test_answer(tmp_path: Path) -> None:
    bent = changed(("weights", 2, 4), 0.9)
    with chat_server(say(bent)) as stub:
        answer = motion(stub, tmp_path)(request())
        assert answer.to_json() == bent
        assert stub.requests[0]["response_format"]["json_schema"]["schema"] == MOTION_SCHEMA


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (changed(("weights", 2, 4), 0.91), "weight 4 of row 'z' is 0.91; expected a number from -0.9 to 0.9"),
        (changed(("weights", 4, 0), "0"), "weight 0 of row 'gripper'"),
        (changed(("weights", 0, 0), True), "weight 0 of row 'x'"),
        (changed(("weights", 0, 0), 10**400), "weight 0 of row 'x'"),
        (changed(("weights", 1), [0.0] * 10), "row 'y' of 'weights' needs 11 numbers"),
        (changed(("weights",), [[0.0] * 11] * 4), "'weights' needs a row for each of x, y, z, yaw, gripper"),
        (changed(("weights",), None), "'weights' needs a row for each"),
        (changed(("angle",), 3.2), "'angle' is 3.2"),
        (changed(("height",), None), "'height' is None; expected a number from -0.1 to 0.5"),
    ],
)
def test_wrong_tables_are_told_what_is_wrong(wrong: Any, says: str, tmp_path: Path) -> None:
    with chat_server(say(wrong), say(ZERO)) as stub:
        assert motion(stub, tmp_path)(request()).height == 0.1
        assert says in stub.last_user_message()


def test_infinity_is_no_weight() -> None:
    for value in (float("inf"), float("nan")):
        with pytest.raises(Refusal, match="weight 10 of row 'yaw'"):
            LmpParameters.from_json(changed(("weights", 3, 10), value))


@pytest.mark.parametrize(
    ("primitive", "subgoal", "says"),
    [
        (
            "reach",
            PICK,
            "fingers on it at the end. The hand is at (50.0, 0.0, 25.0), its",
        ),
        ("carry", PLACE, "which holds brick, over bin_inside, where it will let go"),
        ("carry", PICK, "which holds brick, over another place"),
        ("push", Subgoal("push", "brick", Beside("bin", "left")), "will be slid to the left of bin"),
    ],
)
def test_prompt_says_what_moves_where(primitive: Any, subgoal: Subgoal, says: str, tmp_path: Path) -> None:
    with chat_server(say(ZERO)) as stub:
        motion(stub, tmp_path)(request(primitive, subgoal))
        assert says in stub.last_user_message()
        assert "its goal at (60.0, -10.0, 3.0)." in stub.last_user_message()


def test_another_form_is_not_asked_for(tmp_path: Path) -> None:
    asked = request()
    other = replace(asked, movement=replace(asked.movement, config=LmpConfig(num_bases=5)))
    with chat_server(say(ZERO)) as stub, pytest.raises(Refusal, match="11 weights per row, not 5"):
        motion(stub, tmp_path)(other)
    assert not stub.requests


def test_earlier_attempts_are_told_with_their_weights_and_outcome(tmp_path: Path) -> None:
    first = LmpParameters.from_json(changed(("weights", 2, 4), 0.3))
    asked, facts = request("carry", PLACE), brick_and_bin()
    attempt = Attempt("carry", PLACE, asked.movement, first, False, ("bin",), facts, facts)
    with chat_server(say(ZERO)) as stub:
        ask = motion(stub, tmp_path)
        ask(asked)
        ask(request("carry", PLACE, (attempt,)))
        message = stub.last_user_message()
        assert f"Attempt 1: {json.dumps(first.to_json())}\nThe attempt to place_in brick" in message
        assert "touched bin" in message
        assert len(stub.requests) == 2  # with a history it is another question
