"""A point on a line that succeeds when it reaches the goal: an `Environment` whose right answer is known."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from hone.envs.base import StepResult
from hone.policies.blackbox import BlackBoxPolicy
from hone.specs import Spec
from hone.types import Observation, Placement, Task

SPEC = Spec(cameras=(), action_dim=7)
GOAL, CAP = 3.0, 12
TASKS = tuple(Task("toy", i, f"task-{i}", f"go to the goal {i}") for i in range(2))


@dataclass(frozen=True)
class ToyConfig:
    """What happens to the worker that has placement 2: `trouble`, at the first step or look.

    With `once`, a file's name, it happens to the first such worker only, which creates the file.
    """

    trouble: Literal["crash", "kill", "stop", "crash in look", "hang in look"] | None = None
    once: str | None = None

    def build(self, num_slots: int) -> ToyEnvironment:
        return ToyEnvironment(self, num_slots)


class ToyEnvironment:
    """The position starts at placement index / 10; the first action number moves it. Placement 99 diverges."""

    spec = SPEC

    def __init__(self, config: ToyConfig, num_slots: int) -> None:
        self.config = config
        self.num_slots = num_slots
        self._position = np.zeros(num_slots)
        self._steps = np.zeros(num_slots, np.int32)
        self._task: dict[int, Task] = {}
        self._placement: dict[int, Placement] = {}

    def reset(self, slots: Sequence[int], tasks: Sequence[Task], placements: Sequence[Placement]) -> None:
        for slot, task, placement in zip(slots, tasks, placements, strict=True):
            self._position[slot] = placement.index / 10
            self._steps[slot] = 0
            self._task[slot], self._placement[slot] = task, placement

    def step(self, slots: Sequence[int], chunks: np.ndarray, *, stop_at_success: bool | None = None) -> StepResult:
        taken, reached = np.zeros(len(slots), np.int32), np.zeros(len(slots), bool)
        for row, slot in enumerate(slots):
            self._maybe("crash", "kill", "stop", slot=slot)
            for action in chunks[row]:
                if self._steps[slot] == CAP:
                    break
                self._position[slot] += float(action[0])
                self._steps[slot] += 1
                taken[row] += 1
                if self._position[slot] >= GOAL:
                    reached[row] = True
                    if stop_at_success is not False:
                        break
        diverged = np.array([self._placement[slot].index == 99 for slot in slots])
        reached &= ~diverged
        terminated = reached if stop_at_success is not False else np.zeros(len(slots), bool)
        truncated = (self._steps[list(slots)] == CAP) & ~terminated & ~diverged
        return StepResult(taken, reached, terminated, truncated, diverged)

    def observe(self, slots: Sequence[int]) -> Observation:
        for slot in slots:
            self._maybe("crash in look", "hang in look", slot=slot)
        proprio = np.zeros((len(slots), 8), np.float32)
        proprio[:, 0] = self._position[list(slots)]
        return Observation(proprio, tuple(self._task[slot].instruction for slot in slots))

    def hold(self, slots: Sequence[int], steps: int) -> list[bool]:
        return [True] * len(slots)

    def snapshot(self, slots: Sequence[int]) -> list[tuple[float, int, Task, Placement]]:
        return [
            (float(self._position[slot]), int(self._steps[slot]), self._task[slot], self._placement[slot])
            for slot in slots
        ]

    def restore(self, slots: Sequence[int], snapshots: Sequence[tuple[float, int, Task, Placement]]) -> None:
        for slot, (position, steps, task, placement) in zip(slots, snapshots, strict=True):
            self._position[slot], self._steps[slot] = position, steps
            self._task[slot], self._placement[slot] = task, placement

    def render(self, slots: Sequence[int], size: int | None = None) -> np.ndarray:
        return np.zeros((len(slots), 0, size or 84, size or 84, 3), np.uint8)

    def facts(self, slots: Sequence[int]) -> list[float]:
        return [float(self._position[slot]) for slot in slots]

    def close(self) -> None: ...

    def _maybe(self, *troubles: str, slot: int) -> None:
        trouble, once = self.config.trouble, self.config.once
        if trouble not in troubles or self._placement[slot].index != 2 or (once and Path(once).exists()):
            return
        if once is not None:
            Path(once).touch()
        if trouble == "hang in look":
            time.sleep(1000)
        elif trouble in ("kill", "stop"):
            os.kill(os.getpid(), signal.SIGKILL if trouble == "kill" else signal.SIGSTOP)
        else:
            os._exit(7)


def forward_policy(speed: float) -> BlackBoxPolicy:
    """Always moves forward by `speed`, in chunks of four."""
    return BlackBoxPolicy(partial(_forward, speed), 4, SPEC)


def _forward(speed: float, observation: Observation) -> np.ndarray:
    chunk = np.zeros((len(observation), 4, 7), np.float32)
    chunk[:, :, 0] = speed
    return chunk
