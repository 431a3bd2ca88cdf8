"""Parallel regression of the whole chunk, with a learned scale that makes it a distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb
from hone.policies.heads.base import ChunkSpace, Head, Losses, SamplingHooks, check_sample, mlp, row_noise


@dataclass(frozen=True)
class LaplaceHeadConfig:
    """One Laplace distribution per action of the chunk, median and scale from the features."""

    hidden_sizes: tuple[int, ...] = (512, 512, 512)
    """Widths of the hidden layers of the median's network."""
    scale_hidden_sizes: tuple[int, ...] = (128,)
    """The same for the network of the scale."""
    initial_scale: float = 0.1
    """Scale, in action units, before anything is learned."""
    min_scale: float = 0.01
    """Least scale; without it a chunk that is always right would have an infinite density."""
    exploration: float = 1.0
    """Factor on the learned scale: 1 samples from what was learned."""

    def __post_init__(self) -> None:
        if not 0 < self.min_scale < self.initial_scale:
            raise HoneError(
                f"min_scale {self.min_scale} must be positive and below initial_scale {self.initial_scale}."
            )

    def build(self, in_dim: int, space: ChunkSpace) -> LaplaceHead:
        return LaplaceHead(self, in_dim, space)


class LaplaceHead(Head):
    """All `H x A` actions at once and independently: `a ~ Laplace(mu, exploration b)`, `mu` and `b` from the features.

    The median learns by L1 regression of the parallel chunk (OpenVLA-OFT, arXiv:2502.19645). The scale learns by
    maximum likelihood from the errors that the median leaves, in a network of its own and behind a stopped gradient,
    so that the median is exactly that of the regression. `log_prob` is the density of the unclipped chunk, one term
    per action.
    """

    practice = (1.0, 0.5)

    def __init__(self, config: LaplaceHeadConfig, in_dim: int, space: ChunkSpace) -> None:
        super().__init__(config.exploration)
        self.config = config
        self.space = space
        outputs = space.length * space.action_dim
        self.median = mlp(in_dim, config.hidden_sizes, outputs, output_scale=0.1)
        self.raw_scale = mlp(in_dim, config.scale_hidden_sizes, outputs, output_scale=0.1)
        # softplus(offset) + min_scale = initial_scale
        self._offset = math.log(math.expm1(config.initial_scale - config.min_scale))

    def medians(self, features: Features) -> Float[Tensor, "B H A"]:
        return self.median(features.pooled).unflatten(-1, self.space.shape)

    def scales(self, pooled: Float[Tensor, "B P"]) -> Float[Tensor, "B H A"]:
        """The learned scale, before the factor `exploration`."""
        raw = self.raw_scale(pooled).unflatten(-1, self.space.shape)
        return self.config.min_scale + functional.softplus(raw + self._offset)

    def errors(
        self, features: Features, actions: Float[Tensor, "B H A"], generator: torch.Generator | None
    ) -> Float[Tensor, "B H A"]:
        """How far the medians are off; learning minimises their absolute values."""
        return self.medians(features) - actions

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        errors = self.errors(features, actions, generator).abs()
        scale = self.scales(features.pooled.detach())
        return Losses((errors + errors.detach() / scale + (2 * scale).log()).mean(-1), mask)

    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        median, scale = self.medians(features)[:, None], self.scales(features.pooled)[:, None]
        noise = row_noise(generators, len(features), (k, *self.space.shape), median.device)
        if hooks.before:
            noise = hooks.before(noise, features)
        chunks = median + self.exploration_scale * scale * laplace_noise(noise)
        if hooks.during:
            chunks = hooks.during(chunks, 1.0)
        return Candidates(self.space.clamp(chunks), chunks)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        check_sample(candidate, self.space.shape)
        scale = self.exploration_scale * self.scales(features.pooled)
        errors = (candidate.sample - self.medians(features)).abs()
        terms = (-errors / scale - (2 * scale).log()).flatten(1)
        return LogProb(terms.sum(-1), terms, torch.ones_like(terms, dtype=torch.bool), "exact")


def laplace_noise(normal: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """Standard-normal noise carried to standard Laplace noise with the same rank: `F_Laplace^-1(F_normal(z))`.

    For the magnitude, `P(|L| > m) = exp(-m)` and `P(|Z| > |z|) = 2 F_normal(-|z|)`.
    """
    return normal.sign() * -(math.log(2) + torch.special.log_ndtr(-normal.abs()))
