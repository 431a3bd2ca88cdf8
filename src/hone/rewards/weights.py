"""Adaptive weights: what is mastered counts less, what is not yet mastered counts more. Pure functions.

Agentic-VLA (arXiv:2605.22896), equations 2 and 3:

    c_k <- alpha c_k + (1 - alpha) 1[success at g_k]        alpha = 0.9, c_k(0) = 0
    w_k  = 1 - c_k

Departures: the indicator is averaged over all episodes of a round, so that the weights do not depend on their order and
stay the same for every group of an update; w_k has a floor and the weights are normalised, so that a mastered task's
rewards do not fade away; and they multiply the program's own weights, which a judge may set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from hone.rewards.program import Milestone, RewardProgram
from hone.rewards.scoring import Scored, Weights

Weighting = Literal["adaptive", "uniform", "fixed"]
"""`uniform` and `fixed` are controls: all milestones alike, or the program's own weights throughout."""


def updated_competence(competence: Weights, scored: Sequence[Scored], alpha: float) -> Weights:
    """Equation 2 after a round, in which the task's episodes scored like this. Unchanged where it was not run."""
    if not scored:
        return competence
    rates = np.mean([[look is not None for look in one.reached] for one in scored], axis=0)
    return alpha * competence + (1.0 - alpha) * rates


def milestone_weights(program: RewardProgram, competence: Weights, weighting: Weighting, floor: float) -> Weights:
    """Weights that sum to one (equation 3, with the floor)."""
    if weighting == "uniform":
        return np.full(len(program), 1.0 / len(program))
    own = np.array([milestone.weight for milestone in program.milestones])
    raw = own if weighting == "fixed" else own * np.maximum(1.0 - competence, floor)
    return raw / raw.sum()


def carried_over(old: RewardProgram, competence: Weights, new: RewardProgram) -> Float64[np.ndarray, " M"]:
    """Competence after a rewrite: a milestone that has kept its conditions keeps it, a new one begins at zero."""
    known = {_conditions(milestone): value for milestone, value in zip(old.milestones, competence, strict=True)}
    return np.array([known.get(_conditions(milestone), 0.0) for milestone in new.milestones])


def _conditions(milestone: Milestone) -> tuple[str, ...]:
    return tuple(term.words() for term in milestone.done)
