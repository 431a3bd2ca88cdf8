"""The seam between what acts and everything else.

A policy encodes an observation once, proposes `K` candidate chunks from the features, and can score a chunk that it
proposed. A black-box policy (a remote server, say) implements `propose` alone and raises `NoLikelihoodError` from
`log_prob`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from hone.errors import HoneError
from hone.specs import Spec
from hone.types import Observation

REMOTE = "remote:"
"""Where the name of a policy begins so, its address follows (`hone.policies.remote`)."""
NO_GRADIENTS = (
    "a remote policy cannot score actions or be given gradients, so it can be evaluated, told hints and chosen from, "
    "but not improved with GRPO; load its weights here, or clone it into a policy with a likelihood."
)

PolicyState = list[Any] | None
"""What a policy carries from one decision to the next: one opaque entry per row, or `None` for a memoryless policy."""


class NoLikelihoodError(HoneError):
    """The policy cannot score actions, so it can be evaluated but not trained with a policy gradient."""


class PolicyFault(HoneError):
    """Machinery that the policy needs failed (a lost server, say), and with it what it knew of its episodes.

    The episodes in hand are void: they say nothing about the policy and are run again.
    """


@dataclass(frozen=True)
class Features:
    """An encoded observation: `tokens [B, L, D]`, `mask [B, L]` (true = real token), `pooled [B, P]`.

    `version` counts changes of the encoder's weights: stored features of another version must be recomputed.
    """

    tokens: Float[Tensor, "B L D"]
    mask: Bool[Tensor, "B L"]
    pooled: Float[Tensor, "B P"]
    version: int = 0

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, rows: Tensor | slice) -> Features:
        return Features(self.tokens[rows], self.mask[rows], self.pooled[rows], self.version)

    @staticmethod
    def cat(parts: Sequence[Features]) -> Features:
        versions = {part.version for part in parts}
        assert len(versions) == 1, f"features of different encoder versions: {sorted(versions)}"
        return Features(
            torch.cat([p.tokens for p in parts]),
            torch.cat([p.mask for p in parts]),
            torch.cat([p.pooled for p in parts]),
            versions.pop(),
        )


@dataclass(frozen=True)
class LogProb:
    """Log-likelihood of what was sampled, before clipping to the action range.

    `terms [B, M]` are what the decoder has: action dimensions, frequency modes, tokens or denoising steps; `mask`
    `[B, M]` marks the real ones; `total [B]` is their masked sum. `kind` is "exact", or "surrogate" where the number is
    not the log-density of the executed action (a denoising chain, say).
    """

    total: Float[Tensor, " B"]
    terms: Float[Tensor, "B M"]
    mask: Bool[Tensor, "B M"]
    kind: Literal["exact", "surrogate"]


@dataclass(frozen=True)
class Candidate:
    """One chosen chunk per row: `chunk [B, H, A]` is clipped and ready to execute, `sample [B, ...]` is as drawn."""

    chunk: Float[Tensor, "B H A"]
    sample: Shaped[Tensor, "B ..."]

    def __getitem__(self, rows: Tensor | slice) -> Candidate:
        return Candidate(self.chunk[rows], self.sample[rows])

    @staticmethod
    def cat(parts: Sequence[Candidate]) -> Candidate:
        return Candidate(torch.cat([p.chunk for p in parts]), torch.cat([p.sample for p in parts]))


@dataclass(frozen=True)
class Candidates:
    """`K` proposals per row: `chunks [B, K, H, A]` clipped and ready to execute, `samples [B, K, ...]` as drawn."""

    chunks: Float[Tensor, "B K H A"]
    samples: Shaped[Tensor, "B K ..."]

    def select(self, index: Shaped[Tensor, " B"]) -> Candidate:
        """Take candidate `index[b]` of row `b`."""
        rows = torch.arange(len(index))
        return Candidate(self.chunks[rows, index], self.samples[rows, index])


@runtime_checkable
class Reporting(Protocol):
    """A row's policy state that has something to say of its episode when it has ended (plain JSON data)."""

    def report(self) -> dict[str, Any]: ...


@runtime_checkable
class Policy(Protocol):
    """Observation in, candidate action chunks out."""

    spec: Spec
    chunk_length: int

    def encode(self, observation: Observation) -> Features: ...

    def propose(
        self,
        features: Features,
        state: PolicyState,
        k: int,
        generators: Sequence[torch.Generator] | None,
    ) -> tuple[Candidates, PolicyState]:
        """`K` candidates per row. One generator per row, so that an episode's noise does not depend on the batch it
        happens to be in; `None` asks for the policy's greedy chunk (its mode), repeated `k` times."""
        ...

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb: ...

    def initial_state(self, num_rows: int) -> PolicyState: ...
