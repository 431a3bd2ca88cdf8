"""Equilibrium matching: chunks are the equilibria of a learned gradient without time; decoding descends to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Features
from hone.policies.heads.base import ChunkSpace, Losses, drawn_again, loss_noise, over_draws, required
from hone.policies.heads.chain import ChainHead
from hone.policies.heads.field import MLPField

Prediction = Literal["chunk", "gradient"]


@dataclass(frozen=True)
class EqMHeadConfig:
    """Equilibrium matching, descended with a residual stop."""

    hidden_sizes: tuple[int, ...] = (512, 512, 512)
    """Widths of the gradient network's hidden layers."""
    gradient_scale: float = 4.0
    """lambda, the length of the target gradient away from the data, in units of the distance."""
    decay_start: float = 0.0
    """a: from this share of data on (gamma), the target gradient falls linearly to zero."""
    predicts: Prediction = "chunk"
    """What the network says: the gradient, or where a descent that arrives in one step would go. From few
    demonstrations the second, with a decay from the start, is learned much better (docs/algorithms/decoders.md)."""
    solver: Literal["gradient", "nesterov"] = "gradient"
    """Plain descent, or with a look ahead along the last step."""
    step_size: float = 0.25
    """eta. Near a chunk the field is `lambda / (1 - a)` times the distance: stable below `2 (1 - a) / lambda`, and
    `(1 - a) / lambda` (0.25 by default) arrives in one step. Few steps that do not settle may have `1 / (lambda
    steps)`."""
    momentum: float = 0.3
    """mu, the share of the last step that `nesterov` looks ahead."""
    steps: int = 20
    """Most steps of a descent."""
    residual: float = 0.1
    """A row stops where the root mean square of its gradient is below this; 0: never, every descent takes all steps."""
    draws: int = 1
    """Noises drawn for each demonstrated chunk of a batch."""
    exploration: float = 0.1
    """Initial noise scale: standard deviation, in action units, of what every step of a sampled descent adds."""

    def __post_init__(self) -> None:
        if self.solver not in ("gradient", "nesterov"):
            raise HoneError(f"solver is {self.solver!r}; use 'gradient' or 'nesterov'.")
        if not (self.gradient_scale > 0 and 0 <= self.decay_start < 1 and self.residual >= 0 and self.momentum >= 0):
            raise HoneError(
                f"gradient_scale {self.gradient_scale} must be positive, decay_start {self.decay_start} in [0, 1), "
                f"residual {self.residual} and momentum {self.momentum} not negative."
            )
        if self.predicts not in ("chunk", "gradient"):
            raise HoneError(f"predicts is {self.predicts!r}; use 'chunk' or 'gradient'.")
        if self.draws < 1:
            raise HoneError(f"draws is {self.draws}; use at least 1.")
        limit = 2 * (1 - self.decay_start) / self.gradient_scale
        whole_way = 1 / (self.gradient_scale * max(self.steps, 1))
        if not (0 < self.step_size < limit or 0 < self.step_size <= whole_way):
            raise HoneError(
                f"step_size is {self.step_size}, but descent settles only for 0 < step_size < {limit:.3g} "
                f"(2 (1 - decay_start) / gradient_scale); {self.steps} steps that do not settle may have up to "
                f"{whole_way:.3g} (1 / (gradient_scale steps)), which is the whole way."
            )

    def build(self, in_dim: int, space: ChunkSpace) -> EqMHead:
        return EqMHead(self, in_dim, space)


class EqMHead(ChainHead):
    """A gradient `f(x)` of no time, whose zeros are the chunks (Wang & Du 2025, arXiv:2510.02300).

    Learning: `x = gamma a + (1 - gamma) eps`, `gamma ~ U(0, 1)`, and `f(x)` regresses `(eps - a) c(gamma)` with the
    truncated decay `c(gamma) = lambda min(1, (1 - gamma) / (1 - a_0))`, which is the linear one for `a_0 = 0`. The
    network says `f` or, `predicts` being "chunk", the `p` of `f(x) = lambda / (1 - a_0) (x - p(x))`: for `gamma >= a_0`
    that is the chunk itself, whatever the noise. The loss measures what the network says.
    Sampling: `x_{s+1} = x_s - eta f(y_s) + sigma w_s` with `sigma = exploration` and `y_s = x_s` (gradient) or
    `y_s = x_s + mu (x_s - x_{s-1})` (nesterov; without noise, the paper's `y = x + eta mu m`, `m` the last `-f`). Each
    row stops by itself once `||f(y_s)|| / sqrt(H A) < residual`, after `steps` at the latest.

    Departures: predicting the chunk (after Li & He 2025, arXiv:2511.13720, who do so for flows); noise in the descent,
    for a likelihood; a field is zero also between modes, so a small residual does not prove a chunk that can be
    executed; under exploration the residual hardly falls below `sigma lambda / (1 - a_0)`, so a smaller threshold does
    not stop a sampled descent.
    """

    practice = (0.05, 0.03)

    def __init__(self, config: EqMHeadConfig, in_dim: int, space: ChunkSpace) -> None:
        field = MLPField(in_dim, space, config.hidden_sizes, timed=False)
        super().__init__(config.exploration, field, space, config.steps)
        self.config = config

    def errors(
        self, features: Features, actions: Float[Tensor, "B H A"], generator: torch.Generator | None
    ) -> Float[Tensor, "B H A"]:
        """How far what the network says is off, at a noise and a share of it drawn for each row."""
        noise = loss_noise(actions, generator)
        generator = required(generator)
        gamma = torch.rand(len(actions), 1, 1, generator=generator, device=generator.device).to(actions)
        x = gamma * actions + (1 - gamma) * noise
        gradient = (noise - actions) * truncated_decay(gamma, self.config.gradient_scale, self.config.decay_start)
        said = self.field(x, None, self.field.condition(features))
        return said - (x - gradient / self.stiffness if self.config.predicts == "chunk" else gradient)

    @property
    def stiffness(self) -> float:
        """Of the field near a chunk: `lambda / (1 - a_0)`."""
        return self.config.gradient_scale / (1 - self.config.decay_start)

    def gradient(self, x: Float[Tensor, "N H A"], given: Features) -> Float[Tensor, "N H A"]:
        """`f(x)`."""
        said = self.field(x, None, given)
        return self.stiffness * (x - said) if self.config.predicts == "chunk" else said

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        errors = self.errors(*drawn_again(features, actions, self.config.draws), generator)
        return Losses(over_draws((errors**2).mean(-1), self.config.draws), mask)

    def mean(
        self,
        x: Float[Tensor, "N H A"],
        previous: Float[Tensor, "N H A"],
        step: Int64[Tensor, " N"],
        drawn: Bool[Tensor, " N"],
        given: Features,
    ) -> tuple[Float[Tensor, "N H A"], Bool[Tensor, " N"]]:
        ahead = x + self.config.momentum * (x - previous) if self.config.solver == "nesterov" else x
        gradient = self.gradient(ahead, given)
        residual = gradient.square().mean((-2, -1)).sqrt()
        return x - self.config.step_size * gradient, residual < self.config.residual

    def warm(
        self, noise: Float[Tensor, "B K S H A"], chunk: Float[Tensor, "B one H A"], trust: float
    ) -> Float[Tensor, "B K S2 H A"]:
        """All steps at most, from `trust chunk + (1 - trust) eps`: a field without time starts anywhere."""
        noise = noise.clone()
        noise[:, :, 0] = trust * chunk + (1 - trust) * noise[:, :, 0]
        return noise

    def std(self, step: Int64[Tensor, " N"]) -> Float[Tensor, " N"]:
        return self.exploration_scale.expand(len(step))


def truncated_decay(gamma: Float[Tensor, "*B"], gradient_scale: float, decay_start: float) -> Float[Tensor, "*B"]:
    """`c(gamma) = lambda min(1, (1 - gamma) / (1 - a))`: constant away from the data, linear to zero at it."""
    return gradient_scale * ((1 - gamma) / (1 - decay_start)).clamp(max=1)
