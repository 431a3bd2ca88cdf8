"""One token per action, written one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb
from hone.policies.heads.base import ChunkSpace, Head, Losses, SamplingHooks, check_sample, row_noise
from hone.policies.heads.tokens import TokenWriter, draw_tokens, from_bins, to_bins, token_log_prob


@dataclass(frozen=True)
class BinsHeadConfig:
    """Every action dimension in bins, written autoregressively."""

    bins: int = 256
    """Levels per action dimension, evenly spaced over the action range."""
    width: int = 256
    """Width of the recurrent network."""
    exploration: float = 1.0
    """Temperature: logits are divided by it. 1 samples from what was learned."""

    def __post_init__(self) -> None:
        if self.bins < 2 or self.width < 1:
            raise HoneError(f"bins is {self.bins} and width {self.width}; use at least 2 bins and a width of 1.")

    def build(self, in_dim: int, space: ChunkSpace) -> BinsHead:
        return BinsHead(self, in_dim, space)


class BinsHead(Head):
    """`p(chunk) = prod_i p(token_i | tokens before it, features)`, step by step and dimension by dimension (RT-2,
    arXiv:2307.15818; OpenVLA, arXiv:2406.09246), learned by cross-entropy.

    Departures: a gated recurrent unit in place of the language model; levels over the declared action range in place of
    quantiles, with a level at both ends, so that a closed gripper is exactly 1. `log_prob` is exact, one term per
    token, at the temperature `exploration`. Greedy: the likeliest token at every place.
    """

    practice = (1.0, 1.0)

    def __init__(self, config: BinsHeadConfig, in_dim: int, space: ChunkSpace) -> None:
        super().__init__(config.exploration)
        self.config = config
        self.space = space
        self.length = space.length * space.action_dim
        self.writer = TokenWriter(in_dim, config.bins, self.length, config.width)

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        tokens = to_bins(actions, self.space, self.config.bins)
        logits = self.writer.all(tokens.flatten(1), self.writer.condition(features))
        return Losses(-token_log_prob(logits, tokens.flatten(1)).unflatten(1, self.space.shape).mean(-1), mask)

    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        batch = len(features)
        noise = row_noise(generators, batch, (k, self.length), features.pooled.device)
        if hooks.before:
            noise = hooks.before(noise, features)
        given = self.writer.condition(features).repeat_interleave(k, 0)
        logits, state = self.writer.first(given)
        written: list[Int64[Tensor, " N"]] = []
        for index in range(self.length):
            if index > 0:
                logits, state = self.writer.next(written[-1], index, given, state)
            drawn = draw_tokens(
                logits / self.exploration_scale, None if generators is None else noise[:, :, index].flatten()
            )
            if hooks.during:
                drawn = hooks.during(drawn.unflatten(0, (batch, k)), (index + 1) / self.length).flatten()
            written.append(drawn)
        tokens = torch.stack(written, dim=1).unflatten(0, (batch, k))
        chunks = from_bins(tokens, self.space, self.config.bins).unflatten(-1, self.space.shape)
        return Candidates(chunks, tokens)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        check_sample(candidate, (self.length,))
        logits = self.writer.all(candidate.sample, self.writer.condition(features))
        terms = token_log_prob(logits / self.exploration_scale, candidate.sample)
        return LogProb(terms.sum(-1), terms, torch.ones_like(terms, dtype=torch.bool), "exact")

    def evaluations(self, samples: Int64[Tensor, "B K L"]) -> Int64[Tensor, "B K"]:
        """One per token."""
        return samples.new_full(samples.shape[:2], self.length)
