"""Pointwise mutual information: what is done shall depend on what was said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Features
from hone.policies.heads.base import Losses
from hone.training.objectives.batch import CloningBatch


@runtime_checkable
class RowLosses(Protocol):
    """A head whose loss can be had row by row."""

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses: ...


@dataclass(frozen=True)
class PointwiseMutualInformation:
    """BayesianVLA's objective (Lian et al. 2026, arXiv:2601.15197), by contrast with other instructions.

    Where an instruction can be guessed from what is seen, a clone learns `p(a | v)` and stops listening. The remedy
    is to maximise, beside the likelihood,

        log pi(a | v, l) / p(a | v) = log p(l | a, v) / p(l | v):

    the action shall tell which instruction was given. With `E(l)` a row's loss when it is told `l`, in units of the
    batch's own losses (their root mean square, held still), and one other instruction `l'` of the batch drawn for each
    row,

        pi(a | v, l) ~ exp(-E(l)),    p(a | v) = (pi(a | v, l) + pi(a | v, l')) / 2,
        loss = -log pi(a | v, l) / p(a | v) = log(1 + exp(E(l) - E(l'))) - log 2.

    It is 0 for a policy that does not listen and -log 2 at the least. Both are measured under the same noise.

    Departures. The authors read `p(l | a, v)` off a vision-language model that predicts the instruction behind latent
    action queries, and share these weights with a vision-only action loss; there is no language model here, so `p(a |
    v)` is the mixture over instructions of the policy itself. (With `p(a | v)` held still instead, the gradient would
    be that of cloning.) `E` in place of a log-likelihood is exact for no head; its unit makes the term independent of
    the head's. The motions that two tasks have in common are told apart too, which is wrong there; the bound limits it.
    """

    weight: float = 0.0
    """Factor of the term. 0: off. Its value is in nats; a cloning loss may be far below 1, so begin near that."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise HoneError(f"pmi: weight {self.weight} must not be negative.")

    def __call__(self, head: object, batch: CloningBatch, generator: torch.Generator) -> Float[Tensor, ""]:
        if not isinstance(head, RowLosses):
            raise HoneError(f"a {type(head).__name__} has no loss per row; leave the term pmi out.")
        others = batch.told(contrasts(batch.instructions, generator))
        state = generator.get_state()
        own = head.losses(batch.features, batch.actions, batch.mask, generator).rows()
        generator.set_state(state)
        other = head.losses(others, batch.actions, batch.mask, generator).rows()
        return -mutual_information(own, other).mean()


def mutual_information(own: Float[Tensor, " B"], other: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """`log pi(a | v, l) / p(a | v)` in nats, from the losses of each row under its own and another instruction."""
    unit = own.detach().square().mean().sqrt().clamp(min=1e-8)
    return math.log(2) - torch.nn.functional.softplus((own - other) / unit)


def contrasts(instructions: Sequence[str], generator: torch.Generator) -> list[str]:
    """For each row one of the other instructions in the batch, each as likely."""
    known = sorted(set(instructions))
    if len(known) < 2:
        raise HoneError(
            f"the term pmi contrasts instructions, but the batch has only '{known[0]}'; clone several tasks together, "
            "or leave it out."
        )
    steps = torch.randint(1, len(known), (len(instructions),), generator=generator).tolist()
    return [known[(known.index(own) + step) % len(known)] for own, step in zip(instructions, steps, strict=True)]
