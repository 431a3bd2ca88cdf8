"""Who chooses the weights of a language movement primitive: nobody, chance, a rule, or a search.

A `Proposer` sees one `Movement` and answers the JSON contract's `LmpParameters`; a language model goes in the same
place. All judge a path by `clearance`. Privileged: the heights of what stands around come from the facts.

The hand and what it holds are upright cylinders about the grip site, each with a radius and a lowest point; what stands
around are columns with a top. A cylinder at p clears a column at q by the larger of |p - q| - radius, seen from above,
and the height of its lowest point above the top: negative where they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Float64

from hone.errors import HoneError
from hone.primitives.grasps import Points
from hone.primitives.lmp import LmpConfig, LmpParameters, State, Trajectory, responses, roll_out

ENDS_M = 0.015
"""Over its start and its goal, to within this distance, a movement may be as near to things as the grasp asks."""
MARGIN_M = 0.02
"""The clearance that rule and search ask for."""
CLOSING_SHARE = 0.92
"""An open hand closes at the very end, as the authors' rules ask for by default: its gripper weights are -1, and 1 in
the segments that end later than this: the last of 5 or 11, the last two of 20. (One of 20 is too short to close it.)"""
STEPS = (0.0, 0.2, 0.4, 0.6, 0.75, 0.9)
"""Weights that the rule tries."""
LATE_STEPS = (0.0, 0.2)
HOLD_BACK = (0.0, 0.3, 0.6, 0.9)
EVERY = 6
"""Rows of a trajectory between two that are judged (about 2 % of its duration)."""


@dataclass(frozen=True)
class Cylinder:
    """A part of the hand: `radius` (m) around the grip site, down to `bottom` (m, relative to it)."""

    radius: float
    bottom: float


@dataclass(frozen=True)
class Movement:
    """One movement whose weights are to be chosen. `columns` are the tops (m) of all that must not be touched."""

    start: State
    goal: State
    cylinders: tuple[Cylinder, ...]
    columns: Points
    config: LmpConfig

    def path(self, parameters: LmpParameters) -> Trajectory:
        """What the parameters make of it; never lower than the lower of its ends."""
        goal = self.goal + np.array([0.0, 0.0, parameters.height, parameters.angle, 0.0])
        path = roll_out(self.start, goal, parameters.weights, self.config)
        path[:, 2] = np.maximum(path[:, 2], min(self.start[2], goal[2]))
        return path

    def clearance(self, path: Trajectory) -> float:
        """Least distance (m) on the way between hand or cargo and anything; negative where they would collide."""
        places = path[::EVERY, :3]
        nearest = np.minimum(*(np.linalg.norm(places[:, :2] - end[:2], axis=1) for end in (self.start, self.goal)))
        places = places[nearest > ENDS_M]
        if len(places) == 0 or len(self.columns) == 0:
            return float("inf")
        x, y, above = (places[:, axis, None] - self.columns[:, axis] for axis in range(3))
        apart = np.sqrt(x**2 + y**2)
        return min(float(np.maximum(apart - c.radius, above + c.bottom).min()) for c in self.cylinders)

    def standing(self) -> LmpParameters:
        """Zero pose weights, and a gripper row that acts at the end if the hand is to close."""
        parameters = LmpParameters.zero(self.config)
        if self.goal[4] > self.start[4]:
            ends = np.arange(1, self.config.num_bases + 1) / self.config.num_bases
            parameters.weights[4] = np.where(ends > CLOSING_SHARE, 1.0, -1.0)
        return parameters


Proposer = Callable[[Movement], LmpParameters]


def goal_error(movement: Movement, path: Trajectory) -> float:
    """How far (m) from its goal the movement ends."""
    return float(np.linalg.norm(path[-1, :3] - movement.goal[:3]))


def jerk(path: Trajectory) -> float:
    """Root mean square of the third derivative of the position by the share of the duration (m)."""
    third = np.diff(path[::EVERY, :3], n=3, axis=0) * (len(path[::EVERY]) ** 3)
    return float(np.sqrt(np.mean(np.sum(third**2, axis=1))))


def zero_weights(movement: Movement) -> LmpParameters:
    """Straight to the goal."""
    return movement.standing()


@dataclass
class RandomWeights:
    """Uniform weights for x, y and z, up to 0.9."""

    generator: np.random.Generator

    def __call__(self, movement: Movement) -> LmpParameters:
        parameters = movement.standing()
        parameters.weights[:3] = self.generator.uniform(-0.9, 0.9, parameters.weights[:3].shape)
        return parameters


def rule_based_weights(movement: Movement, wary: Sequence[tuple[Points, float]] = ()) -> LmpParameters:
    """The smallest of a few patterns that clears everything by `MARGIN_M`; where none does, that which clears most.

    `wary`: columns that are to be cleared by a distance of their own (m).

    A pattern lifts the path (one z weight early, one in the middle, one late), and may hold it back early against its
    direction, so that it rises before it goes and comes down on the goal from above.
    """
    config, standing = movement.config, movement.standing()
    along = movement.goal[:2] - movement.start[:2]
    along = along / max(float(np.linalg.norm(along)), 1e-9)
    watched = [(movement, MARGIN_M), *((replace(movement, columns=columns), margin) for columns, margin in wary)]
    best, most = standing, -np.inf
    patterns = sorted(product(STEPS, STEPS, LATE_STEPS, HOLD_BACK), key=lambda p: (round(sum(p), 3), p[3], p[2]))
    straight, lift = movement.path(standing), responses(config)
    for early, middle, late, back in patterns:
        weights = standing.weights.copy()
        weights[2] = early * config.early + middle * config.middle + late * config.late
        weights[:2] = -np.outer(along, back * config.early)
        path = straight.copy()
        path[:, :3] += lift @ weights[:3].T
        spare = min(part.clearance(path) - margin for part, margin in watched)
        if spare > most:
            best, most = replace(standing, weights=weights), spare
        if spare >= 0:
            break
    return best


@dataclass(frozen=True)
class SearchedWeights:
    """The weights of x, y and z that CMA-ES (Hansen 2016, arXiv:1604.00772) finds, starting from the rule's.

    The cost (m) is 10 for each metre that is missing to the margin, plus the distance from the goal at the end, plus
    `smoothness` times the jerk and `small` times the mean squared weight. Needs the package `cmaes`.
    """

    seed: int = 0
    generations: int = 25
    population: int = 12
    smoothness: float = 1e-5
    small: float = 0.01

    def __call__(self, movement: Movement) -> LmpParameters:
        try:
            from cmaes import CMA  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise HoneError("searching weights needs the package cmaes: `pip install 'hone-vla[search]'`.") from error
        standing, start = movement.standing(), rule_based_weights(movement)
        straight, response = movement.path(standing), responses(movement.config)
        shape = start.weights[:3].shape
        bounds = np.tile([-0.9, 0.9], (start.weights[:3].size, 1))
        inside = np.clip(start.weights[:3].ravel(), -0.89, 0.89)
        search = CMA(inside, 0.2, bounds=bounds, seed=self.seed, population_size=self.population)

        def cost(flat: Float64[np.ndarray, " W"]) -> float:
            path = straight.copy()
            path[:, :3] += response @ flat.reshape(shape).T
            missing = max(0.0, MARGIN_M - movement.clearance(path))
            return (
                10 * missing
                + goal_error(movement, path)
                + self.smoothness * jerk(path)
                + self.small * float(np.mean(flat**2))
            )

        best, least = inside, cost(inside)
        for _ in range(self.generations):
            told = [(flat, cost(flat)) for flat in (search.ask() for _ in range(self.population))]
            search.tell(told)
            flat, value = min(told, key=lambda pair: pair[1])
            if value < least:
                best, least = flat, value
        weights = standing.weights.copy()
        weights[:3] = best.reshape(shape)
        return replace(standing, weights=weights)
