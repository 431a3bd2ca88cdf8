"""What a denoising decoder learns: a vector for every action of a noisy chunk, given the features (and a time)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from hone.errors import HoneError
from hone.policies.base import Features
from hone.policies.heads.base import ChunkSpace, mlp

TIME_FEATURES = 64
"""Width of the time embedding of `MLPField`."""


class Field(nn.Module, ABC):
    """A vector field over chunks. Rows are candidates: `N = B K`, flattened."""

    @abstractmethod
    def condition(self, features: Features) -> Features:
        """The part of the work that only the features need: once for all candidates and all steps."""

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "N H A"], time: Float[Tensor, " N"] | None, given: Features
    ) -> Float[Tensor, "N H A"]:
        """The field at `x` and `time` (`None` for a field without time), given `condition`'s rows."""


class MLPField(Field):
    """An MLP on the noisy chunk; the pooled features and the embedded time are added to its first layer."""

    def __init__(self, in_dim: int, space: ChunkSpace, hidden_sizes: Sequence[int], *, timed: bool) -> None:
        super().__init__()
        if not hidden_sizes:
            raise HoneError("a denoising head needs at least one hidden layer; give hidden_sizes.")
        width, size = hidden_sizes[0], space.length * space.action_dim
        self.chunk = nn.Linear(size, width)
        self.features = nn.Linear(in_dim, width, bias=False)
        self.time = nn.Linear(TIME_FEATURES, width, bias=False) if timed else None
        self.norm = nn.LayerNorm(width)
        self.trunk = mlp(width, hidden_sizes[1:], size, output_scale=1.0)

    def condition(self, features: Features) -> Features:
        return replace(features, pooled=self.features(features.pooled))

    def forward(
        self, x: Float[Tensor, "N H A"], time: Float[Tensor, " N"] | None, given: Features
    ) -> Float[Tensor, "N H A"]:
        hidden = self.chunk(x.flatten(1)) + given.pooled
        if self.time is not None:
            assert time is not None, "this field was built with a time"
            hidden = hidden + self.time(time_embedding(time, TIME_FEATURES))
        return self.trunk(functional.silu(self.norm(hidden))).unflatten(-1, x.shape[1:])


def time_embedding(time: Float[Tensor, " B"], width: int) -> Float[Tensor, "B D"]:
    """Sines and cosines of time in [0, 1], with periods from 4 down to 0.004."""
    periods = torch.logspace(math.log10(4), math.log10(4e-3), width // 2, device=time.device)
    angles = 2 * math.pi * time[:, None] / periods
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
