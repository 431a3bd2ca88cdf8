"""Reinforcement learning on the initial noise of a decoder that stays as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb
from hone.policies.heads.base import Head, Losses, SamplingHooks, check_sample, mlp, row_noise
from hone.policies.heads.chain import ChainHead


class SteeredNoiseHead(Head):
    """A frozen chain, without noise in its steps, that starts where an actor says: `w ~ N(mu(o), exploration^2)`.

    The action of reinforcement learning is then `w` (DSRL, Wagenmaker et al. 2025, arXiv:2506.15799): its density is
    exact, and no weight of the decoder ever changes, so whatever the actor does, the chunk is one that the decoder
    makes. Before any learning the mean is the decoder's own greedy start. Departure: any policy gradient here, soft
    actor-critic with a distilled critic there.
    """

    practice = (0.5, 0.3)

    def __init__(self, decoder: Head, in_dim: int, *, hidden_sizes: Sequence[int] = (128,), exploration: float = 0.5):
        super().__init__(exploration)
        if not isinstance(decoder, ChainHead):
            raise HoneError(
                f"a {type(decoder).__name__} does not start from noise that could be steered; use the head "
                "flow, eqm or score."
            )
        self.decoder = decoder.requires_grad_(False)
        self.space = decoder.space
        self.actor = mlp(in_dim, hidden_sizes, math.prod(self.space.shape), output_scale=0.01)

    def mean(self, features: Features) -> Float[Tensor, "B H A"]:
        return self.decoder.greedy_start + self.actor(features.pooled).unflatten(-1, self.space.shape)

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        raise HoneError("this decoder is frozen and only its noise is steered; clone it before it is wrapped.")

    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        mean = self.mean(features)[:, None]
        starts = mean + self.exploration_scale * row_noise(
            generators, len(features), (k, *self.space.shape), mean.device
        )

        if hooks.before:
            starts = hooks.before(starts, features)

        def begin(noise: Tensor, features: Features) -> Tensor:
            noise[:, :, 0] = starts
            return noise

        decoded = self.decoder.draw(features, k, None, replace(hooks, before=begin))
        return Candidates(decoded.chunks, starts)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        check_sample(candidate, self.space.shape)
        normal = torch.distributions.Normal(self.mean(features), self.exploration_scale, validate_args=False)
        terms = normal.log_prob(candidate.sample).flatten(1)
        return LogProb(terms.sum(-1), terms, torch.ones_like(terms, dtype=torch.bool), "exact")

    def evaluations(self, samples: Shaped[Tensor, "B K ..."]) -> Int64[Tensor, "B K"]:
        """All steps of the decoder; whether a residual stopped it earlier is not kept."""
        return self.decoder.evaluations_per_step * self.decoder.steps * super().evaluations(samples)
