"""Minimum error entropy: errors shall be alike, not only small."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Features
from hone.training.objectives.batch import CloningBatch


@runtime_checkable
class Regressing(Protocol):
    """A head that learns numbers, and so has errors: how far they are off, `[B, H, A]`."""

    def errors(
        self, features: Features, actions: Float[Tensor, "B H A"], generator: torch.Generator | None
    ) -> Float[Tensor, "B H A"]: ...


@dataclass(frozen=True)
class MinimumErrorEntropy:
    """T-MEE (Bai et al. 2026, arXiv:2602.04228): the entropy of the errors of all real steps of a batch.

    Each step of each chunk has one error `e_i [A]`; over the `N` of a batch

        loss = -log( 1/N^2 sum_ij exp(-|e_i - e_j|^2 / 2 sigma^2) ),

    Renyi's quadratic entropy under a Gaussian kernel, up to a constant. An error far from all others hardly has a
    gradient, so a bad label moves the policy little; and a common shift of all errors costs nothing, so the head's own
    loss is needed beside it. Heads that denoise have errors of what they regress (velocity, gradient, denoised chunk).

    Form, sigma 0.5 and weight 0.01 are those of the authors' code. Departures: the logarithm needs no epsilon; the term
    counts from the first step, where their LIBERO script waits for a third of the training; no weighted variants.
    """

    weight: float = 0.0
    """Factor of the term. 0: off; the authors use 0.01."""
    bandwidth: float = 0.5
    """sigma, in units of the head's errors."""

    def __post_init__(self) -> None:
        if self.weight < 0 or not self.bandwidth > 0:
            raise HoneError(f"mee: weight {self.weight} must not be negative, bandwidth {self.bandwidth} positive.")

    def __call__(self, head: object, batch: CloningBatch, generator: torch.Generator) -> Float[Tensor, ""]:
        if not isinstance(head, Regressing):
            raise HoneError(
                f"a {type(head).__name__} learns tokens, which have no errors whose entropy could be lowered; leave "
                "the term mee out, or use the head dct, laplace, flow, eqm or score."
            )
        errors = head.errors(batch.features, batch.actions, generator)
        return error_entropy(errors[batch.mask], self.bandwidth)


def error_entropy(errors: Float[Tensor, "N A"], bandwidth: float) -> Float[Tensor, ""]:
    """`-log` of the mean Gaussian kernel over all pairs of errors, each with itself included: at least 0."""
    squared = (errors[:, None] - errors[None]).square().sum(-1)
    return 2 * math.log(len(errors)) - (-squared / (2 * bandwidth**2)).flatten().logsumexp(0)
