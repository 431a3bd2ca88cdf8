"""Tokens and diffusion from one trunk, averaged where the tokens are sure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb
from hone.policies.heads.base import NO_HOOKS, ChunkSpace, Head, SamplingHooks, check_features, check_sample, mlp
from hone.policies.heads.bins import BinsHeadConfig
from hone.policies.heads.score import ScoreHeadConfig
from hone.policies.heads.tokens import from_bins


@dataclass(frozen=True)
class HybridHeadConfig:
    """Autoregressive bins and score diffusion over shared features, as an ensemble."""

    trunk_sizes: tuple[int, ...] = (512,)
    """Widths of the hidden layers of the shared trunk."""
    trunk_dim: int = 256
    """Features that it hands to both."""
    bins: int = 256
    """Levels per action dimension."""
    width: int = 256
    """Width of the recurrent network that writes the tokens."""
    hidden_sizes: tuple[int, ...] = (512, 512)
    """Widths of the denoiser's hidden layers."""
    steps: int = 6
    """Denoising steps."""
    draws: int = 1
    """Noises that the denoiser draws for each demonstrated chunk of a batch."""
    threshold: float = 0.96
    """Where the mean probability of the drawn tokens is above this, the chunk is the mean of both; else the
    denoiser's."""
    exploration: float = 0.1
    """Initial noise scale of the denoiser's steps, in action units. Tokens are drawn as learned (temperature 1)."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1 or self.trunk_dim < 1:
            raise HoneError(f"threshold is {self.threshold} and trunk_dim {self.trunk_dim}; use [0, 1] and at least 1.")

    def build(self, in_dim: int, space: ChunkSpace) -> HybridHead:
        return HybridHead(self, in_dim, space)


class HybridHead(Head):
    """HybridVLA (arXiv:2503.10631): one trunk learns both by the sum of their losses and answers with both.

    The sample is the tokens and then the denoiser's chain, flattened; `log_prob` has the terms of both, kind
    "surrogate" because of the chain. Tokens that were not sure enough have a density but no part in the chunk.

    Departures: the trunk is an MLP; the denoiser does not attend to the tokens.
    """

    practice = (0.05, 0.03)

    def __init__(self, config: HybridHeadConfig, in_dim: int, space: ChunkSpace) -> None:
        super().__init__(config.exploration)
        self.config = config
        self.space = space
        self.trunk = mlp(in_dim, config.trunk_sizes, config.trunk_dim, output_scale=1.0)
        self.writer = BinsHeadConfig(config.bins, config.width).build(config.trunk_dim, space)
        score = ScoreHeadConfig(config.hidden_sizes, config.steps, dropout=0.0, draws=config.draws)
        self.denoiser = score.build(config.trunk_dim, space)

    def shared(self, features: Features) -> Features:
        """What both see; also tells the denoiser the present exploration."""
        self.denoiser.exploration = self.exploration
        return replace(features, pooled=self.trunk(features.pooled))

    def loss(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        check_features(features)
        shared = self.shared(features)
        return self.writer.loss(shared, actions, mask) + self.denoiser.loss(shared, actions, mask, generator)

    def sample(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks = NO_HOOKS
    ) -> Candidates:
        """`before` and `during` reach the denoiser, `after` the ensemble."""
        check_features(features)
        shared = self.shared(features)
        written = self.writer.sample(shared, k, generators)
        denoised = self.denoiser.sample(shared, k, generators, replace(hooks, after=None))
        rows = shared[torch.arange(len(features)).repeat_interleave(k)]
        tokens = Candidate(written.chunks.flatten(0, 1), written.samples.flatten(0, 1))
        confidence = self.writer.log_prob(rows, tokens).terms.exp().mean(-1).unflatten(0, (len(features), k))
        sure = (confidence > self.config.threshold)[..., None, None]
        chunks = torch.where(sure, (written.chunks + denoised.chunks) / 2, denoised.chunks)
        sample = torch.cat([written.samples.to(chunks), denoised.samples.flatten(2)], dim=-1)
        candidates = Candidates(chunks, sample)
        return hooks.after(candidates, features) if hooks.after else candidates

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        length = math.prod(self.space.shape)
        chain = (self.config.steps + 1, length + 1)
        check_sample(candidate, (length + math.prod(chain),))
        shared = self.shared(features)
        tokens = candidate.sample[:, :length].long()
        path = candidate.sample[:, length:].unflatten(-1, chain)
        chunk = from_bins(tokens, self.space, self.config.bins).unflatten(-1, self.space.shape)
        parts = (
            self.writer.log_prob(shared, Candidate(chunk, tokens)),
            self.denoiser.log_prob(shared, Candidate(candidate.chunk, path)),
        )
        return LogProb(
            parts[0].total + parts[1].total,
            torch.cat([part.terms for part in parts], dim=1),
            torch.cat([part.mask for part in parts], dim=1),
            "surrogate",
        )

    def evaluations(self, samples: Shaped[Tensor, "B K ..."]) -> Int64[Tensor, "B K"]:
        """One per token and one per denoising step."""
        return (self.writer.length + self.config.steps) * super().evaluations(samples)
