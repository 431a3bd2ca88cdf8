"""What came of a movement, for whoever sets the weights of the next: measured while it ran, and told in words.

A person does this in Language Movement Primitives (arXiv:2602.02839): watches, says what went wrong, and the model
adjusts its weights. Here contacts and poses are read from the simulator (privileged), and nobody intervenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts
from hone.language.plan import Subgoal
from hone.language.scene_words import MOVED_CM, explain_failure, offset_words
from hone.primitives.lmp import LmpParameters
from hone.primitives.lmp_proposers import Movement
from hone.primitives.skills import EMPTY_WIDTH_M, OPEN, Skill

Primitive = Literal["reach", "carry", "push"]
ROBOT = "robot"


@dataclass(frozen=True)
class Attempt:
    """A movement that was tried as part of `subgoal`.

    `well`: it did what it should (what came after it need not have). `touched`: what hand or cargo touched on the way
    without being meant to, in that order. `before`, `after`: the facts when it began and ended.
    """

    primitive: Primitive
    subgoal: Subgoal
    movement: Movement
    parameters: LmpParameters
    well: bool
    touched: tuple[str, ...]
    before: Facts
    after: Facts

    @property
    def short(self) -> Float64[np.ndarray, " 3"]:
        """From where the hand stopped to the movement's goal (m, world frame)."""
        return self.movement.goal[:3] - self.after.eef.position

    def outcome(self, now: Facts) -> str:
        """In words: how the movement ended, and what is different `now` from when it began."""
        lines = [f"- on the way the {self._mover(name)} touched {name}" for name in self.touched]
        if self.well:
            lines.append("- the motion ended as it should; what came after it failed")
        elif 100 * float(np.linalg.norm(self.short)) > MOVED_CM:
            lines.append(f"- the hand stopped before its goal; it lacked {offset_words(now, self.short)}")
        elif self.primitive == "reach" and self.after.gripper_width_m < EMPTY_WIDTH_M:
            lines.append("- the hand reached its goal, and the fingers closed on nothing")
        else:
            lines.append("- the hand reached its goal")
        return "\n".join([explain_failure(self.before, now, self.subgoal), "How the motion went:", *lines])

    def _mover(self, name: str) -> str:
        return "open hand" if name == self.subgoal.thing else "hand or what it held"


@dataclass(frozen=True)
class Request:
    """What weights are asked for: `movement` as part of `subgoal`, in the scene `facts`, after `attempts` at it."""

    primitive: Primitive
    subgoal: Subgoal
    facts: Facts
    movement: Movement
    attempts: Sequence[Attempt] = ()


@dataclass
class Touches:
    """What is touched by `movers` that was not when it began; the hand may touch `thing` once it closes."""

    facts: Facts
    primitive: Primitive
    thing: str
    names: list[str] = field(default_factory=list)

    def look(self, facts: Facts, gripper: float) -> None:
        movers = {ROBOT} if self.primitive == "reach" else {ROBOT, self.thing}
        for pair in facts.contacts - self.facts.contacts:
            if pair == {ROBOT, self.thing}:
                others = {self.thing} if self.primitive == "reach" and gripper == OPEN else set()
            else:
                others = pair - movers if pair & movers else set()
            self.names += [name for name in sorted(others) if name not in self.names]


def watched(skill: Skill, touches: Touches) -> Skill:
    """The same skill; `touches` sees the facts after each of its commands."""
    try:
        command = next(skill)
        while True:
            facts = yield command
            touches.look(facts, float(command.action[6]))
            command = skill.send(facts)
    except StopIteration as end:
        return end.value
