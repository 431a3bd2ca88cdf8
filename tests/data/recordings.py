"""Made-up recordings that pass every check of an audit, for tests to spoil."""

from __future__ import annotations

import numpy as np

from hone.data.tracks import LOOK_SIDE, Recording, Track
from hone.types import Episode, Placement, Task

TASKS = ("pick up the milk", "open the drawer", "turn the knob")
PER_TASK = 6
RATE_HZ = 20.0


def track(number: int) -> Track:
    """An arm that follows its commands a step late along a way of its own, and closes its hand half-way.

    What it does has nothing to do with its task, with what it sees, or with where it is.
    """
    generator = np.random.default_rng(number)
    steps = int(generator.integers(60, 80))
    time = np.arange(steps)[:, None]
    periods, phases = generator.uniform(8, 30, (3, 6)), generator.uniform(0, 2 * np.pi, (3, 6))
    waves = np.sin(2 * np.pi * time[None] / periods[:, None] + phases[:, None])
    actions = np.zeros((steps, 7))
    actions[:, :6] = 0.3 * waves.sum(axis=0).clip(-3, 3)
    closing = int(generator.integers(15, 45))
    actions[:, 6] = np.where(time[:, 0] < closing, -1.0, 1.0)
    proprio = np.zeros((steps, 8))
    late = np.concatenate([np.zeros((2, 6)), actions[:-2, :6]])
    proprio[:, :6] = generator.normal(size=6) * 0.05 + 0.01 * np.cumsum(late, axis=0)
    proprio[:, 6] = np.interp(time[:, 0], [closing, closing + 6], [0.04, 0.01])
    proprio[:, 7] = -proprio[:, 6]
    return Track(
        number=number,
        instruction=TASKS[number % len(TASKS)],
        success=True,
        actions=actions,
        proprio=proprio,
        look=generator.integers(0, 255, (LOOK_SIDE, LOOK_SIDE, 3)).astype(np.uint8),
        objects=generator.normal(size=6) * 0.05,
        official=False,
    )


def tracks() -> list[Track]:
    return [track(number) for number in range(PER_TASK * len(TASKS))]


def recording(some: list[Track]) -> Recording:
    return Recording("made up", tuple(some), len(some), RATE_HZ)


def episode(number: int, side: int = 16) -> Episode:
    """The same as one of Hone's episodes."""
    made = track(number)
    assert made.proprio is not None
    generator = np.random.default_rng(number)
    picture = generator.integers(0, 255, (2, 4, 4, 3)).repeat(side // 4, axis=1).repeat(side // 4, axis=2)
    actions = made.actions.astype(np.float32)
    return Episode(
        task=Task("libero_x", number % len(TASKS), made.instruction.replace(" ", "_"), made.instruction),
        placement=Placement("sampled", number),
        status="success",
        proprio=made.proprio.astype(np.float32),
        actions=actions,
        executed=actions,
        images=np.broadcast_to(picture.astype(np.uint8), (len(made), 2, side, side, 3)).copy(),
        metadata={"number": number},
    )
