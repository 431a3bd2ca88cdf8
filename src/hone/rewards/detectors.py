"""Detectors with known defects, to see how much of a result hangs on seeing well; and how well each one sees.

A defect depends only on its seed and the episode's, so an episode is seen alike whenever it is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hone.errors import HoneError
from hone.rewards.base import WitnessedTrajectory
from hone.rewards.program import RewardProgram
from hone.rewards.scoring import Detector, Scored, Sightings, exact
from hone.seeding import numpy_generator


@dataclass(frozen=True)
class Noisy:
    """With probability `flip` a milestone's verdict over a whole episode is turned round: what was seen at some look
    is missed at all of them, what was never seen is seen from a random look on."""

    flip: float
    seed: int
    inner: Detector = exact

    def __call__(self, program: RewardProgram, trajectory: WitnessedTrajectory) -> Sightings:
        seen = self.inner(program, trajectory)
        generator = numpy_generator(self.seed, "noisy detector", trajectory.request.seed)
        looks, milestones = seen.done.shape
        flipped = generator.random(milestones) < self.flip
        begin = generator.integers(looks, size=milestones)
        imagined = np.arange(looks)[:, None] >= begin
        turned = np.where(seen.done.any(axis=0), False, imagined)
        return replace(seen, done=np.where(flipped, turned, seen.done))


@dataclass(frozen=True)
class Delayed:
    """Sees everything `looks` looks late; at the end of an episode it has not seen the last of it."""

    looks: int
    inner: Detector = exact

    def __call__(self, program: RewardProgram, trajectory: WitnessedTrajectory) -> Sightings:
        seen = self.inner(program, trajectory)
        back = np.maximum(np.arange(len(seen.done)) - self.looks, 0)
        return Sightings(seen.done[back], seen.left[back])


@dataclass(frozen=True)
class Wrong:
    """Takes the last milestone of every step for reached as soon as the one `early` places before it is: with 1, a
    thing that was put down counts as let go of; with 3, a thing that is held counts as delivered. Can be hacked."""

    early: int
    inner: Detector = exact

    def __call__(self, program: RewardProgram, trajectory: WitnessedTrajectory) -> Sightings:
        seen = self.inner(program, trajectory)
        done = seen.done.copy()
        steps = [milestone.step for milestone in program.milestones]
        for step in set(steps):
            members = [k for k, other in enumerate(steps) if other == step]
            done[:, members[-1]] |= seen.done[:, members[max(len(members) - 1 - self.early, 0)]]
        return replace(seen, done=done)


@dataclass(frozen=True)
class DetectorConfig:
    """Which detector says what was reached."""

    kind: Literal["exact", "noisy", "delayed", "wrong"] = "exact"
    """`exact` reads the facts; the others do so badly, for ablations."""
    flip: float = 0.1
    """Noisy: probability that a milestone's verdict on an episode is turned round."""
    looks: int = 2
    """Delayed: by so many looks."""
    early: int = 3
    """Wrong: the end of a sub-goal is claimed when the milestone so many places before it is reached."""
    seed: int = 0
    """Noisy: its seed."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.flip <= 1.0:
            raise HoneError(f"detector.flip is {self.flip}; expected a probability.")
        if self.looks < 0 or self.early < 1:
            raise HoneError(f"detector.looks is {self.looks}, detector.early {self.early}; expected >= 0 and >= 1.")

    def build(self) -> Detector:
        kinds = {
            "exact": exact,
            "noisy": Noisy(self.flip, self.seed),
            "delayed": Delayed(self.looks),
            "wrong": Wrong(self.early),
        }
        return kinds[self.kind]


@dataclass(frozen=True)
class Quality:
    """How often what was claimed was true (precision), and how often what was true was claimed (recall)."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float | None:
        claimed = self.true_positives + self.false_positives
        return self.true_positives / claimed if claimed else None

    @property
    def recall(self) -> float | None:
        true = self.true_positives + self.false_negatives
        return self.true_positives / true if true else None


def quality(claimed: Sequence[bool], true: Sequence[bool]) -> Quality:
    pairs = [(bool(c), bool(t)) for c, t in zip(claimed, true, strict=True)]
    return Quality(*(pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))))


def milestone_quality(claimed: Sequence[Scored], true: Sequence[Scored]) -> list[Quality]:
    """Of each milestone of a program: a detector's verdicts beside those of the exact one."""
    count = len(true[0].reached) if true else 0
    return [
        quality([one.reached[k] is not None for one in claimed], [one.reached[k] is not None for one in true])
        for k in range(count)
    ]
