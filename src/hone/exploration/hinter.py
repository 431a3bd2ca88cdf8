"""Who gives hints: from the facts of a scene, a plan and what happened so far to one motion phrase, or to nothing.

`RuleHinter` is offline and deterministic. It is no expert: it sees boxes around things, aims at the middle of one or at
its rim, and says in the coarse words of `phrases.py` which way that is; how to move is the policy's business. It reads
privileged facts, so hints are for training only. `RandomHinter` is the control that knows the words and not the scene.
See docs/algorithms/exploration.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts
from hone.exploration.geometry import bounds, highest_on_the_way
from hone.exploration.holds import APPROACHES, ROOM_M, Approach, grip_on, least_rise
from hone.exploration.phrases import CLOSE_NOW, KEEP_CLOSED, OPEN_NOW, SEPARATOR, gripper_clause, random_phrase, say
from hone.exploration.shutting import shut
from hone.language.plan import Plan, Subgoal
from hone.primitives.conditions import is_enclosed, joint_of, reached
from hone.primitives.places import Share, place_for
from hone.primitives.skills import POSITION_SCALE_M, ROTATION_SCALE_RAD, SPEED_GAIN
from hone.seeding import numpy_generator

DT_S = 0.05
WIDE_OPEN_M = 0.07
OVER_M = 0.04
"""Between the fingertips, or what the hand holds, and what it passes over."""
NARROW_M = 0.03
"""How far from a place something is still under it."""
NEAR_M = 0.04
"""Where coming down begins: from here on the lower, the better centred."""
LEVEL_M = 0.012
"""How far above where it is to be the hand may still close, or let go."""
GENTLY_M = 0.008
"""How far it moves on while it does."""
STUCK_M = 0.025
"""This near, the fingers close where the hand was told to come down and does not get there."""
PATIENCE = 12
"""Looks after which another approach is tried."""
TURNED_RAD = 0.15
RISE = np.array([0.0, 0.0, 0.06])
STAY = np.zeros(3)
FASTEST = 0.85
"""Largest mean action, in action units, that is asked for."""


@dataclass(frozen=True)
class History:
    """What a hinter may remember: the episode's `seed`, what was `said` aloud in it so far, one entry per look, the
    phrases of what was `done`, how many attempts at the task lately went wrong (`failures`), and the latest `attempts`
    at it in words, newest first."""

    seed: int
    said: tuple[str | None, ...] = ()
    done: tuple[str, ...] = ()
    failures: int = 0
    attempts: tuple[str, ...] = ()


@runtime_checkable
class Hinter(Protocol):
    """A phrase for the next `chunk` of the policy, or `None` where there is nothing to say."""

    def __call__(self, facts: Facts, plan: Plan, history: History) -> str | None: ...


@dataclass(frozen=True)
class RuleHinter:
    """Compares the hand with the plan's first sub-goal that does not hold yet. Knows to pick, place and shut a drawer.

    Where attempts at the task failed before, each episode draws one of the `APPROACHES` from its seed. The next one in
    the list follows each time its fingers closed on nothing, and after `PATIENCE` looks.
    """

    chunk_length: int = 8
    """Control steps that a phrase is to describe: the policy's chunk."""

    def __call__(self, facts: Facts, plan: Plan, history: History) -> str | None:
        step = next_step(facts, plan)
        if step is None:
            return None
        if step.verb == "close":
            motion = shut(facts, joint_of(facts, step.thing))
            return self._say(motion.offset, motion.turn, closed=True, history=history)
        if not _in_hand(facts, step.thing, history):
            return self._take(facts, step.thing, history)
        if step.verb == "pick":
            return self._say(RISE, STAY, closed=True, history=history)
        return self._bring(facts, step, share_of(step, plan), history)

    def _take(self, facts: Facts, thing: str, history: History) -> str:
        if _fingers(history) == CLOSE_NOW:
            return self._say(STAY, STAY, closed=True, history=history)
        if facts.gripper_width_m < WIDE_OPEN_M:  # the fingers met nothing, or have just let go
            return self._say(RISE, STAY, closed=False, history=history)
        box = bounds(facts, thing)
        hold = grip_on(facts, thing, box, approach_of(history))
        offset = hold.place - facts.eef.position
        aside = float(np.linalg.norm(offset[:2]))
        stuck = _lowering(history) and float(np.linalg.norm(offset)) < STUCK_M
        if stuck or (aside < hold.room and abs(hold.turn) < TURNED_RAD and offset[2] > -LEVEL_M):
            return self._say(_gently(offset), STAY, closed=True, history=history)
        if aside < NEAR_M:
            over = box.high[2] + OVER_M - facts.eef.position[2]
            offset[2] = _funnel(aside, hold.room, offset[2], over)
        else:
            offset[2] = highest_on_the_way(facts, facts.eef.position, hold.place) + OVER_M - facts.eef.position[2]
        return self._say(offset, np.array([0.0, 0.0, hold.turn]), closed=False, history=history)

    def _bring(self, facts: Facts, step: Subgoal, share: Share | None, history: History) -> str:
        assert step.target is not None
        box, place = bounds(facts, step.thing), place_for(facts, step.thing, step.target, share)
        offset = place - facts.objects[step.thing].position
        aside = float(np.linalg.norm(offset[:2]))
        over = highest_on_the_way(facts, facts.eef.position, place, without=step.thing) + OVER_M - box.low[2]
        if aside < NEAR_M:
            under = highest_on_the_way(facts, place, place, NARROW_M, without=step.thing)
            down = under + 0.01 - box.low[2]
            down += least_rise(facts, facts.eef.position + np.append(offset[:2], down), without=step.thing)
            if aside < ROOM_M and down > -LEVEL_M:
                offset[2] = down
                return self._say(_gently(offset), STAY, closed=False, history=history)
            offset[2] = _funnel(aside, ROOM_M, down, over)
        else:
            offset[2] = over
            if over > NEAR_M:  # up first
                offset[:2] *= 0.3
        return self._say(offset, STAY, closed=True, history=history)

    def _say(
        self,
        offset: Float64[np.ndarray, " 3"],
        turn: Float64[np.ndarray, " 3"],
        *,
        closed: bool,
        history: History,
    ) -> str:
        """The phrase of the mean action that would cover an offset (m) and a turn (rotation vector, rad) in one chunk,
        if one can, with the gripper to end `closed` or open."""
        reach = SPEED_GAIN * DT_S * self.chunk_length
        motion = np.zeros(6)
        motion[:3] = np.clip(offset / (reach * POSITION_SCALE_M), -FASTEST, FASTEST)
        motion[3:] = np.clip(turn / (reach * ROTATION_SCALE_RAD), -FASTEST, FASTEST)
        return say(motion, gripper_clause(_fingers(history) in (CLOSE_NOW, KEEP_CLOSED), closed))


@dataclass(frozen=True)
class RandomHinter:
    """A random phrase at every look, drawn from the episode's seed: the control that knows the words, not the scene."""

    def __call__(self, facts: Facts, plan: Plan, history: History) -> str | None:
        return random_phrase(numpy_generator(history.seed, "random hint", len(history.said)))


def next_step(facts: Facts, plan: Plan) -> Subgoal | None:
    """The first sub-goal that does not hold yet; a pick only where nothing is placed afterwards (placing includes it).

    `None` when all hold, and where there are no words for the next one.
    """
    placed = {subgoal.thing for subgoal in plan.subgoals if subgoal.verb.startswith("place")}
    for subgoal in plan.subgoals:
        if subgoal.verb == "pick" and subgoal.thing in placed:
            continue
        if not reached(facts, subgoal):
            return subgoal if speakable(facts, subgoal) else None
    return None


def speakable(facts: Facts, subgoal: Subgoal) -> bool:
    """There are words for how to do it."""
    if subgoal.verb == "close":
        return facts.joints[joint_of(facts, subgoal.thing)].kind == "slide"
    return (subgoal.verb == "pick" or subgoal.verb.startswith("place")) and not is_enclosed(facts, subgoal.target)


def share_of(step: Subgoal, plan: Plan) -> Share | None:
    """Which of the things it is that are to stand on one place; `None` where it is the only one."""
    sharing = [other.thing for other in plan.subgoals if (other.verb, other.target) == ("place_on", step.target)]
    return Share(sharing.index(step.thing), len(sharing)) if step.thing in sharing and len(sharing) > 1 else None


def approach_of(history: History) -> Approach:
    """How to take the thing this time.

    Where nothing is said aloud it is always the same one: a pupil who is to learn it cannot know what was tried before.
    """
    aloud = [hint for hint in history.said if hint is not None]
    if not aloud:
        return APPROACHES[history.seed % len(APPROACHES) if history.failures else 0]
    here = aloud[_last(aloud, _lets_go) + 1 :]
    missed = sum(OPEN_NOW in hint for hint in here)
    waited = len(here) - 1 - _last(here, lambda hint: OPEN_NOW in hint or CLOSE_NOW in hint)
    first = history.seed % len(APPROACHES) if history.failures else 0
    return APPROACHES[(first + missed + waited // PATIENCE) % len(APPROACHES)]


def _last(hints: Sequence[str], fits: Callable[[str], bool]) -> int:
    """Where the last one is that fits; -1 where none does."""
    return max((i for i, hint in enumerate(hints) if fits(hint)), default=-1)


def _lets_go(hint: str) -> bool:
    """Of what was brought: the fingers open, and the hand does not rise as it does when they met nothing."""
    return OPEN_NOW in hint and "raise far" not in hint


def _funnel(aside: float, room: float, down: float, over: float) -> float:
    """How far to go up or down: `down` where there is room, `over` at `NEAR_M`, and evenly in between.

    Not from one to the other at once: who learns it by regression would stop half-way and stay there.
    """
    share = float(np.clip((aside - room) / (NEAR_M - room), 0.0, 1.0))
    return down + share * (max(over, down) - down)


def _gently(offset: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, " 3"]:
    """The rest of the way while the fingers close or open: at most a little of it. Were they to wait for nothing else,
    the border of where they may begin would be a place to come to rest at for who learns it by regression."""
    return np.clip(offset, -GENTLY_M, GENTLY_M)


def _fingers(history: History) -> str | None:
    """What the fingers were last made to do."""
    return history.done[-1].split(SEPARATOR)[-1] if history.done else None


def _lowering(history: History) -> bool:
    """Whether the hand has twice in a row been made to come down."""
    return len(history.done) > 1 and all("lower" in phrase for phrase in history.done[-2:])


def _in_hand(facts: Facts, thing: str, history: History) -> bool:
    """The fingers are about the thing: they touch it, are not wide open, and were made to close."""
    touched = frozenset((thing, "robot")) in facts.contacts
    return touched and facts.gripper_width_m < 0.078 and _fingers(history) in (CLOSE_NOW, KEEP_CLOSED)
