"""Masked discrete diffusion: all tokens start hidden, and a few rounds uncover the surest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb
from hone.policies.heads.base import ChunkSpace, Head, Losses, SamplingHooks, check_sample, required, row_noise
from hone.policies.heads.tokens import draw_tokens, from_bins, to_bins, token_log_prob

HIDDEN = -1
"""Where a token is masked, or nothing was drawn."""


@dataclass(frozen=True)
class DiscreteDiffusionHeadConfig:
    """Masked discrete diffusion over action bins."""

    bins: int = 256
    """Levels per action dimension, evenly spaced over the action range."""
    width: int = 128
    """Width of the transformer over the tokens."""
    layers: int = 2
    """Its layers."""
    attention_heads: int = 4
    """Its attention heads per layer."""
    rounds: int = 8
    """Rounds of decoding; along a cosine, early rounds uncover few tokens and late ones many."""
    order: Literal["confidence", "random"] = "confidence"
    """Which hidden tokens a round uncovers: those of the likeliest predictions, or any."""
    remask: float = 0.0
    """Tokens that were less probable than this when drawn are hidden again and redrawn by a later round. 0: never."""
    exploration: float = 1.0
    """Temperature: logits are divided by it. 1 samples from what was learned."""

    def __post_init__(self) -> None:
        if self.bins < 2 or self.rounds < 1 or self.layers < 1 or not 0 <= self.remask < 1:
            raise HoneError(
                f"bins {self.bins} must be at least 2, rounds {self.rounds} and layers {self.layers} at least 1, and "
                f"remask {self.remask} in [0, 1)."
            )
        if self.width % self.attention_heads:
            raise HoneError(f"width {self.width} must be a multiple of attention_heads ({self.attention_heads}).")

    def build(self, in_dim: int, space: ChunkSpace) -> DiscreteDiffusionHead:
        return DiscreteDiffusionHead(self, in_dim, space)


class DiscreteDiffusionHead(Head):
    """Tokens of all actions decoded together (Discrete Diffusion VLA, arXiv:2508.20072; MaskGIT, arXiv:2202.04200).

    Learning: hide each token with probability `cos(pi u / 2)`, `u ~ U(0, 1)` per row; cross-entropy of the hidden ones.
    Sampling: `R` rounds; after round r all but a share `cos(pi r / 2R)` of the tokens are uncovered. A round chooses
    the places by the probability of the likeliest token there, before anything is drawn, and then draws them
    independently.

    The sample holds, for every round, what was visible and what was drawn: `[R, 2, H A]`. `log_prob` has one term per
    token drawn, redrawn ones included, at the temperature `exploration`. In the "random" order without re-masking it is
    exact (of tokens and order together; the order has no weights); otherwise "surrogate", since the order, taken as it
    happened, depends on the weights.

    Departures: a small transformer in place of the language model; re-masking looks at the probability a token had
    when it was drawn (as ReMDM, arXiv:2503.00307), not at a second opinion of the network, which never learned to
    give one.
    """

    practice = (1.0, 1.0)

    def __init__(self, config: DiscreteDiffusionHeadConfig, in_dim: int, space: ChunkSpace) -> None:
        super().__init__(config.exploration)
        self.config = config
        self.space = space
        self.length = space.length * space.action_dim
        self.rounds = min(config.rounds, self.length)
        self.features = nn.Linear(in_dim, config.width)
        self.token = nn.Embedding(config.bins + 1, config.width)  # the last one stands for a hidden token
        self.position = nn.Parameter(0.1 * torch.randn(self.length, config.width))
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.attention_heads,
            4 * config.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.out = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.bins))

    def logits(self, visible: Int64[Tensor, "N L"], given: Float[Tensor, "N W"]) -> Float[Tensor, "N L V"]:
        """Of every token, given those that are `visible` (-1: hidden) and the projected features."""
        tokens = self.token(torch.where(visible == HIDDEN, self.config.bins, visible))
        return self.out(self.transformer(tokens + self.position + given[:, None]))

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        tokens, generator = to_bins(actions, self.space, self.config.bins).flatten(1), required(generator)
        share = (0.5 * math.pi * torch.rand(len(tokens), 1, generator=generator, device=generator.device)).cos()
        hidden = torch.rand(tokens.shape, generator=generator, device=generator.device) < share
        hidden = hidden.to(tokens.device)
        logits = self.logits(tokens.masked_fill(hidden, HIDDEN), self.features(features.pooled))
        counted = hidden & mask[..., None].expand(-1, *self.space.shape).flatten(1)
        return Losses(-token_log_prob(logits, tokens), counted)

    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        batch = len(features)
        # Per round and token, one number to draw it and one to order it.
        noise = row_noise(generators, batch, (k, self.rounds, 2, self.length), features.pooled.device)
        if hooks.before:
            noise = hooks.before(noise, features)
        noise = noise.flatten(0, 1)
        given = self.features(features.pooled).repeat_interleave(k, 0)
        tokens = torch.full((batch * k, self.length), HIDDEN, device=noise.device)
        probability, history = torch.ones_like(tokens, dtype=given.dtype), []
        for r in range(self.rounds):
            visible = torch.where(probability < self.config.remask, HIDDEN, tokens)
            logits = self.logits(visible, given)
            wanted = self.length - self._hidden_after(r)
            if self.config.order == "random" and generators is not None:
                score = noise[:, r, 1]
            else:
                score = logits.log_softmax(-1).amax(-1)
            chosen = _best(score, visible == HIDDEN, wanted - (visible != HIDDEN).sum(-1))
            drawn = draw_tokens(logits / self.exploration_scale, None if generators is None else noise[:, r, 0])
            if hooks.during:
                drawn = hooks.during(drawn.unflatten(0, (batch, k)), (r + 1) / self.rounds).flatten(0, 1)
            tokens = torch.where(chosen, drawn, visible)
            probability = torch.where(chosen, token_log_prob(logits, drawn).exp(), probability)
            history.append(torch.stack([visible, drawn.masked_fill(~chosen, HIDDEN)], dim=1))
        chunks = from_bins(tokens, self.space, self.config.bins).unflatten(-1, self.space.shape)
        sample = torch.stack(history, dim=1)
        return Candidates(chunks.unflatten(0, (batch, k)), sample.unflatten(0, (batch, k)))

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        check_sample(candidate, (self.rounds, 2, self.length))
        visible, drawn = candidate.sample.unbind(2)
        given = self.features(features.pooled).repeat_interleave(self.rounds, 0)
        logits = self.logits(visible.flatten(0, 1), given).unflatten(0, visible.shape[:2])
        mask = (drawn != HIDDEN).flatten(1)
        terms = token_log_prob(logits / self.exploration_scale, drawn.clamp(min=0)).flatten(1) * mask
        exact = self.config.order == "random" and self.config.remask == 0
        return LogProb(terms.sum(-1), terms, mask, "exact" if exact else "surrogate")

    def evaluations(self, samples: Int64[Tensor, "B K R two L"]) -> Int64[Tensor, "B K"]:
        """One per round."""
        return samples.new_full(samples.shape[:2], self.rounds)

    def _hidden_after(self, r: int) -> int:
        """How many tokens stay hidden after round `r`: a cosine, at least one fewer each round, none after the last."""
        cosine = math.floor(self.length * math.cos(0.5 * math.pi * (r + 1) / self.rounds) + 1e-6)
        return min(cosine, self.length - 1 - r) if r + 1 < self.rounds else 0


def _best(score: Float[Tensor, "N L"], among: Bool[Tensor, "N L"], count: Int64[Tensor, " N"]) -> Bool[Tensor, "N L"]:
    """The `count` highest scores of each row `among` those that stand to choice."""
    order = score.masked_fill(~among, float("-inf")).argsort(dim=-1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        -1, order, torch.arange(score.shape[-1], device=order.device).expand_as(order)
    )
    return among & (rank < count[:, None])
