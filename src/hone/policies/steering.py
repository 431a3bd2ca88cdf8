"""Ways to steer a decoder without training it: sampling hooks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Candidates, Features
from hone.policies.heads.base import Head
from hone.policies.heads.chain import ChainHead

Score = Callable[[Tensor, Features], Tensor]
"""Chunks `[B, K, H, A]` and features to a number per candidate `[B, K]`: the higher, the better."""


def best_first(score: Score) -> Callable[[Candidates, Features], Candidates]:
    """An `after` hook that orders the candidates by `score`, samples with their chunks, so likelihoods stay right."""

    def after(candidates: Candidates, features: Features) -> Candidates:
        order = score(candidates.chunks, features).argsort(dim=1, descending=True, stable=True)
        rows = torch.arange(len(order), device=order.device)[:, None]
        return Candidates(candidates.chunks[rows, order], candidates.samples[rows, order])

    return after


def agreement(chunks: Float[Tensor, "B K H A"], features: Features) -> Float[Tensor, "B K"]:
    """A score: minus the mean distance (root mean square) to all candidates of the row. The best is their medoid."""
    distance = (chunks[:, :, None] - chunks[:, None]).square().mean((-2, -1)).sqrt()
    return -distance.mean(-1)


def check_start(head: Head, trust: float) -> ChainHead:
    """The head, which must be one that can start from a chunk, as far as `trust` goes."""
    if not isinstance(head, ChainHead):
        raise HoneError(
            f"a {type(head).__name__} does not refine a chunk step by step, so it cannot start from one; use the head "
            "flow, eqm or score."
        )
    if not 0 < trust <= 1:
        raise HoneError(f"trust is {trust}; it must be in (0, 1].")
    return head


def start_from(head: Head, chunks: Float[Tensor, "B H A"], trust: float) -> Callable[[Tensor, Features], Tensor]:
    """A `before` hook that starts each row's chain from a chunk known beforehand, as far as `trust` in (0, 1] goes.

    With the rest of the last chunk it is a warm start; with an elite chunk from memory (`elite`), the prior of
    Retrieve-then-Steer: from `(1 - t) eps + t a*` at the flow's time `t = trust`.
    """
    chain = check_start(head, trust)

    def before(noise: Tensor, features: Features) -> Tensor:
        if len(chunks) != len(features):
            raise HoneError(f"{len(chunks)} chunks to start from for {len(features)} rows; give one per row.")
        return chain.warm(noise, chunks[:, None].to(noise), trust)

    return before


def elite(
    chunks: Float[Tensor, "B M H A"], weights: Float[Tensor, "B M"], *, consistent: float = 0.5
) -> Float[Tensor, "B H A"]:
    """One chunk per row from `M` that succeeded before: the weighted mean of those that agree.

    Memories agree when they are among the nearer share `consistent` to the weighted medoid (the memory with the least
    weighted distance to all), which keeps a mean from falling between two ways of doing it.
    """
    if not 0 < consistent <= 1 or (weights < 0).any() or not (weights.sum(-1) > 0).all():
        raise HoneError(f"consistent is {consistent}: it must be in (0, 1]; weights must be >= 0, one of them above.")
    distance = (chunks[:, :, None] - chunks[:, None]).square().mean((-2, -1)).sqrt()
    medoid = (distance * weights[:, None]).sum(-1).masked_fill(weights == 0, float("inf")).argmin(-1)
    to_medoid = distance[torch.arange(len(chunks)), medoid]
    kept = max(1, round(consistent * chunks.shape[1]))
    reach = to_medoid.kthvalue(kept, dim=-1, keepdim=True).values
    agreeing = weights * (to_medoid <= reach)
    return (agreeing[..., None, None] * chunks).sum(1) / agreeing.sum(-1)[:, None, None]
