"""Score-based diffusion in a few steps, with classifier-free guidance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from hone.errors import HoneError
from hone.policies.base import Features
from hone.policies.heads.base import ChunkSpace, Losses, drawn_again, loss_noise, over_draws, required
from hone.policies.heads.chain import ChainHead
from hone.policies.heads.field import MLPField

Prediction = Literal["chunk", "preconditioned"]


@dataclass(frozen=True)
class ScoreHeadConfig:
    """A denoiser, sampled in a few deterministic steps as in BESO."""

    hidden_sizes: tuple[int, ...] = (512, 512, 512)
    """Widths of the denoiser's hidden layers."""
    steps: int = 6
    """Steps from noise to chunk."""
    sigma_data: float = 0.5
    """Standard deviation of the actions, to which the network's inputs and outputs are scaled."""
    sigma_min: float = 0.05
    """Noise level before the last step, in action units."""
    sigma_max: float = 2.0
    """Noise level at the start, well above that of the data."""
    predicts: Prediction = "chunk"
    """What the network says: the chunk itself, learned at noise levels drawn evenly; or EDM's preconditioned output,
    with EDM's weights and levels. From few demonstrations the first is learned better."""
    dropout: float = 0.1
    """Share of the cloned rows whose features are replaced by a learned blank: what guidance is measured against."""
    guidance: float = 1.0
    """w in `D_blank + w (D - D_blank)`. 1: none, and one evaluation per step; otherwise two."""
    draws: int = 1
    """Noises drawn for each demonstrated chunk of a batch."""
    exploration: float = 0.1
    """Initial noise scale: standard deviation, in action units, of what every step of a sampled chain adds."""

    def __post_init__(self) -> None:
        if not (0 < self.sigma_min < self.sigma_max and self.sigma_data > 0):
            raise HoneError(
                f"sigma_min {self.sigma_min} must be positive and below sigma_max {self.sigma_max}, and sigma_data "
                f"{self.sigma_data} positive."
            )
        if self.predicts not in ("chunk", "preconditioned"):
            raise HoneError(f"predicts is {self.predicts!r}; use 'chunk' or 'preconditioned'.")
        if self.draws < 1:
            raise HoneError(f"draws is {self.draws}; use at least 1.")
        if not 0 <= self.dropout < 1 or (self.guidance != 1 and self.dropout == 0):
            raise HoneError(
                f"dropout is {self.dropout} with guidance {self.guidance}: it must be in [0, 1), and guidance other "
                "than 1 needs some."
            )

    def build(self, in_dim: int, space: ChunkSpace) -> ScoreHead:
        return ScoreHead(self, in_dim, space)


class ScoreHead(ChainHead):
    """A denoiser `D(x; sigma)` (Karras et al. 2022, arXiv:2206.00364) descended along its noise levels (BESO,
    arXiv:2304.02532).

    `predicts` "chunk": the network says `D` itself, given `c_in x` and `ln sigma`; the loss is `||D(a + sigma eps) -
    a||^2` with `sigma` uniform over the levels used.
    `predicts` "preconditioned" (EDM): with `s_d = sigma_data`,  `D = c_skip x + c_out F(c_in x, ln sigma)`,
    `c_skip = s_d^2 / (sigma^2 + s_d^2)`,  `c_out = sigma s_d / sqrt(sigma^2 + s_d^2)`,
    `c_in = 1 / sqrt(sigma^2 + s_d^2)`; learning weighs `||D(a + sigma eps) - a||^2` by `1 / c_out^2`, with
    `ln sigma ~ N(-1.2, 1.2^2)` held within the levels used.
    Sampling: levels spaced as in EDM (rho = 7) and then 0; `x_{s+1} = D + sigma_{s+1} / sigma_s (x - D) + e w`,
    `e = exploration` (the deterministic step is DDIM's, which is Euler's here).

    Departures: predicting the chunk, unweighted; noise in the steps, for a likelihood; the blank replaces all features,
    not only the goal.
    """

    practice = (0.05, 0.03)

    def __init__(self, config: ScoreHeadConfig, in_dim: int, space: ChunkSpace) -> None:
        field = MLPField(in_dim, space, config.hidden_sizes, timed=True)
        super().__init__(config.exploration, field, space, config.steps)
        self.config = config
        self.evaluations_per_step = 1 if config.guidance == 1 else 2
        self.blank = nn.Parameter(torch.zeros(in_dim)) if config.dropout > 0 else None
        self.register_buffer("sigmas", noise_levels(config.steps, config.sigma_min, config.sigma_max), persistent=False)

    sigmas: Tensor

    def denoised(
        self, x: Float[Tensor, "N H A"], sigma: Float[Tensor, " N"], given: Features
    ) -> Float[Tensor, "N H A"]:
        """D, the chunk expected under the noisy one."""
        data, low, high = self.config.sigma_data, self.config.sigma_min, self.config.sigma_max
        time = (sigma / low).log() / math.log(high / low)
        variance = (sigma**2 + data**2)[:, None, None]
        output = self.field(x / variance.sqrt(), time, given)
        if self.config.predicts == "chunk":
            return output
        return data**2 / variance * x + sigma[:, None, None] * data / variance.sqrt() * output

    def errors(
        self, features: Features, actions: Float[Tensor, "B H A"], generator: torch.Generator | None
    ) -> Float[Tensor, "B H A"]:
        """How far the denoised chunk is off, at a noise and a level of it drawn for each row, as it is weighed."""
        errors, weight = self._denoising_errors(features, actions, generator)
        return weight.sqrt() * errors

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        draws = self.config.draws
        errors, weight = self._denoising_errors(*drawn_again(features, actions, draws), generator)
        return Losses(over_draws((weight * errors**2).mean(-1), draws), mask)

    def _denoising_errors(
        self, features: Features, actions: Float[Tensor, "B H A"], generator: torch.Generator | None
    ) -> tuple[Float[Tensor, "B H A"], Float[Tensor, "B one one"]]:
        """`D(a + sigma eps) - a`, and what weighs its square: `1 / c_out^2`, or 1 where the chunk is predicted."""
        noise, low, high = loss_noise(actions, generator), self.config.sigma_min, self.config.sigma_max
        if self.config.predicts == "chunk":
            source = required(generator)
            sigma = low + (high - low) * torch.rand(len(actions), generator=source, device=source.device).to(actions)
            weight = torch.ones_like(sigma)
        else:
            sigma = (1.2 * loss_noise(actions[:, 0, 0], generator) - 1.2).exp().clamp(low, high)
            weight = (sigma**2 + self.config.sigma_data**2) / (sigma * self.config.sigma_data) ** 2
        if self.blank is not None:
            share = torch.rand(len(actions), 1, generator=generator, device=required(generator).device).to(actions)
            features = replace(features, pooled=torch.where(share < self.config.dropout, self.blank, features.pooled))
        denoised = self.denoised(actions + sigma[:, None, None] * noise, sigma, self.field.condition(features))
        return denoised - actions, weight[:, None, None]

    def start(self, noise: Float[Tensor, "*N H A"]) -> Float[Tensor, "*N H A"]:
        return self.config.sigma_max * noise

    def mean(
        self,
        x: Float[Tensor, "N H A"],
        previous: Float[Tensor, "N H A"],
        step: Int64[Tensor, " N"],
        drawn: Bool[Tensor, " N"],
        given: Features,
    ) -> tuple[Float[Tensor, "N H A"], Bool[Tensor, " N"]]:
        sigma, following = self.sigmas[step], self.sigmas[step + 1]
        denoised = self.denoised(x, sigma, given)
        if self.config.guidance != 1 and self.blank is not None:
            nothing = self.field.condition(replace(given, pooled=self.blank.expand(len(x), -1)))
            blank = self.denoised(x, sigma, nothing)
            denoised = blank + self.config.guidance * (denoised - blank)
        return denoised + (following / sigma)[:, None, None] * (x - denoised), torch.zeros_like(drawn)

    def warm(
        self, noise: Float[Tensor, "B K S H A"], chunk: Float[Tensor, "B one H A"], trust: float
    ) -> Float[Tensor, "B K S2 H A"]:
        """The last steps, from `chunk + sigma eps` at their noise level."""
        left = self.last_steps(noise, trust)
        first = self.steps + 1 - left.shape[2]
        state = chunk + self.sigmas[first] * left[:, :, 0]
        left[:, :, 0] = state if first else state / self.config.sigma_max  # `start` will scale it
        return left

    def std(self, step: Int64[Tensor, " N"]) -> Float[Tensor, " N"]:
        return self.exploration_scale.expand(len(step))


def noise_levels(steps: int, low: float, high: float, rho: float = 7.0) -> Float[Tensor, " S"]:
    """`steps` levels from `high` to `low`, evenly spaced in `sigma^(1/rho)` (EDM, equation 5), and a last 0."""
    ramp = torch.linspace(0, 1, steps) if steps > 1 else torch.zeros(1)
    levels = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return torch.cat([levels, torch.zeros(1)])
