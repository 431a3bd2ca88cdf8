"""A scripted expert: reads the goal and the scene from the facts, picks each thing and puts it where it belongs.

Privileged: it sees object poses. It makes demonstrations of pick-and-place tasks (goals of `in` and `on`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts
from hone.errors import HoneError
from hone.primitives.grasps import Grasp, GraspSearch, find_grasps, opening_yaw, point_cloud, unlike
from hone.primitives.skills import OPEN, Command, Skill, pick, place, scene_points, target_position

VERSION = "pick_place_v1"
"""Changes whenever the same scene would get other movements."""
ATTEMPTS = 4
"""Picks per thing before the expert gives up."""
SEARCHES = (GraspSearch(), GraspSearch(grid=0.005, yaws=24, margin=0.001))
"""The second, finer and tighter, only where the first finds nothing: a bowl between the walls of a drawer."""


@dataclass(frozen=True)
class Manner:
    """How a demonstration is given. The default is the machine's way: undisturbed and without a pause."""

    noise: float = 0.0
    """Standard deviation, in action units, of noise added to what the robot executes; 0.1 to 0.3 are usual. The labels
    stay the expert's corrections (DART, arXiv:1703.09327), so that a clone also learns from states off the path."""
    longest_rest: int = 0
    """Before the hand opens or closes it rests for a number of control steps drawn from 0 to this, as people do.

    A policy without memory cannot tell how long it has rested, so it learns to rest for ever with some probability.
    Demonstrations by people have such idle steps; OpenVLA (arXiv:2406.09246) filters them out of LIBERO's."""

    def __post_init__(self) -> None:
        if self.noise < 0 or self.longest_rest < 0:
            raise HoneError(f"{self}: neither number can be negative.")


class Expert:
    """One episode of the expert: `act(facts)` gives the command of the next control step, `None` when it has ended."""

    def __init__(self, longest_rest: int = 0, generator: np.random.Generator | None = None) -> None:
        self._commands: Generator[Command, Facts, bool] | None = None
        self._longest_rest = longest_rest
        self._generator = np.random.default_rng(0) if generator is None else generator
        self._hand, self._resting = OPEN, 0
        self._next: Command | None = None

    def act(self, facts: Facts) -> Command | None:
        if self._resting:
            self._resting -= 1
        else:
            self._next = self._think(facts)
            if self._next is not None and self._next.action[6] != self._hand:
                self._resting = int(self._generator.integers(self._longest_rest + 1))
        if self._resting:
            return Command(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, self._hand]))
        if self._next is not None:
            self._hand = float(self._next.action[6])
        return self._next

    def _think(self, facts: Facts) -> Command | None:
        try:
            if self._commands is None:
                self._commands = solve(facts)
                return next(self._commands)
            return self._commands.send(facts)
        except StopIteration:
            return None


def solve(facts: Facts) -> Generator[Command, Facts, bool]:
    """Reach the goal, one `in` or `on` after the other; returns whether every thing was put down."""
    unsupported = [atom for atom in facts.goal if atom[0] not in ("in", "on") or len(atom) != 3]
    if unsupported:
        raise HoneError(
            f"the scripted expert cannot do {unsupported[0]} (task '{facts.task_name}'): it picks and places, "
            "for goals of `in` and `on`."
        )
    done = True
    for row, (_, thing, target) in enumerate(facts.goal):
        if not facts.satisfied[row]:
            facts, placed = yield from _transfer(facts, thing, target)
            done &= placed
    return done


def _transfer(facts: Facts, thing: str, target: str) -> Skill:
    """Pick and place, trying another grasp when one fails."""
    tried: list[Grasp] = []
    for _ in range(ATTEMPTS):
        grasp = choose_grasp(facts, thing, target, tried)
        if grasp is None:
            return facts, False
        tried.append(grasp)
        facts, held = yield from pick(facts, grasp)
        if held:
            facts, placed = yield from place(facts, thing, target)
            if placed:
                return facts, True
    return facts, False


def choose_grasp(facts: Facts, thing: str, target: str, tried: list[Grasp]) -> Grasp | None:
    """The best grasp unlike those tried, by the coarse search or else the fine one."""
    pose = facts.objects[thing]
    cloud, others = point_cloud(facts.shapes[thing], pose), scene_points(facts, without=thing)
    for search in SEARCHES:
        grasps = find_grasps(
            cloud,
            pose.position,
            others,
            opening_yaw(facts.eef.rotation),
            facts.base.position,
            target_position(facts, target),
            search,
        )
        for grasp in unlike(grasps, tried):
            return grasp
    return None


def correlated_noise(
    previous: Float64[np.ndarray, " 6"], scale: float, generator: np.random.Generator, correlation: float = 0.8
) -> Float64[np.ndarray, " 6"]:
    """The next value of an Ornstein-Uhlenbeck process on the six motion numbers of an action.

    Stationary standard deviation `scale` (action units) on the position and 0.3 `scale` on the rotation.
    """
    deviation = scale * np.array([1.0, 1.0, 1.0, 0.3, 0.3, 0.3])
    fresh = generator.normal(size=6) * deviation
    return correlation * previous + np.sqrt(1.0 - correlation**2) * fresh
