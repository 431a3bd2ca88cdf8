"""Actions as tokens: quantisation, drawing tokens from logits, and a recurrent network that writes them in order."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from hone.policies.base import Features
from hone.policies.heads.base import ChunkSpace


def to_bins(actions: Float[Tensor, "*B"], space: ChunkSpace, bins: int) -> Int64[Tensor, "*B"]:
    """The nearest of `bins` levels, evenly spaced over the action range with both ends on a level."""
    share = (actions - space.low) / (space.high - space.low)
    return (share * (bins - 1)).round().long().clamp(0, bins - 1)


def from_bins(tokens: Int64[Tensor, "*B"], space: ChunkSpace, bins: int) -> Float[Tensor, "*B"]:
    """The level of each token; the inverse of `to_bins` up to half a step."""
    return space.low + tokens * (space.high - space.low) / (bins - 1)


def draw_tokens(logits: Float[Tensor, "*B V"], noise: Float[Tensor, "*B"] | None) -> Int64[Tensor, "*B"]:
    """One token per row by the inverse distribution function at the rank of its standard-normal `noise`.

    The likeliest where `noise` is `None` (greedy). A token of logit -inf is never drawn.
    """
    if noise is None:
        return logits.argmax(-1)
    cumulative = logits.double().softmax(-1).cumsum(-1)
    rank = torch.special.ndtr(noise.double())[..., None] * cumulative[..., -1:]
    return (cumulative < rank).sum(-1)


def token_log_prob(logits: Float[Tensor, "*B V"], tokens: Int64[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Log-probability of each token under its logits."""
    return logits.log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)


class TokenWriter(nn.Module):
    """Logits of each token given the features and the tokens before it, by a gated recurrent unit.

    The recurrent state is the cache: writing one token at a time gives what the whole sequence at once gives.
    """

    def __init__(self, in_dim: int, vocabulary: int, length: int, width: int) -> None:
        super().__init__()
        self.features = nn.Linear(in_dim, width)
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(0.1 * torch.randn(length, width))
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, vocabulary)

    def condition(self, features: Features) -> Float[Tensor, "B W"]:
        """What the features say, once for all candidates and tokens."""
        return torch.tanh(self.features(features.pooled))

    def first(self, given: Float[Tensor, "N W"]) -> tuple[Float[Tensor, "N V"], Tensor]:
        """Logits of the first token, and the recurrent state after it was asked for."""
        return self._logits(given[:, None] + self.position[:1], given[None].contiguous())

    def next(
        self, tokens: Int64[Tensor, " N"], index: int, given: Float[Tensor, "N W"], state: Tensor
    ) -> tuple[Float[Tensor, "N V"], Tensor]:
        """Logits of token `index`, given the one before it and the recurrent state."""
        return self._logits((given + self.token(tokens) + self.position[index])[:, None], state)

    def all(self, tokens: Int64[Tensor, "N L"], given: Float[Tensor, "N W"]) -> Float[Tensor, "N L V"]:
        """Logits of every token of sequences that are known."""
        before = torch.cat([torch.zeros_like(given)[:, None], self.token(tokens[:, :-1])], dim=1)
        hidden, _ = self.recurrent(before + given[:, None] + self.position[: tokens.shape[1]], given[None].contiguous())
        return self.out(self.norm(hidden))

    def _logits(self, inputs: Float[Tensor, "N one W"], state: Tensor) -> tuple[Float[Tensor, "N V"], Tensor]:
        hidden, state = self.recurrent(inputs, state)
        return self.out(self.norm(hidden[:, 0])), state


def masked_logits(logits: Float[Tensor, "*B V"], allowed: Bool[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
    """Logits under which only `allowed` tokens can be drawn."""
    return logits.masked_fill(~allowed, float("-inf"))
