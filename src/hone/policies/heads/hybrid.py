"""Tokens and diffusion from one trunk, averaged where the tokens are sure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb
from hone.policies.heads.base import NO_HOOKS, ChunkSpace, Head, Losses, SamplingHooks, check_sample, mlp
from hone.policies.heads.bins import BinsHeadConfig
from hone.policies.heads.score import Prediction, ScoreHeadConfig
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
    predicts: Prediction = "chunk"
    """What the denoiser's network says, see `ScoreHeadConfig`."""
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
        score = ScoreHeadConfig(
            config.hidden_sizes,
            config.steps,
            predicts=config.predicts,
            dropout=0.0,
            exploration=config.exploration,
            draws=config.draws,
        )
        self.denoiser = score.build(config.trunk_dim, space)

    @Head.exploration.setter
    def exploration(self, value: float) -> None:
        Head.exploration.__set__(self, value)
        self.denoiser.exploration = value

    def shared(self, features: Features) -> Features:
        """What both see."""
        return replace(features, pooled=self.trunk(features.pooled))

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        shared = self.shared(features)
        tokens = self.writer.losses(shared, actions, mask, generator)
        return Losses(tokens.values + self.denoiser.losses(shared, actions, mask, generator).values, mask)

    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        """`before` and `during` reach the denoiser."""
        shared = self.shared(features)
        written = self.writer.draw(shared, k, generators, NO_HOOKS)
        denoised = self.denoiser.draw(shared, k, generators, hooks)
        rows = shared[torch.arange(len(features)).repeat_interleave(k)]
        tokens = Candidate(written.chunks.flatten(0, 1), written.samples.flatten(0, 1))
        confidence = self.writer.log_prob(rows, tokens).terms.exp().mean(-1).unflatten(0, (len(features), k))
        sure = (confidence > self.config.threshold)[..., None, None]
        chunks = torch.where(sure, (written.chunks + denoised.chunks) / 2, denoised.chunks)
        sample = torch.cat([written.samples.to(chunks), denoised.samples.flatten(2)], dim=-1)
        return Candidates(chunks, sample)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        check_sample(candidate, (self.writer.length + math.prod(self.chain),))
        shared = self.shared(features)
        tokens, path = self.split(candidate.sample)
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

    @property
    def chain(self) -> tuple[int, int]:
        """Shape of the denoiser's sample."""
        return self.config.steps + 1, self.writer.length + 1

    def split(self, samples: Float[Tensor, "*B D"]) -> tuple[Int64[Tensor, "*B L"], Float[Tensor, "*B S E"]]:
        """The tokens and the chain that a sample is made of."""
        length = self.writer.length
        return samples[..., :length].long(), samples[..., length:].unflatten(-1, self.chain)

    def evaluations(self, samples: Float[Tensor, "B K D"]) -> Int64[Tensor, "B K"]:
        """Of both: one for each token, and the denoiser's."""
        tokens, chains = self.split(samples)
        return self.writer.evaluations(tokens) + self.denoiser.evaluations(chains)
