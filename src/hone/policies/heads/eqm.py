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


@dataclass(frozen=True)
class EqMHeadConfig:
    """Equilibrium matching, descended with a residual stop."""

    hidden_sizes: tuple[int, ...] = (512, 512, 512)
    """Widths of the gradient network's hidden layers."""
    gradient_scale: float = 4.0
    """lambda, the length of the target gradient away from the data, in units of the distance."""
    decay_start: float = 0.8
    """a: from this share of data on (gamma), the target gradient falls linearly to zero."""
    solver: Literal["gradient", "nesterov"] = "gradient"
    """Plain descent, or with a look ahead along the last step."""
    step_size: float = 0.05
    """eta. Near a chunk the field is `lambda / (1 - a)` times the distance: stable below `2 (1 - a) / lambda`, and
    `(1 - a) / lambda` (0.05 by default) arrives in one step. Fewer than 5 steps arrive with `1 / (lambda steps)`."""
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
    truncated decay `c(gamma) = lambda min(1, (1 - gamma) / (1 - a))`.
    Sampling: `x_{s+1} = x_s - eta f(y_s) + sigma w_s` with `sigma = exploration` and `y_s = x_s` (gradient) or
    `y_s = x_s + mu (x_s - x_{s-1})` (nesterov; without noise, the paper's `y = x + eta mu m`, `m` the last `-f`). Each
    row stops by itself once `||f(y_s)|| / sqrt(H A) < residual`, after `steps` at the latest.

    Departures: noise in the descent, for a likelihood; a field is zero also between modes, so a small residual does not
    prove a chunk that can be executed; under exploration the residual hardly falls below `sigma lambda / (1 - a)`, so a
    smaller threshold does not stop a sampled descent.
    """

    practice = (0.05, 0.03)

    def __init__(self, config: EqMHeadConfig, in_dim: int, space: ChunkSpace) -> None:
        field = MLPField(in_dim, space, config.hidden_sizes, timed=False)
        super().__init__(config.exploration, field, space, config.steps)
        self.config = config

    def errors(
        self, features: Features, actions: Float[Tensor, "B H A"], generator: torch.Generator | None
    ) -> Float[Tensor, "B H A"]:
        """How far the gradient is off, at a noise and a share of it drawn for each row."""
        noise = loss_noise(actions, generator)
        generator = required(generator)
        gamma = torch.rand(len(actions), 1, 1, generator=generator, device=generator.device).to(actions)
        gradient = self.field(gamma * actions + (1 - gamma) * noise, None, self.field.condition(features))
        decay = truncated_decay(gamma, self.config.gradient_scale, self.config.decay_start)
        return gradient - (noise - actions) * decay

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
        gradient = self.field(ahead, None, given)
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
