"""The nouns every room shares: tasks, placements, observations, episodes. Plain frozen data, NumPy only.

Axes: `B` batch, `T` environment step, `H` chunk position, `A` action, `P` proprioception, `C` camera, `M` object
token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

ACTION_DIM = 7
"""LIBERO's: end-effector position delta (3), rotation-vector delta (3), gripper (1), each in [-1, 1]."""
PROPRIO_DIM = 8
"""LIBERO's: end-effector position (m, 3), axis-angle (rad, 3), finger joints (m, 2)."""

ActionChunk = Float32[np.ndarray, "B H A"]
Status = Literal["success", "failure", "error"]
"""`error` is a fault of the machinery, counted apart; it is never a failure of the policy."""


@dataclass(frozen=True, order=True)
class Task:
    """One task of a benchmark suite. `name` is unique within the suite; `instruction` is what the policy is told."""

    suite: str
    index: int
    name: str
    instruction: str


@dataclass(frozen=True, order=True)
class Placement:
    """Where the objects stand when an episode starts.

    `official`: `index` is one of the benchmark's stored initial states, for evaluation only.
    `sampled`: `index` is a seed; the objects are placed freshly from the task's regions, for training and tuning.
    """

    kind: Literal["official", "sampled"]
    index: int


UNKNOWN_PLACEMENT = Placement("sampled", -1)
"""A recording from elsewhere does not say where its objects stood."""


@dataclass(frozen=True)
class Observation:
    """What a policy is conditioned on, for `B` environment slots.

    `state` (object poses) and `facts` (the typed truth about each slot's scene) are privileged: an image policy never
    sees them, and a result that used them says so.
    A `hint` is an extra sentence given to the policy during exploration, kept so that a likelihood can be recomputed.
    """

    proprio: Float32[np.ndarray, "B P"]
    instructions: tuple[str, ...]
    images: UInt8[np.ndarray, "B C H W 3"] | None = None
    state: Float32[np.ndarray, "B M F"] | None = None
    hints: tuple[str, ...] | None = None
    facts: tuple[Any, ...] | None = None

    def __len__(self) -> int:
        return len(self.instructions)

    def rows(self, index: slice | np.ndarray) -> Observation:
        """Some of the rows, in the order of `index`."""

        def part(array: Any) -> Any:
            return None if array is None else array[index]

        def entries(row: tuple[Any, ...] | None) -> Any:
            if row is None:
                return None
            return row[index] if isinstance(index, slice) else tuple(row[i] for i in index)

        return Observation(
            proprio=self.proprio[index],
            instructions=entries(self.instructions),
            images=part(self.images),
            state=part(self.state),
            hints=entries(self.hints),
            facts=entries(self.facts),
        )

    @staticmethod
    def cat(parts: Sequence[Observation]) -> Observation:
        """The rows of several observations, one after the other."""

        def join(arrays: Sequence[Any]) -> Any:
            return None if arrays[0] is None else np.concatenate(arrays)

        def entries(rows: Sequence[Any]) -> Any:
            return None if rows[0] is None else tuple(entry for row in rows for entry in row)

        return Observation(
            proprio=join([part.proprio for part in parts]),
            instructions=entries([part.instructions for part in parts]),
            images=join([part.images for part in parts]),
            state=join([part.state for part in parts]),
            hints=entries([part.hints for part in parts]),
            facts=entries([part.facts for part in parts]),
        )


@dataclass(frozen=True)
class Episode:
    """A recorded episode, one row per control step: what was seen before the step and what was then done.

    `actions` are the labels (what the demonstrator wanted); `executed` is what the robot was sent, which differs
    where noise was injected. `metadata` holds the seed, the protocol and who acted.
    """

    task: Task
    placement: Placement
    status: Status
    proprio: Float32[np.ndarray, "T P"]
    actions: Float32[np.ndarray, "T A"]
    executed: Float32[np.ndarray, "T A"]
    images: UInt8[np.ndarray, "T C H W 3"] | None = None
    state: Float32[np.ndarray, "T M F"] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def instruction(self) -> str:
        """What was asked for in this episode, where the environment says it anew each time; else the task's own."""
        return self.metadata.get("instruction", self.task.instruction)
