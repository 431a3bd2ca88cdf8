"""Registered gymnasium environments as a batched `Environment`: one of theirs behind each slot.

Gymnasium can neither save nor restore an environment. A snapshot is therefore the seed and every action since; it is
restored by doing the same again, and what is seen then must be the same, or the environment is not deterministic.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float32, UInt8

from hone.envs.base import StepResult
from hone.envs.registered.declaration import OFFICIAL_SEEDS, GymConfig
from hone.envs.registered.interface import make, pictures
from hone.envs.registered.reading import DRAWN, Key, leaves, vector
from hone.errors import HoneError
from hone.types import Observation, Placement, Task


@dataclass(frozen=True)
class View:
    """What an expert is shown: the environment and its last observation, both as gymnasium has them."""

    env: gymnasium.Env[Any, Any]
    observation: Any


@dataclass(frozen=True)
class GymSnapshot:
    """How a slot came to where it is."""

    task: Task
    placement: Placement
    actions: tuple[np.ndarray, ...]
    observation: Any


@dataclass
class _Slot:
    """An episode in progress."""

    env: gymnasium.Env[Any, Any]
    task: Task
    placement: Placement
    observation: Any
    instruction: str
    actions: list[np.ndarray] = field(default_factory=list)
    ended: bool = False
    over: bool = False
    """The environment itself can go no further."""
    success: bool = False
    """After the last step."""


class GymEnvironment:
    """`num_slots` episodes of the declared tasks. An environment that a slot leaves is kept for another."""

    def __init__(self, config: GymConfig, num_slots: int) -> None:
        config.check()
        self.config = config
        self.spec = config.spec
        self.num_slots = num_slots
        self._cap = config.cap(config.suite)
        self._slots: dict[int, _Slot] = {}
        self._idle: OrderedDict[int, tuple[Task, gymnasium.Env[Any, Any]]] = OrderedDict()

    def reset(self, slots: Sequence[int], tasks: Sequence[Task], placements: Sequence[Placement]) -> None:
        for index, task, placement in zip(slots, tasks, placements, strict=True):
            if not 0 <= index < self.num_slots:
                raise HoneError(f"slot {index} does not exist; this environment has slots 0-{self.num_slots - 1}.")
            self._open(index, task, placement)

    def step(
        self, slots: Sequence[int], chunks: Float32[np.ndarray, "n H A"], *, stop_at_success: bool | None = None
    ) -> StepResult:
        """Run the chunks. A slot that already ended takes no more steps; one given numbers that are not finite, or
        whose observation is no longer finite, counts as diverged."""
        stop = self.config.stop_at_success if stop_at_success is None else stop_at_success
        rows = [self._run(self._slots[index], chunk, stop) for index, chunk in zip(slots, chunks, strict=True)]
        steps, succeeded, diverged = (np.array(column) for column in zip(*rows, strict=True))
        terminated = succeeded & stop
        over = np.array([self._slots[index].ended for index in slots])
        return StepResult(
            steps=steps.astype(np.int32),
            succeeded=succeeded,
            terminated=terminated,
            truncated=over & ~terminated & ~diverged,
            diverged=diverged,
        )

    def hold(self, slots: Sequence[int], steps: int) -> list[bool]:
        """Stand still as declared (`idle`) and say whether success lasts."""
        for index in slots:
            for _ in range(steps):
                self._act(self._slots[index], np.array(self.config.idle, np.float32))
        return [self._slots[index].success for index in slots]

    def observe(self, slots: Sequence[int]) -> Observation:
        running = [self._slots[index] for index in slots]
        state = None
        if self.spec.state_tokens != "none":
            state = np.stack([vector(slot.observation, self.config.state) for slot in running])[:, None]
        return Observation(
            proprio=np.stack([vector(slot.observation, self.config.proprio) for slot in running]),
            instructions=tuple(slot.instruction for slot in running),
            images=self.render(slots) if self.spec.cameras else None,
            state=state,
        )

    def render(self, slots: Sequence[int], size: int | None = None) -> UInt8[np.ndarray, "n C H W 3"]:
        """The declared images; where none is declared, what the environment draws."""
        keys, size = self.config.images or (DRAWN,), size or self.config.image_size
        running = [self._slots[index] for index in slots]
        return np.stack([pictures(slot.env, slot.observation, keys, size) for slot in running])

    def snapshot(self, slots: Sequence[int]) -> list[GymSnapshot]:
        running = [self._slots[index] for index in slots]
        return [GymSnapshot(slot.task, slot.placement, tuple(slot.actions), slot.observation) for slot in running]

    def restore(self, slots: Sequence[int], snapshots: Sequence[GymSnapshot]) -> None:
        for index, snapshot in zip(slots, snapshots, strict=True):
            slot = self._open(index, snapshot.task, snapshot.placement)
            for action in snapshot.actions:
                self._act(slot, action)
            if not _same(slot.observation, snapshot.observation):
                raise HoneError(
                    f"'{self.config.id}' is not deterministic: the same seed and actions led elsewhere, so it cannot "
                    "go back to an earlier state, which search and branching need."
                )

    def facts(self, slots: Sequence[int]) -> list[Any]:
        self.config.require_facts("what was asked for")
        return []

    def views(self, slots: Sequence[int]) -> list[View]:
        """What an expert of the environment's own is shown."""
        return [View(self._slots[index].env, self._slots[index].observation) for index in slots]

    def close(self) -> None:
        for env in [slot.env for slot in self._slots.values()] + [env for _, env in self._idle.values()]:
            env.close()
        self._slots.clear()
        self._idle.clear()

    def _open(self, index: int, task: Task, placement: Placement) -> _Slot:
        """The slot at the start of an episode."""
        env = self._environment(index, task)
        seed = placement.index + (OFFICIAL_SEEDS if placement.kind == "official" else 0)
        try:
            observation, _ = env.reset(seed=seed)
        except Exception as error:
            raise self._fault("reset", error) from error
        instruction = task.instruction
        if self.config.instruction_key:
            instruction = str(Key(self.config.instruction_key).read(observation))
        self._slots[index] = _Slot(env, task, placement, observation, instruction)
        return self._slots[index]

    def _environment(self, index: int, task: Task) -> gymnasium.Env[Any, Any]:
        """One of this task: the slot's own, one that another slot left, or a new one."""
        last = self._slots.pop(index, None)
        if last is not None:
            if last.task == task:
                return last.env
            self._idle[id(last.env)] = (last.task, last.env)
        for key, (known, env) in self._idle.items():
            if known == task:
                del self._idle[key]
                return env
        while len(self._idle) > self.num_slots:
            _, (_, oldest) = self._idle.popitem(last=False)
            oldest.close()
        env = make(self.config.id, self.config.task_options(task), self.config.draws)
        if env.action_space.shape != self.config.interface.action_low.shape:
            raise HoneError(
                f"task '{task.name}' has actions {env.action_space}, the first task others; one policy cannot do both."
            )
        return env

    def _run(self, slot: _Slot, chunk: Float32[np.ndarray, "H A"], stop: bool) -> tuple[int, bool, bool]:
        """Steps taken, whether success was seen, whether it diverged."""
        if slot.ended:
            return 0, False, False
        if not np.isfinite(chunk).all():
            slot.ended = True
            return 0, False, True
        steps, succeeded = 0, False
        for action in self.config.to_environment_range(chunk):
            self._act(slot, action)
            steps += 1
            succeeded |= slot.success
            if not np.isfinite(vector(slot.observation, self.config.proprio + self.config.state)).all():
                slot.ended = True
                return steps, False, True
            slot.ended = slot.over or len(slot.actions) >= self._cap or (stop and slot.success)
            if slot.ended:
                break
        return steps, succeeded, False

    def _act(self, slot: _Slot, action: Float32[np.ndarray, " A"]) -> None:
        """One control step, with an action in the environment's own range."""
        if slot.over:
            return
        try:
            slot.observation, _, terminated, truncated, info = slot.env.step(action)
        except Exception as error:
            raise self._fault("step", error) from error
        slot.actions.append(action)
        slot.over = terminated or truncated
        if self.config.success == "terminated":
            slot.success = terminated
            return
        key = self.config.success.removeprefix("info:")
        if key not in info:
            raise HoneError(
                f"'{self.config.id}' does not tell success as '{key}'; its info has {', '.join(info) or 'nothing'}. "
                "Declare another with --env.success."
            )
        slot.success = bool(info[key])

    def _fault(self, where: str, error: Exception) -> HoneError:
        return HoneError(f"'{self.config.id}' failed in {where}: {type(error).__name__}: {error}")


def _same(first: Any, second: Any) -> bool:
    ours, theirs = leaves(first), leaves(second)
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours)
