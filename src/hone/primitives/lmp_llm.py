"""Parameters of one motion from a language model, by the contract of Language Movement Primitives (LMP).

In LMP a model does not write a trajectory. The motion runs by itself from where the hand is to a goal beside a thing
(a dynamic movement primitive); the model bends it with a table of weights, and shifts the goal by a height and an
angle. The numbers in the prompt follow from the equations of LMP's published code, with zero weights as the reference
(five rows x, y, z, yaw, gripper; eleven basis functions over the phase; forcing term scaled by 20, 200, 10 and 2):
0.37 m of displacement per unit weight at rest; crossing times of the gripper row by integrating it with basis
functions that are steps of equal length.
"""

from __future__ import annotations

import json
from typing import Any

from hone.language.llm import Client, Question
from hone.language.plan import Refusal
from hone.language.scene_words import describe, point_words, subgoal_words, target_words
from hone.primitives.lmp import ANGLE_RANGE_RAD, HEIGHT_RANGE_M, LARGEST_WEIGHT, ROWS, LmpConfig, LmpParameters
from hone.primitives.lmp_feedback import Attempt, Primitive, Request

MOST_WEIGHT = float(min(LARGEST_WEIGHT))

SYSTEM = """\
You set the parameters of one motion of a robot arm with a two-finger hand. The hand moves from where it is to a goal
and arrives there by itself, smoothly and without overshoot, when all weights are zero. You answer with:

- `height`: metres that are added to the height of the goal. The goal already is where the fingers have to be.
- `angle`: radians that are added to the turn of the hand about the vertical at the goal, which already suits the thing.
- `weights`: five rows of eleven numbers from -0.9 to 0.9, rows x, y, z, yaw, gripper, columns along the motion: indices
  0 to 3 act early, 4 to 6 in the middle, 7 to 10 late.

Rules:
- Zero is the default for every weight. Use others only where a straight motion would hit something, where the order of
  movements matters, or where the instruction asks for it.
- A weight pushes the hand along its row while its column lasts: about 4 cm for each 0.1, where neighbouring columns
  have the same value. Single columns do less. x, y and z are those of the scene; to go over something, raise z early
  and in the middle.
- The push fades towards the end, but large late weights leave the hand off its goal: keep late weights of x, y, z and
  yaw small.
- Leave `angle` and the yaw row at zero unless the fingers must be turned to close across the narrow side of the thing.
- The gripper row says when the fingers act, not how far. When they close (reach) they should do so at the very end:
  with all zeros they close after 14 % of the motion, with -0.9 in indices 0 to 3 after 47 %, in 0 to 6 after 75 %, in
  0 to 8 after 93 %; with -0.9 in all of 0 to 10, never. Fingers that are to stay closed (carry, push) need zeros.
- Earlier attempts, if there are any, are listed with what came of them. Change their numbers in small steps and only
  where the outcome gives a reason; keep the rest.
"""

_MEANING: dict[Primitive, str] = {
    "reach": "REACH: move the open hand to {thing} and close the fingers on it at the end.",
    "carry": "CARRY: move the closed hand, which holds {thing}, over {target}, where it will let go.",
    "push": "PUSH: come with closed fingers to behind {thing}, from where it will be slid to {target}.",
}


class LlmMotion:
    """Asks `client` for the parameters of one motion."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def source(self) -> str:
        return self._client.config.source

    def __call__(self, request: Request) -> LmpParameters:
        """Raises `Refusal` as `Client.ask` does, and "out_of_schema" for a form with another number of weights."""
        bases = request.movement.config.num_bases
        if bases != LmpConfig().num_bases:
            raise Refusal(
                "out_of_schema", f"a model is asked for {LmpConfig().num_bases} weights per row, not {bases}."
            )
        user = "\n\n".join(
            [
                f"Scene:\n{describe(request.facts)}",
                f"Sub-goal: {subgoal_words(request.subgoal)}",
                f"Motion: {_motion_words(request)}",
                *(_attempt_words(number, a, request) for number, a in enumerate(request.attempts, start=1)),
            ]
        )
        return self._client.ask(Question("motion", SYSTEM, user, MOTION_SCHEMA), LmpParameters.from_json)


def _range(low: float, high: float) -> dict[str, Any]:
    return {"type": "number", "minimum": low, "maximum": high}


def _list_of(items: dict[str, Any], length: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": length, "maxItems": length}


MOTION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "weights": _list_of(_list_of(_range(-MOST_WEIGHT, MOST_WEIGHT), LmpConfig().num_bases), len(ROWS)),
        "angle": _range(*ANGLE_RANGE_RAD),
        "height": _range(*HEIGHT_RANGE_M),
    },
    "required": ["weights", "angle", "height"],
    "additionalProperties": False,
}


def _motion_words(request: Request) -> str:
    target = request.subgoal.target
    where = "another place" if target is None else target_words(target)
    meaning = _MEANING[request.primitive].format(thing=request.subgoal.thing, target=where)
    start, goal = (point_words(request.facts, end[:3]) for end in (request.movement.start, request.movement.goal))
    return f"{meaning} The hand is at {start}, its goal at {goal}."


def _attempt_words(number: int, attempt: Attempt, request: Request) -> str:
    return f"Attempt {number}: {json.dumps(attempt.parameters.to_json())}\n{attempt.outcome(request.facts)}"
