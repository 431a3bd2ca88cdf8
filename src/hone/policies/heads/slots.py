"""Parallel decoding: one slot of a transformer per number of the chunk, all of them read at once.

A vision-language model is given empty places after its prompt and one forward pass fills them (OpenVLA-OFT,
arXiv:2502.19645). `Features.tokens` are the hidden states of these `H A` slots, step by step and number by number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hone.policies.base import Candidate, Candidates, Features, LogProb
from hone.policies.heads.base import ChunkSpace, Head, Losses, SamplingHooks, check_sample, mlp, row_noise
from hone.policies.heads.laplace import laplace_noise
from hone.policies.heads.tokens import draw_tokens, token_log_prob


class SlotTokensHead(Head):
    """Every slot is one of the vocabulary's last `bins` words, counted down: word `vocabulary - 1 - b` stands for bin
    `b`, the middle of one of `bins - 1` equal parts of [-1, 1] (OpenVLA's tokens, arXiv:2406.09246, whose bins are cut
    at `bins` edges, so that the last word too stands for the highest part).

    Slots are independent given the features, so `log_prob` is exact, one term a slot, at the temperature `exploration`.
    `read` maps hidden states to logits: the language model's own output layer, which may have more words than the
    `vocabulary`.
    """

    practice = (1.0, 1.0)

    def __init__(self, read: nn.Module, vocabulary: int, space: ChunkSpace, bins: int, exploration: float) -> None:
        super().__init__(exploration)
        self.read = read
        self.vocabulary = vocabulary
        self.space = space
        self.bins = bins

    def logits(self, features: Features) -> Float[Tensor, "B S V"]:
        """Logits of the bins of each slot, lowest first."""
        words = self.read(features.tokens)[..., self.vocabulary - self.bins : self.vocabulary]
        return words.flip(-1).float() / self.exploration_scale

    def middles(self, bins: Tensor) -> Tensor:
        """The number that each bin stands for, in [-1, 1]."""
        return (2 * bins.clamp(max=self.bins - 2) + 1) / (self.bins - 1) - 1

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        bins = ((actions.flatten(1) + 1) / 2 * (self.bins - 1)).long().clamp(0, self.bins - 1)
        terms = token_log_prob(self.logits(features), bins).unflatten(1, self.space.shape)
        return Losses(-terms.mean(-1), mask)

    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        logits = self.logits(features)
        noise = row_noise(generators, len(features), (k, logits.shape[1]), logits.device)
        if hooks.before:
            noise = hooks.before(noise, features)
        bins = draw_tokens(logits[:, None].expand(-1, k, -1, -1), None if generators is None else noise)
        if hooks.during:
            bins = hooks.during(bins, 1.0)
        chunks = self.space.clamp(self.middles(bins).unflatten(-1, self.space.shape))
        return Candidates(chunks, bins)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        check_sample(candidate, (math.prod(self.space.shape),))
        terms = token_log_prob(self.logits(features), candidate.sample)
        return LogProb(terms.sum(-1), terms, torch.ones_like(terms, dtype=torch.bool), "exact")


class SlotRegressionHead(Head):
    """All numbers at once by regression: the slots of one step, side by side, through an MLP that all steps share.

    Trained by the L1 error, it is the median of a Laplace distribution whose scale is `exploration` (in normalised
    units): that is what a policy gradient needs and regression does not have. `log_prob` is exact, one term a number.
    """

    practice = (0.02, 0.01)

    def __init__(self, width: int, hidden_sizes: Sequence[int], space: ChunkSpace, exploration: float) -> None:
        super().__init__(exploration)
        self.space = space
        self.regression = mlp(space.action_dim * width, hidden_sizes, space.action_dim, output_scale=1.0)

    def medians(self, features: Features) -> Float[Tensor, "B H A"]:
        steps = features.tokens.float().unflatten(1, self.space.shape).flatten(2)
        return self.regression(steps)

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        return Losses((self.medians(features) - actions).abs().mean(-1), mask)

    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        medians = self.medians(features)[:, None]
        noise = row_noise(generators, len(features), (k, *self.space.shape), medians.device)
        if hooks.before:
            noise = hooks.before(noise, features)
        chunks = medians + self.exploration_scale * laplace_noise(noise)
        if hooks.during:
            chunks = hooks.during(chunks, 1.0)
        return Candidates(self.space.clamp(chunks), chunks)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        check_sample(candidate, self.space.shape)
        errors = (candidate.sample - self.medians(features)).abs()
        terms = (-errors / self.exploration_scale - (2 * self.exploration_scale).log()).flatten(1)
        return LogProb(terms.sum(-1), terms, torch.ones_like(terms, dtype=torch.bool), "exact")
