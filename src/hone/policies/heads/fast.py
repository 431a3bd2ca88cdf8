"""FAST: cosine coefficients of the chunk, rounded, joined into byte-pair tokens and written one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb
from hone.policies.heads import byte_pairs
from hone.policies.heads.base import ChunkSpace, Head, Losses, SamplingHooks, check_sample, row_noise
from hone.policies.heads.byte_pairs import PAD
from hone.policies.heads.dct import dct_matrix
from hone.policies.heads.tokens import TokenWriter, draw_tokens, masked_logits, token_log_prob

FITTED = 1000
"""Chunks from which the tokens are made."""


@dataclass(frozen=True)
class FastHeadConfig:
    """FAST tokens, written autoregressively."""

    scale: float = 10.0
    """Orthonormal cosine coefficients are multiplied by this and rounded: the larger, the finer and longer."""
    vocabulary: int = 512
    """Tokens in all: single coefficients first, then what byte-pair encoding joins."""
    width: int = 256
    """Width of the recurrent network."""
    exploration: float = 1.0
    """Temperature: logits are divided by it. 1 samples from what was learned."""

    def __post_init__(self) -> None:
        if not self.scale > 0 or self.width < 1:
            raise HoneError(f"scale is {self.scale} and width {self.width}; both must be positive.")

    def build(self, in_dim: int, space: ChunkSpace) -> FastHead:
        return FastHead(self, in_dim, space)


class FastHead(Head):
    """Tokens as FAST has them (Pertsch et al. 2025, arXiv:2501.09747): an orthonormal DCT of the chunk along time,
    times `scale`, rounded, lowest frequency of all dimensions first, then byte-pair encoding; learned by cross-entropy.

    Departures: a gated recurrent unit in place of the language model; the alphabet is what the action range allows, not
    what the data show; and only tokens that still fit may be written, so that every sequence is exactly one chunk
    (there is no end token and no undecodable sequence, which the published tokenizer turns into zeros). `log_prob` is
    exact for the tokens so drawn, at the temperature `exploration`; the same chunk may have other spellings.
    The merges are learned by `fit` and kept with the weights; before that there are none.
    """

    practice = (1.0, 1.0)
    merges: Tensor

    def __init__(self, config: FastHeadConfig, in_dim: int, space: ChunkSpace) -> None:
        super().__init__(config.exploration)
        self.config = config
        self.space = space
        self.symbols = space.length * space.action_dim
        self.largest = round(config.scale * math.sqrt(space.length) * max(abs(space.low), abs(space.high)))
        self.alphabet = 2 * self.largest + 1
        if config.vocabulary < self.alphabet:
            raise HoneError(
                f"vocabulary is {config.vocabulary}, but chunks of {space.length} steps at scale {config.scale:g} have "
                f"{self.alphabet} coefficient values; enlarge it or lower the scale."
            )
        # Rows of -1: merges that were not needed, or not learned yet.
        self.register_buffer("merges", torch.full((config.vocabulary - self.alphabet, 2), -1, dtype=torch.long))
        self.writer = TokenWriter(in_dim, config.vocabulary, self.symbols, config.width)

    def fit(self, actions: Float[Tensor, "N H A"], mask: Bool[Tensor, "N H"]) -> None:
        """Learn the merges from demonstrated chunks, of which at most `FITTED` are looked at."""
        self.space.check(actions, mask)
        some = slice(None, None, -(-len(actions) // FITTED))
        symbols = self.to_symbols(held(actions[some], mask[some])).cpu().numpy()
        learned = byte_pairs.learn_merges(symbols, self.alphabet, self.config.vocabulary)
        self.merges.fill_(-1)
        self.merges[: len(learned)] = torch.from_numpy(learned)

    def to_symbols(self, actions: Float[Tensor, "N H A"]) -> Int64[Tensor, "N L"]:
        """Rounded coefficients from 0 up, lowest frequency of all dimensions first."""
        coefficients = (dct_matrix(self.space.length).to(actions) @ actions * self.config.scale).round().long()
        return coefficients.flatten(1).clamp(-self.largest, self.largest) + self.largest

    def from_symbols(self, symbols: Int64[Tensor, "N L"]) -> Float[Tensor, "N H A"]:
        """The chunk, before it is clipped; the inverse of `to_symbols` up to rounding."""
        coefficients = (symbols - self.largest).unflatten(-1, self.space.shape) / self.config.scale
        return dct_matrix(self.space.length).to(coefficients).mT @ coefficients

    def encode(self, actions: Float[Tensor, "N H A"]) -> Int64[Tensor, "N L"]:
        """The tokens of each chunk, -1 after the last."""
        symbols = self.to_symbols(actions).cpu().numpy()
        return torch.from_numpy(byte_pairs.encode(symbols, self._merges(), self.alphabet)).to(actions.device)

    def decode(self, tokens: Int64[Tensor, "N L"]) -> Float[Tensor, "N H A"]:
        """The chunk that each row of tokens spells."""
        table = byte_pairs.expansions(self._merges(), self.alphabet)
        spelled = [[symbol for token in row if token != PAD for symbol in table[token]] for row in tokens.tolist()]
        return self.from_symbols(torch.tensor(spelled, device=tokens.device).reshape(-1, self.symbols))

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        """Cross-entropy of the tokens of the rows that have a real step.

        A token speaks of the whole chunk, so what lies outside an episode cannot be masked out: its real actions at
        both ends are held.
        """
        terms, written = self._terms(features, self.encode(held(actions, mask)), temperature=1.0)
        return Losses(-terms, written & mask.any(-1, keepdim=True))

    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        batch, device = len(features), features.pooled.device
        noise = row_noise(generators, batch, (k, self.symbols), device)
        if hooks.before:
            noise = hooks.before(noise, features)
        given, lengths = self.writer.condition(features).repeat_interleave(k, 0), self._lengths()
        left = torch.full((batch * k,), self.symbols, device=device)
        logits, state = self.writer.first(given)
        written: list[Int64[Tensor, " N"]] = []
        for index in range(self.symbols):
            if not (left > 0).any():
                break
            if index > 0:
                logits, state = self.writer.next(written[-1].clamp(min=0), index, given, state)
            # A row that is full writes no more; what is drawn for it is thrown away.
            fits = masked_logits(logits / self.exploration_scale, lengths <= left.clamp(min=1)[:, None])
            drawn = draw_tokens(fits, None if generators is None else noise[:, :, index].flatten())
            drawn = torch.where(left > 0, drawn, PAD)
            if hooks.during:
                drawn = hooks.during(drawn.unflatten(0, (batch, k)), (index + 1) / self.symbols).flatten()
            left = left - torch.where(drawn == PAD, 0, lengths[drawn])
            written.append(drawn)
        tokens = functional.pad(torch.stack(written, dim=1), (0, self.symbols - len(written)), value=PAD)
        chunks = self.space.clamp(self.decode(tokens))
        return Candidates(chunks.unflatten(0, (batch, k)), tokens.unflatten(0, (batch, k)))

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        check_sample(candidate, (self.symbols,))
        terms, written = self._terms(features, candidate.sample, temperature=self.exploration_scale)
        return LogProb(terms.sum(-1), terms, written, "exact")

    def evaluations(self, samples: Int64[Tensor, "B K L"]) -> Int64[Tensor, "B K"]:
        """One per token written."""
        return (samples != PAD).sum(-1)

    def _terms(
        self, features: Features, tokens: Int64[Tensor, "B L"], temperature: Tensor | float
    ) -> tuple[Float[Tensor, "B L"], Bool[Tensor, "B L"]]:
        """Log-probability of each token among those that fitted there (0 after the last), and where there is one."""
        written, known, lengths = tokens != PAD, tokens.clamp(min=0), self._lengths()
        taken = torch.where(written, lengths[known], 0)
        left = self.symbols - (taken.cumsum(-1) - taken)
        logits = self.writer.all(known, self.writer.condition(features)) / temperature
        fits = masked_logits(logits, lengths <= left.clamp(min=1)[..., None])
        # Where nothing is written, token 0 stands in: it always fits.
        return token_log_prob(fits, known).masked_fill(~written, 0.0), written

    def _merges(self) -> Int64[np.ndarray, "M 2"]:
        return self.merges[self.merges[:, 0] >= 0].cpu().numpy()

    def _lengths(self) -> Int64[Tensor, " V"]:
        """How many symbols each token stands for; more than a chunk has where there is no such token."""
        lengths = [len(symbols) for symbols in byte_pairs.expansions(self._merges(), self.alphabet)]
        missing = self.config.vocabulary - len(lengths)
        return torch.tensor(lengths + [self.symbols + 1] * missing, device=self.merges.device)


def held(actions: Float[Tensor, "B H A"], mask: Bool[Tensor, "B H"]) -> Float[Tensor, "B H A"]:
    """Chunks in which the real actions (marked by `mask`, without gaps) are held: the last one to the end, the first
    one from the beginning."""
    first = mask.int().argmax(-1)
    last = (first + mask.sum(-1) - 1).clamp(min=0)
    index = torch.arange(actions.shape[1], device=actions.device).clamp(first[:, None], last[:, None])
    return actions.gather(1, index[..., None].expand_as(actions))
