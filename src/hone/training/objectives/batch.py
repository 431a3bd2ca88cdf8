"""What a loss term sees of one step of behaviour cloning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from hone.policies.base import Features


@dataclass(frozen=True)
class CloningBatch:
    """The rows that the head has just learned from: features, demonstrated chunks, and which of their steps are real.

    `told(instructions)` gives the features of the same observations, under the same augmentation, as they would be if
    each row had been told something else. It runs the policy's encoder once more.
    """

    features: Features
    actions: Float[Tensor, "B H A"]
    mask: Bool[Tensor, "B H"]
    instructions: tuple[str, ...]
    told: Callable[[Sequence[str]], Features]
