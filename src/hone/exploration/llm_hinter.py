"""Hints from a language model: it sees the scene in words, the plan and what was said, and answers with clauses.

Any server that speaks OpenAI's chat protocol will do (`hone.language.llm`). Its answer is checked against the
vocabulary; nonsense is sent back, and where only nonsense comes the caller gets a `Refusal` and goes on without hints.
A server that does not answer at all is not asked again.
"""

from __future__ import annotations

import logging
from typing import Any

from hone.envs.libero.facts import Facts
from hone.exploration.hinter import DT_S, History
from hone.exploration.phrases import MOTIONS, SEPARATOR, SIZES, VOCABULARY, check_phrase
from hone.language.llm import Client, Question
from hone.language.plan import Plan, Refusal
from hone.language.scene_words import describe, subgoal_words
from hone.primitives.skills import POSITION_SCALE_M, SPEED_GAIN

log = logging.getLogger(__name__)
SHOWN = 6
"""Earlier hints of the episode that the model is reminded of."""

SYSTEM = """\
You lead a robot arm with a two-finger hand by short phrases. After each phrase it moves for {seconds:.1f} seconds; then
you see the scene again. A phrase is a list of clauses from a fixed vocabulary: at most one for each kind of motion, and
exactly one about the gripper, which comes last. Or, if the robot needs no help now, an empty list.

Sizes: "a touch" is about {touch:.1f} cm, "slightly" {slightly:.1f} cm, no size word {plain:.1f} cm, "far" {far:.1f} cm
or more. "forward" is away from the robot (+x), "right" is +y, "raise" is +z.

Rules:
- To take a thing: move over it well above what is in between, come down only when the hand is within a centimetre of
  its middle, close the gripper when the fingertips are beside it, keep it closed, then raise.
- To put it down: move over the place, lower, open the gripper, raise.
- Say "stay" when the hand should not move.
- If attempts failed before, try another way: from the left, deeper, higher.
"""

HINT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "why": {"type": "string"},
        "clauses": {"type": "array", "items": {"type": "string", "enum": list(VOCABULARY)}, "maxItems": 7},
    },
    "required": ["why", "clauses"],
    "additionalProperties": False,
}


class LlmHinter:
    """Asks `client` at every look; `chunk_length` is the number of control steps that a phrase is for.

    `given_up`: the server did not answer, or the budget is spent; from then on there is nothing to say.
    """

    def __init__(self, client: Client, chunk_length: int = 8) -> None:
        self._client = client
        self.given_up = False
        unit_cm = 100 * POSITION_SCALE_M * SPEED_GAIN * DT_S * chunk_length  # for a mean action of one
        touch, slightly, plain, far = (unit_cm * MOTIONS[f"raise {size}".strip()][1] for size in SIZES)
        self._system = SYSTEM.format(seconds=DT_S * chunk_length, touch=touch, slightly=slightly, plain=plain, far=far)

    @property
    def calls(self) -> int:
        """Requests sent so far."""
        return self._client.calls

    def __call__(self, facts: Facts, plan: Plan, history: History) -> str | None:
        if self.given_up:
            return None
        steps = "\n".join(f"{number}. {subgoal_words(step)}" for number, step in enumerate(plan.subgoals, start=1))
        said = "\n".join(f"- {hint or 'nothing'}" for hint in history.said[-SHOWN:]) or "- nothing yet"
        tried = "\n".join(f"- {attempt}" for attempt in history.attempts) or "- none yet"
        user = (
            f"Scene:\n{describe(facts)}\n\nPlan:\n{steps}\n\nYour last phrases, oldest first:\n{said}\n\n"
            f"Attempts at this task that failed before: {history.failures}\n\n"
            f"The latest attempts, newest first:\n{tried}"
        )
        try:
            return self._client.ask(Question("hint", self._system, user, HINT_SCHEMA), _accept)
        except Refusal as refusal:
            if refusal.reason != "unanswered":
                raise
            self.given_up = True
            log.warning("the run goes on without hints: %s", refusal)
            return None


def _accept(answer: Any) -> str | None:
    clauses = answer.get("clauses") if isinstance(answer, dict) else None
    if not isinstance(clauses, list) or not all(isinstance(clause, str) for clause in clauses):
        raise Refusal("out_of_schema", "the answer needs 'clauses', a list of strings.")
    return check_phrase(SEPARATOR.join(clauses)) if clauses else None
