"""Which task of the benchmark a recording from elsewhere shows, and whether it starts where evaluations do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from hone.envs.libero import suites
from hone.errors import HoneError
from hone.types import Task

ROBOT_JOINTS = 9
"""Positions of arm and fingers, which come first in a simulation state."""
SAME_START = 1e-3
"""Metres (or radians) within which all objects stand as in an official initial state."""


def known_task(name: str, folders: Sequence[str] = ()) -> Task | None:
    """The task of this name, of a suite that one of `folders` is called after where there is one; else of any."""
    try:
        found = [task for suite in suites.SUITES for task in suites.tasks(suite) if task.name == name]
    except HoneError:  # hf-libero is not installed
        return None
    return next((task for task in found for folder in folders if folder.startswith(task.suite)), (found or [None])[0])


def starts_officially(task: Task, state: Float64[np.ndarray, " S"]) -> bool | None:
    """Whether a simulation state (time, positions, velocities) has all objects where an official initial state has
    them; `None` where the task is not the benchmark's, or its states are of another size.

    A state has more positions than velocities, so the first half of it holds positions only.
    """
    if task.suite not in suites.SUITES:
        return None
    official = suites.official_initial_states(task)
    if official.shape[1] != len(state):
        return None
    objects = slice(1 + ROBOT_JOINTS, (len(state) + 1) // 2)
    return bool((np.abs(official[:, objects] - state[objects]).max(axis=1) < SAME_START).any())
