"""A scripted expert: carries a plan out, by picking each thing and putting it where it belongs.

Privileged: it sees object poses. For demonstrations its plan is the simulator's goal (`goal_plan`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts
from hone.errors import HoneError
from hone.language.plan import Plan, Subgoal, Verb
from hone.primitives.execution import carry_out
from hone.primitives.motions import Motions, TypedSkills
from hone.primitives.safety import Guard
from hone.primitives.skills import OPEN, Command

VERSION = "skills_v3"
"""Changes whenever the same scene would get other movements."""
ORDER = ("open", "turnon", "turnoff", "in", "on", "close")
"""What the expert can make true, in the order it does so; but what nothing is put into is closed first."""
VERB_OF: dict[str, Verb] = {
    "open": "open",
    "turnon": "turn_on",
    "turnoff": "turn_off",
    "in": "place_in",
    "on": "place_on",
    "close": "close",
}


@dataclass(frozen=True)
class Manner:
    """How a demonstration is given. The default is the machine's way: undisturbed and without a pause."""

    noise: float = 0.0
    """Standard deviation, in action units, of noise added to what the robot executes; 0.1 to 0.3 are usual. The labels
    stay the expert's corrections (DART, arXiv:1703.09327), so that a clone also learns from states off the path."""
    longest_rest: int = 0
    """Before the hand opens or closes it rests for up to this many control steps, as people do.

    A policy without memory cannot tell how long it has rested, so it learns to rest for ever with some probability.
    Demonstrations by people have such idle steps; OpenVLA (arXiv:2406.09246) filters them out of LIBERO's."""

    def __post_init__(self) -> None:
        if self.noise < 0 or self.longest_rest < 0:
            raise HoneError(f"{self}: neither number can be negative.")


class Expert:
    """One episode of the expert: `act(facts)` gives the command of the next control step, `None` when it has ended."""

    def __init__(
        self,
        rests: Sequence[int] = (),
        plan: Plan | None = None,
        motions: Motions | None = None,
        guard: Guard | None = None,
    ) -> None:
        """`rests`: control steps to stand still before the first, second, … time that the hand closes or opens.

        Without a `plan` it does what the simulator's goal asks for. `guard` keeps it within safety limits.
        """
        self._guard = guard or Guard()
        self._plan, self._motions = plan, motions or TypedSkills()
        self._commands: Generator[Command, Facts, bool] | None = None
        self._rests = list(rests)
        self._hand, self._resting = OPEN, 0
        self._next: Command | None = None

    def act(self, facts: Facts) -> Command | None:
        command = self._command(facts)
        if command is None:
            return None
        allowed = self._guard.allow(facts, command.action)
        return None if allowed is None else replace(command, action=allowed)

    def _command(self, facts: Facts) -> Command | None:
        if self._resting:
            self._resting -= 1
        else:
            self._next = self._think(facts)
            if self._next is not None and self._next.action[6] != self._hand and self._rests:
                self._resting = self._rests.pop(0)
        if self._resting:
            return Command(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, self._hand]))
        if self._next is not None:
            self._hand = float(self._next.action[6])
        return self._next

    def _think(self, facts: Facts) -> Command | None:
        try:
            if self._commands is None:
                self._commands = carry_out(facts, self._plan or goal_plan(facts), self._motions)
                return next(self._commands)
            return self._commands.send(facts)
        except StopIteration:
            return None


def goal_plan(facts: Facts) -> Plan:
    """The simulator's own goal as a plan: what language has to arrive at, and never looks at."""
    unsupported = [atom for atom in facts.goal if atom[0] not in ORDER]
    if unsupported:
        raise HoneError(
            f"the scripted expert cannot do {unsupported[0]} (task '{facts.task_name}'); it knows {', '.join(ORDER)}."
        )
    subgoals: list[Subgoal] = []
    targets = {atom[2] for atom in facts.goal if len(atom) == 3}
    filled = targets | {facts.regions[target].parent for target in targets if target in facts.regions}
    aloof = [atom for atom in facts.goal if atom[0] == "close" and atom[1] not in filled]
    for atom in sorted(facts.goal, key=lambda atom: -1 if atom in aloof else ORDER.index(atom[0])):
        if atom[0] in ("in", "on"):
            subgoals.append(Subgoal("pick", atom[1]))
        subgoals.append(Subgoal(VERB_OF[atom[0]], *atom[1:]))
    return Plan(facts.task_name, tuple(subgoals), "goal")


HAND_NOISE = (1.0, 1.0, 1.0, 0.3, 0.3, 0.3)
"""Shares of the noise that LIBERO's motion numbers bear: position in full, rotation less, the fingers none."""


def correlated_noise(
    previous: Float64[np.ndarray, " D"],
    scale: float,
    generator: np.random.Generator,
    correlation: float = 0.8,
    shares: Sequence[float] = HAND_NOISE,
) -> Float64[np.ndarray, " D"]:
    """The next value of an Ornstein-Uhlenbeck process on the first `D` numbers of an action.

    Its stationary standard deviation is `scale` (action units) times each number's share.
    """
    deviation = scale * np.array(shares)
    fresh = generator.normal(size=len(deviation)) * deviation
    return correlation * previous + np.sqrt(1.0 - correlation**2) * fresh
