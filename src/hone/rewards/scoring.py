"""How far an episode came by a reward program.

    Delta_k = 1 if milestone k was reached, else 1 - min(left) / left when its turn came      (0 before its turn)
    total   = sum_k w_k Delta_k / sum_k w_k

Agentic-VLA (arXiv:2605.22896) eq. 4 has Delta_k = C(o_start^k, o_end^k, g_k), the progress a critic sees between the
beginning and the end of a sub-goal. Here it is the share of the distance that was left when the milestone's turn came.
A milestone counts only once those before it were reached, at the same look or an earlier one. Departure: the last
milestone of a step completes the step, and success does not ask for the order, because an end state is what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64

from hone.envs.libero.facts import Facts
from hone.rewards.base import WitnessedTrajectory
from hone.rewards.predicates import DISTANCES, holds, left
from hone.rewards.program import RewardProgram

Weights = Float64[np.ndarray, " K"]


@dataclass(frozen=True)
class Sightings:
    """What was seen of `K` milestones at `L` looks: which held, and how much was left (infinite where not measured)."""

    done: Bool[np.ndarray, "L K"]
    left: Float64[np.ndarray, "L K"]


@runtime_checkable
class Detector(Protocol):
    """Whoever looks at an episode and says what of a program was true when. A learned critic fits here too."""

    def __call__(self, program: RewardProgram, trajectory: WitnessedTrajectory) -> Sightings: ...


@dataclass(frozen=True)
class Scored:
    """`reached[k]`: the look at which milestone k was reached, in order, or `None`. `progress[k]`: Delta_k in [0, 1].

    `total` is weighted by the program's own weights. `succeeded_at`: the first look at which all that must last held.
    `stages[l]`: how many milestones were reached by look l; `shares[l]`: progress towards the next one by then.
    """

    reached: tuple[int | None, ...]
    progress: tuple[float, ...]
    total: float
    succeeded_at: int | None
    stages: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def succeeded(self) -> bool:
        return self.succeeded_at is not None

    @property
    def stopped_at(self) -> int | None:
        """The first milestone that was not reached."""
        return self.reached.index(None) if None in self.reached else None

    def weighted(self, weights: Weights) -> float:
        return float(np.dot(weights, self.progress) / np.sum(weights))

    def collected(self, weights: Weights) -> Float64[np.ndarray, " L"]:
        """How much of `weighted` there was by each look: never falls, and ends with all of it."""
        each = np.append(weights, 0.0) / np.sum(weights)
        before = np.concatenate([[0.0], np.cumsum(each[:-1])])
        stages = np.array(self.stages)
        return before[stages] + each[stages] * np.array(self.shares)


def sight(program: RewardProgram, facts: Sequence[Facts]) -> Sightings:
    """What the facts themselves say."""
    start = facts[0]
    done = [[all(holds(term, now, start) for term in m.done) for m in program.milestones] for now in facts]
    distance = [
        [np.inf if m.progress is None else left(m.progress, now, start) for m in program.milestones] for now in facts
    ]
    return Sightings(np.array(done, bool), np.array(distance, np.float64))


def exact(program: RewardProgram, trajectory: WitnessedTrajectory) -> Sightings:
    """The detector that reads the facts and makes no errors of its own."""
    return sight(program, trajectory.facts)


def score(program: RewardProgram, facts: Sequence[Facts]) -> Scored:
    """The score of an episode of which these are the facts at each look, the last of them after the last step."""
    return score_sightings(program, sight(program, facts))


def score_sightings(program: RewardProgram, sightings: Sightings) -> Scored:
    milestones = program.milestones
    last_of_step = [
        max(k for k, other in enumerate(milestones) if other.step == milestone.step) for milestone in milestones
    ]
    reached: list[int | None] = [None] * len(milestones)
    turn = [0] * len(milestones)
    current = 0
    stages, shares = [], []
    for look, done in enumerate(sightings.done):
        while current < len(milestones) and (done[current] or done[last_of_step[current]]):
            reached[current] = look
            current += 1
            if current < len(milestones):
                turn[current] = look
        stages.append(current)
        shares.append(
            _share(program, sightings.left[turn[current] : look + 1, current], current)
            if current < len(milestones)
            else 0.0
        )
    progress = [1.0 if look is not None else 0.0 for look in reached]
    if current < len(milestones):
        progress[current] = shares[-1]
    lasting = np.array([milestone.lasting for milestone in milestones])
    succeeded = np.flatnonzero(sightings.done[:, lasting].all(axis=1))
    weights = np.array([milestone.weight for milestone in milestones])
    return Scored(
        tuple(reached),
        tuple(progress),
        float(np.dot(weights, progress) / weights.sum()),
        int(succeeded[0]) if len(succeeded) else None,
        tuple(stages),
        tuple(shares),
    )


def _share(program: RewardProgram, remaining: Float64[np.ndarray, " L"], k: int) -> float:
    """Share of what was left of milestone `k` when its turn came that was done away with at best; below 1."""
    term = program.milestones[k].progress
    if term is None or not np.isfinite(remaining[0]):
        return 0.0
    scale = max(float(remaining[0]), DISTANCES[term.name].smallest)
    return float(np.clip((remaining[0] - remaining.min()) / scale, 0.0, 0.99))
