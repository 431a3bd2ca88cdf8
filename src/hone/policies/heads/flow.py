"""Flow matching: a learned velocity carries noise to a chunk in a few Euler steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Features
from hone.policies.heads.base import ChunkSpace, Losses, drawn_again, loss_noise, over_draws, required
from hone.policies.heads.chain import ChainHead
from hone.policies.heads.field import Field, MLPField

Chain = Literal["flow_noise", "single_step"]
Prediction = Literal["chunk", "velocity"]


@dataclass(frozen=True)
class FlowHeadConfig:
    """Flow matching with pi-zero's Beta-distributed times and Euler steps."""

    hidden_sizes: tuple[int, ...] = (512, 512, 512)
    """Widths of the velocity network's hidden layers."""
    steps: int = 10
    """Euler steps from noise to chunk."""
    residual: float = 0.0
    """A row stops where the chunk it is heading for would move by less than this (root mean square, action units) over
    all steps that are left, if it went on as in the last; 0: never, every chunk takes all steps."""
    draws: int = 1
    """Noises drawn for each demonstrated chunk of a batch."""
    predicts: Prediction = "chunk"
    """What the network says and its loss measures: the chunk at the end of the flow, or the velocity (pi-zero). From
    few demonstrations the chunk is learned much better (docs/algorithms/decoders.md)."""
    chain: Chain = "flow_noise"
    """Where exploration noise enters: `flow_noise` in every step; `single_step` in one, drawn anew for each chunk."""
    exploration: float = 0.1
    """Initial noise scale; see `FlowHead`."""

    def __post_init__(self) -> None:
        if self.chain not in ("flow_noise", "single_step"):
            raise HoneError(f"chain is {self.chain!r}; use 'flow_noise' or 'single_step'.")
        if self.predicts not in ("chunk", "velocity"):
            raise HoneError(f"predicts is {self.predicts!r}; use 'chunk' or 'velocity'.")
        if self.draws < 1:
            raise HoneError(f"draws is {self.draws}; use at least 1.")
        if self.residual < 0:
            raise HoneError(f"residual is {self.residual}; it must not be negative.")

    def build(self, in_dim: int, space: ChunkSpace) -> FlowHead:
        field = MLPField(in_dim, space, self.hidden_sizes, timed=True)
        return FlowHead(
            field,
            space,
            steps=self.steps,
            chain=self.chain,
            exploration=self.exploration,
            residual=self.residual,
            draws=self.draws,
            predicts=self.predicts,
        )


class FlowHead(ChainHead):
    """Rectified flow from noise (t = 0) to the chunk (t = 1), sampled as a Gaussian chain of `S` steps, `dt = 1/S`.

    Learning: `x_t = (1 - t) eps + t a` and `1 - t ~ 0.001 + 0.999 Beta(1.5, 1)`, so that noisy chunks are seen more
    often (pi-zero, arXiv:2410.24164, whose time runs the other way). The field regresses the velocity `a - eps` (Lipman
    et al. 2023, arXiv:2210.02747) or, `predicts` being "chunk", the chunk `a` itself, and the velocity is
    `(a_hat - x_t) / (1 - t)` (Li & He 2025, arXiv:2511.13720). Both have the same optimum. Departure from the latter:
    its loss stays in units of the velocity, ours is in action units.

    Sampling, with `sigma = exploration`:

    - `flow_noise` (ReinFlow, arXiv:2505.22094; its sigma is learned, ours is set):
      `x + v dt + sigma sqrt(dt) w` in every step.
    - `single_step` (Flow-GRPO, arXiv:2505.05470, with one stochastic step as in pi_RL, arXiv:2510.25889): one step,
      uniformly drawn, follows the SDE that has the same marginals as the flow, `x + (v - sigma^2 (x - t v)) dt +
      sigma sqrt(2 (1 - t) dt) w`; the others are plain Euler steps. Here the squared diffusion is `2 sigma^2 (1 -
      t)`: unlike Flow-GRPO's it is finite at the noise.

    A velocity never vanishes, but on a straight path the chunk it is heading for, `x + (1 - t) v`, stands still. With
    `residual` > 0 a row stops, and ends there, where what that moved by since the last step, times the steps that are
    left, is less (root mean square). (Ours, to give flow the stop of equilibrium matching; noise in the steps keeps it
    from triggering.)
    """

    practice = (0.1, 0.06)

    def __init__(
        self,
        field: Field,
        space: ChunkSpace,
        *,
        steps: int,
        chain: Chain,
        exploration: float,
        residual: float = 0.0,
        draws: int = 1,
        predicts: Prediction = "velocity",
    ) -> None:
        super().__init__(exploration, field, space, steps)
        self.chain: Chain = chain
        self.predicts: Prediction = predicts
        self.residual = residual
        self.draws = draws

    def errors(
        self, features: Features, actions: Float[Tensor, "B H A"], generator: torch.Generator | None
    ) -> Float[Tensor, "B H A"]:
        """How far what the field predicts is off, at a noise and a time drawn for each row."""
        noise = loss_noise(actions, generator)
        time = beta_times(len(actions), required(generator)).to(actions)
        t = time[:, None, None]
        said = self.field((1 - t) * noise + t * actions, time, self.field.condition(features))
        return said - (actions if self.predicts == "chunk" else actions - noise)

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        errors = self.errors(*drawn_again(features, actions, self.draws), generator)
        return Losses(over_draws((errors**2).mean(-1), self.draws), mask)

    def velocity(self, x: Float[Tensor, "N H A"], time: Float[Tensor, " N"], given: Features) -> Float[Tensor, "N H A"]:
        """Where the flow goes at `x`, at times below 1."""
        said = self.field(x, time, given)
        return (said - x) / (1 - time)[:, None, None] if self.predicts == "chunk" else said

    def mean(
        self,
        x: Float[Tensor, "N H A"],
        previous: Float[Tensor, "N H A"],
        step: Int64[Tensor, " N"],
        drawn: Bool[Tensor, " N"],
        given: Features,
    ) -> tuple[Float[Tensor, "N H A"], Bool[Tensor, " N"]]:
        time = step / self.steps
        velocity = self.velocity(x, time, given)
        # Heading for x + (1 - t) v, with v before = (x - previous) S at the last step; as many steps again are left.
        left = (self.steps - step)[:, None, None]
        change = left * (left / self.steps) * (velocity - (x - previous) * self.steps)
        settled = change.square().mean((-2, -1)).sqrt() < self.residual
        if self.chain == "single_step":
            noise = x - time[:, None, None] * velocity
            drift = velocity - self.exploration_scale**2 * noise
            velocity = torch.where(drawn[:, None, None] & self.explored, drift, velocity)
        return x + velocity / self.steps, settled

    def end(
        self, x: Float[Tensor, "N H A"], mean: Float[Tensor, "N H A"], step: Int64[Tensor, " N"]
    ) -> Float[Tensor, "N H A"]:
        """The chunk it is heading for: all steps that are left, at once."""
        return x + (self.steps - step)[:, None, None] * (mean - x)

    def warm(
        self, noise: Float[Tensor, "B K S H A"], chunk: Float[Tensor, "B one H A"], trust: float
    ) -> Float[Tensor, "B K S2 H A"]:
        """The last steps, from `t chunk + (1 - t) eps` at their time t."""
        left = self.last_steps(noise, trust)
        time = 1 - (left.shape[2] - 1) / self.steps
        left[:, :, 0] = time * chunk + (1 - time) * left[:, :, 0]
        return left

    def std(self, step: Int64[Tensor, " N"]) -> Float[Tensor, " N"]:
        variance = 2 * (1 - step / self.steps) if self.chain == "single_step" else torch.ones_like(step)
        return self.exploration_scale * (variance / self.steps).sqrt()

    def drawn_steps(
        self, generators: Sequence[torch.Generator] | None, rows: int, k: int, first: int
    ) -> Bool[Tensor, "B K S"]:
        if self.chain == "flow_noise" or generators is None:
            return super().drawn_steps(generators, rows, k, first)
        chosen = torch.stack(
            [torch.randint(first, self.steps, (k,), generator=g, device=g.device).cpu() for g in generators]
        )
        return chosen[..., None] == torch.arange(self.steps)


def beta_times(count: int, generator: torch.Generator) -> Float[Tensor, " N"]:
    """Times in [0, 0.999] (0: noise, 1: chunk) whose distance to 1 is `0.001 + 0.999 Beta(1.5, 1)`, by inverse CDF."""
    uniform = torch.rand(count, generator=generator, device=generator.device)
    return 1 - (0.001 + 0.999 * uniform ** (1 / 1.5))
