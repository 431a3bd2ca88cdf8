"""A small language of motion phrases: what the hand does in the next few control steps, in coarse words.

RT-H (arXiv:2403.01823) labels windows of a demonstration with phrases such as "move arm forward" and lets the policy
act given the phrase. Here a phrase is a list of clauses, "move slightly left, lower far, keep the gripper open": at
most one per axis of motion, in a fixed order, and always one about the gripper. Sides are those of
`hone.language.plan.Beside`: forward is away from the robot (+x), right is +y; turning left is counterclockwise, seen
from above.

Departure from RT-H, whose phrases name the main axes of a motion: a size in words is added ("a touch", "slightly",
none, "far"), because a hint is here the only thing that can lead the hand over a thing never demonstrated.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from hone.errors import HoneError
from hone.language.plan import Refusal

SEPARATOR = ", "
SIZES = ("a touch", "slightly", "", "far")
MOTION_EDGES = (0.02, 0.08, 0.20, 0.45)
"""Least mean action of each size. With chunks of 8 steps these are 0.25, 1, 2.4 and 5.5 cm."""
TURN_EDGES = (0.03, 0.06, 0.12, 0.24)
"""The same for turns: 2, 4, 8 and 17 degrees in 8 steps."""
AXES = (
    ("move {} back", "move {} forward", MOTION_EDGES),
    ("move {} left", "move {} right", MOTION_EDGES),
    ("lower {}", "raise {}", MOTION_EDGES),
    ("tilt {} right", "tilt {} left", TURN_EDGES),
    ("tilt {} back", "tilt {} forward", TURN_EDGES),
    ("turn {} right", "turn {} left", TURN_EDGES),
)
"""Of each motion number of an action: the clause where its mean is negative, where it is positive, and the sizes."""
TILTS = (3, 4)
STAY = "stay"
OPEN_NOW, CLOSE_NOW = "open the gripper", "close the gripper"
KEEP_OPEN, KEEP_CLOSED = "keep the gripper open", "keep the gripper closed"
GRIPPER = (OPEN_NOW, CLOSE_NOW, KEEP_OPEN, KEEP_CLOSED)


def _clause(template: str, size: str) -> str:
    return " ".join(template.format(size).split())


def _middles(edges: tuple[float, ...]) -> list[float]:
    """The mean action that stands for each size: the middle between its edges."""
    return [(low + high) / 2 for low, high in zip(edges, (*edges[1:], 1.5 * edges[-1]), strict=True)]


MOTIONS: dict[str, tuple[int, float]] = {
    _clause(template, size): (axis, sign * middle)
    for axis, (negative, positive, edges) in enumerate(AXES)
    for sign, template in ((-1.0, negative), (1.0, positive))
    for size, middle in zip(SIZES, _middles(edges), strict=True)
}
"""Of each clause about a motion: the axis, and the mean action that stands for it."""
VOCABULARY: tuple[str, ...] = (*MOTIONS, STAY, *GRIPPER)
"""Every clause there is."""


def phrase_of(actions: Float[np.ndarray, "n 7"]) -> str:
    """The phrase of a window of actions: the mean of each motion, and what the fingers are told to do."""
    if not len(actions):
        raise HoneError("an empty window of actions has no phrase.")
    was_closed, closed = bool(actions[0, 6] > 0), bool(actions[-1, 6] > 0)
    return say(actions[:, :6].mean(0), gripper_clause(was_closed, closed))


def gripper_clause(was_closed: bool, closed: bool) -> str:
    """What the fingers are told, given what they were told before."""
    if closed:
        return KEEP_CLOSED if was_closed else CLOSE_NOW
    return OPEN_NOW if was_closed else KEEP_OPEN


def say(motion: Float[np.ndarray, " 6"], gripper: str) -> str:
    """The phrase of a mean action (position and rotation deltas in action units) and a clause about the gripper."""
    moves = []
    for value, (negative, positive, edges) in zip(motion, AXES, strict=True):
        size = int(np.searchsorted(edges, abs(value), side="right")) - 1
        if size >= 0:
            moves.append(_clause(negative if value < 0 else positive, SIZES[size]))
    return SEPARATOR.join([*(moves or [STAY]), gripper])


def check_phrase(phrase: str) -> str:
    """The phrase itself, if its clauses are in the vocabulary and do not contradict each other; else `Refusal`."""
    clauses = phrase.split(SEPARATOR)
    for clause in clauses:
        if clause not in VOCABULARY:
            raise Refusal("out_of_schema", f"'{clause}' is no clause; known: {', '.join(VOCABULARY)}.")
    kinds = [_kind(clause) for clause in clauses]
    if len(set(kinds)) < len(kinds):
        raise Refusal("out_of_schema", f"'{phrase}' says two things about one motion; one clause for each.")
    if "gripper" not in kinds:
        known = ", ".join(GRIPPER)
        raise Refusal("out_of_schema", f"'{phrase}' does not say what the gripper does; add one of: {known}.")
    if STAY in kinds and len(kinds) > 2:
        raise Refusal("out_of_schema", f"'{phrase}' says to stay and to move; leave one out.")
    return phrase


def _kind(clause: str) -> str | int:
    """What a clause is about: the number of an axis, the gripper, or standing still."""
    if clause in MOTIONS:
        return MOTIONS[clause][0]
    return "gripper" if clause in GRIPPER else STAY


def random_phrase(generator: np.random.Generator) -> str:
    """A phrase whose clauses are drawn evenly; a tilt is left out with probability seven tenths, any other motion
    with one half."""
    clauses = []
    for axis, (negative, positive, _) in enumerate(AXES):
        if generator.random() < (0.3 if axis in TILTS else 0.5):
            template = (negative, positive)[generator.integers(2)]
            clauses.append(_clause(template, SIZES[generator.integers(len(SIZES))]))
    return SEPARATOR.join([*(clauses or [STAY]), GRIPPER[generator.integers(len(GRIPPER))]])


def relabel(actions: Float[np.ndarray, "T 7"], window: int) -> tuple[str, ...]:
    """For each step of a demonstration the phrase of its next `window` actions (fewer at the end)."""
    return tuple(phrase_of(actions[start : start + window]) for start in range(len(actions)))


def actions_of(phrase: str, steps: int) -> Float[np.ndarray, "n 7"]:
    """A steady motion of so many steps that the phrase describes, with the middle of each size.

    `phrase_of` gives the phrase back.
    """
    motion = np.zeros(6)
    clauses = check_phrase(phrase).split(SEPARATOR)
    for clause in clauses:
        if clause in MOTIONS:
            axis, value = MOTIONS[clause]
            motion[axis] = value
    return np.column_stack([np.tile(motion, (steps, 1)), fingers_of(phrase, steps)])


def fingers_of(phrase: str, steps: int) -> Float[np.ndarray, " n"]:
    """What the fingers are commanded while the phrase holds. Where they are to open or close now, all but the first
    step does (and a single step does): half-way open fingers that just let go would look like fingers that hold
    something, and who has no memory could not tell whether to let go or to leave."""
    clauses = phrase.split(SEPARATOR)
    was_closed = OPEN_NOW in clauses or KEEP_CLOSED in clauses
    closed = CLOSE_NOW in clauses or KEEP_CLOSED in clauses
    fingers = np.full(steps, 1.0 if closed else -1.0)
    if steps > 1:
        fingers[0] = 1.0 if was_closed else -1.0
    return fingers
