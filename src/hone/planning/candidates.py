"""The chunks that a search tries in a state, and how likely each is thought to be right.

The policy's own chunk is always first, then samples of the policy, then draws from a library (macros.py). Both the draw
and the prior fall off with the distance from the policy's own chunk `u*` (VLAPS, arXiv:2508.12211):

    library:  u ~ (1 - eps) softmax(-alpha d(u, u*)) + eps uniform, without replacement
    prior:    P(u) = softmax(-beta d(u, u*))

Departure: `d` is the root mean square difference per number in normalised units, where VLAPS has the norm of a chunk
of 28 numbers whose units are mixed; `alpha` and `beta` are set anew. The decoder's own density is not used for the
prior: over the tens of numbers of a chunk it tells candidates apart by tens of nats, which is as good as no choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Shaped
from torch import Tensor

from hone.errors import HoneError
from hone.planning.macros import MacroLibrary, distances
from hone.policies.base import Features, Policy
from hone.policies.learned import LearnedPolicy

UNIFORM_SHARE = 0.1


@dataclass(frozen=True)
class CandidateConfig:
    """Which chunks are tried."""

    samples: int = 6
    """Of the policy, its own chunk included."""
    library: int = 2
    """Macro-actions and movement primitives."""
    noise: float = 0.1
    """Exploration scale at which the policy is sampled."""
    nearness: float = 2.0
    """`alpha`: how much nearer chunks of the library are preferred."""
    sharpness: float = 5.0
    """`beta`: how much the prior prefers what is near to the policy's own chunk."""

    def __post_init__(self) -> None:
        if self.samples < 1 or self.library < 0:
            raise HoneError(
                f"a search needs the policy's own chunk: samples {self.samples} must be at least 1, "
                f"library {self.library} not negative."
            )
        if not self.noise > 0 or self.nearness < 0 or self.sharpness < 0:
            raise HoneError(
                f"noise {self.noise} must be positive, nearness {self.nearness} and sharpness {self.sharpness} not "
                "negative."
            )

    @property
    def count(self) -> int:
        """K."""
        return self.samples + self.library


@dataclass(frozen=True)
class Proposed:
    """`chunks [n, K, H, 7]` and `prior [n, K]`; `samples [n, S, ...]` is how the policy drew the first `S` of them."""

    chunks: Float32[np.ndarray, "n K H 7"]
    prior: Float64[np.ndarray, "n K"]
    samples: Shaped[Tensor, "n S ..."]


def propose(
    policy: Policy,
    features: Features,
    own: tuple[Tensor, Tensor] | None,
    config: CandidateConfig,
    library: MacroLibrary,
    generators: Sequence[torch.Generator],
) -> Proposed:
    """Candidates of each row. `own`: the policy's chunk and sample where they were drawn before; else its mode."""
    if own is None:
        mode, _ = policy.propose(features, None, 1, None)
        own = mode.chunks[:, 0], mode.samples[:, 0]
    chunks, samples = own[0][:, None], own[1][:, None]
    if config.samples > 1:
        with exploring(policy, config.noise):
            drawn, _ = policy.propose(features, None, config.samples - 1, generators)
        chunks, samples = torch.cat([chunks, drawn.chunks], 1), torch.cat([samples, drawn.samples], 1)
    every = chunks.numpy().astype(np.float32)
    if config.library:
        every = np.concatenate([every, _from_library(every[:, 0], config, library, generators)], axis=1)
    away = distances(every, every[:, :1], library.spread)
    return Proposed(every, softmax(-config.sharpness * away), samples)


def _from_library(
    own: Float32[np.ndarray, "n H 7"],
    config: CandidateConfig,
    library: MacroLibrary,
    generators: Sequence[torch.Generator],
) -> Float32[np.ndarray, "n L H 7"]:
    size = len(library.chunks)
    if config.library > size:
        raise HoneError(f"{config.library} chunks are asked of a library of {size}; lower candidates.library.")
    likely = (1 - UNIFORM_SHARE) * softmax(-config.nearness * library.distances(own)) + UNIFORM_SHARE / size
    picked = [
        torch.multinomial(torch.from_numpy(row), config.library, generator=generator).numpy()
        for row, generator in zip(likely, generators, strict=True)
    ]
    return library.chunks[np.stack(picked)]


@contextmanager
def exploring(policy: Any, noise: float):
    """The policy at another exploration scale, for as long as the block lasts."""
    if not isinstance(policy, LearnedPolicy):
        yield
        return
    before = policy.exploration
    policy.exploration = noise
    try:
        yield
    finally:
        policy.exploration = before


def softmax(logits: Float64[np.ndarray, "n K"]) -> Float64[np.ndarray, "n K"]:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
