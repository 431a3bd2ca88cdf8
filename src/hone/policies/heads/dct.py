"""A Gaussian over the low-frequency cosine coefficients of an action chunk.

The network predicts all `H x A` coefficients of the chunk's discrete cosine transform; exploration noise enters
only the lowest few modes. Exploring motion is then as smooth as the policy's own, and the log-density is exact on
the subspace in which it explores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb
from hone.policies.heads.base import ChunkSpace, Head, Losses, SamplingHooks, check_sample, mlp, row_noise


def dct_matrix(length: int) -> Float[Tensor, "H H"]:
    """The orthonormal DCT-II: `D[m, h] = sqrt((2 - [m = 0]) / H) cos(pi m (h + 1/2) / H)`; its inverse is its
    transpose."""
    modes = torch.arange(length, dtype=torch.float64)[:, None]
    steps = torch.arange(length, dtype=torch.float64)[None, :]
    matrix = torch.cos(math.pi * modes * (steps + 0.5) / length) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix.to(torch.float32)


def encode_chunk(chunk: Float[Tensor, "*B H A"]) -> Float[Tensor, "*B M A"]:
    """Cosine coefficients of a chunk in action units: `D chunk / sqrt(H)`, so mode 0 is the chunk's mean action."""
    horizon = chunk.shape[-2]
    return dct_matrix(horizon).to(chunk) @ chunk / math.sqrt(horizon)


def decode_chunk(coefficients: Float[Tensor, "*B M A"], horizon: int) -> Float[Tensor, "*B H A"]:
    """The chunk of `horizon` steps with these lowest `M <= H` coefficients; the inverse of `encode_chunk` for `M =
    H`."""
    basis = dct_matrix(horizon)[: coefficients.shape[-2]].to(coefficients)
    return basis.mT @ coefficients * math.sqrt(horizon)


@dataclass(frozen=True)
class DCTHeadConfig:
    """A Gaussian over low-frequency DCT coefficients with a scheduled (not learned) scale."""

    hidden_sizes: tuple[int, ...] = (512, 512, 512)
    """Widths of the trunk's hidden layers."""
    mode_scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.15)
    """Unit of the network's output per cosine mode, from the constant mode up; the last one holds for all higher
    modes."""
    dim_scales: tuple[float, ...] = (1.0, 1.0, 1.0, 0.3, 0.3, 0.3, 1.0)
    """Unit per action dimension: translation, rotation (smaller: LIBERO needs little of it), gripper."""
    noise_modes: int = 2
    """How many of the lowest modes are explored."""
    exploration: float = 0.1
    """Initial noise scale: the standard deviation of mode m, dimension a is `exploration * mode_scale * dim_scale`.
    In the constant mode of a translation it is thus a standard deviation of the chunk's mean action, whatever its
    length."""
    loss: Literal["smooth_l1", "l1"] = "smooth_l1"
    """Cloning loss in action space."""
    smooth_l1_beta: float = 0.1
    """Error, in action units, below which `smooth_l1` is quadratic."""

    def __post_init__(self) -> None:
        if not self.mode_scales or min(self.mode_scales) <= 0 or min(self.dim_scales) <= 0:
            raise HoneError(f"mode_scales {self.mode_scales} and dim_scales {self.dim_scales} must be positive.")
        if self.noise_modes < 1:
            raise HoneError(
                f"noise_modes is {self.noise_modes}, but at least the constant mode must be explored: use >= 1."
            )
        if self.loss not in ("smooth_l1", "l1") or self.smooth_l1_beta <= 0:
            raise HoneError(f"loss {self.loss!r} with beta {self.smooth_l1_beta}: use 'smooth_l1' (beta > 0) or 'l1'.")

    def for_actions(self, count: int) -> DCTHeadConfig:
        """For actions of `count` numbers: a unit of 1 each, where as many units as that are not named."""
        return self if len(self.dim_scales) == count else replace(self, dim_scales=(1.0,) * count)

    def build(self, in_dim: int, space: ChunkSpace) -> DCTHead:
        return DCTHead(self, in_dim, space)


class DCTHead(Head):
    """Mean coefficients from an MLP on the pooled features; fixed diagonal noise in the lowest modes.

    With network output `z [B, H, A]` and units `s[m, a] = mode_scale[m] dim_scale[a]`, the mean coefficients are
    `mu = s z`, the sample is `u = mu[:noise_modes] + exploration s eps`, and the chunk decodes `u` with the mean of
    the higher modes. `log_prob` is the density of `u` in coefficient space, before the chunk is clipped; its terms
    are modes x dimensions, and every term weighs the same in the score (`eps / exploration` per unit of `z`). The
    whole chunk is scored, whether or not all of it was executed.
    """

    practice = (0.035, 0.02)
    scale: Tensor

    def __init__(self, config: DCTHeadConfig, in_dim: int, space: ChunkSpace) -> None:
        super().__init__(config.exploration)
        if config.noise_modes > space.length:
            raise HoneError(
                f"noise_modes is {config.noise_modes}, but a chunk of {space.length} steps has no more modes."
            )
        if len(config.dim_scales) != space.action_dim:
            raise HoneError(
                f"dim_scales {config.dim_scales} has not one entry per action dimension, {space.action_dim}."
            )
        self.config = config
        self.space = space
        mode_scales = torch.full((space.length,), config.mode_scales[-1])
        given = torch.tensor(config.mode_scales[: space.length])
        mode_scales[: len(given)] = given
        self.register_buffer("scale", mode_scales[:, None] * torch.tensor(config.dim_scales), persistent=False)
        self.trunk = mlp(in_dim, config.hidden_sizes, self.scale.numel(), output_scale=0.1)

    def mean_coefficients(self, features: Features) -> Float[Tensor, "B H A"]:
        """Mean of every cosine coefficient, in action units."""
        return self.scale * self.trunk(features.pooled).unflatten(-1, self.scale.shape)

    def errors(
        self, features: Features, actions: Float[Tensor, "B H A"], generator: torch.Generator | None
    ) -> Float[Tensor, "B H A"]:
        """How far the mean chunk is off."""
        return decode_chunk(self.mean_coefficients(features), self.space.length) - actions

    def losses(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None,
    ) -> Losses:
        errors = self.errors(features, actions, generator)
        if self.config.loss == "l1":
            values = errors.abs()
        else:
            none, beta = torch.zeros_like(errors), self.config.smooth_l1_beta
            values = functional.smooth_l1_loss(errors, none, beta=beta, reduction="none")
        return Losses(values.mean(-1), mask)

    def draw(
        self, features: Features, k: int, generators: Sequence[torch.Generator] | None, hooks: SamplingHooks
    ) -> Candidates:
        mean = self.mean_coefficients(features)
        modes, dims = self.config.noise_modes, mean.shape[-1]
        noise = row_noise(generators, len(features), (k, modes, dims), mean.device)
        if hooks.before:
            noise = hooks.before(noise, features)
        low = mean[:, None, :modes] + self.exploration_scale * self.scale[:modes] * noise
        if hooks.during:
            low = hooks.during(low, 1.0)
        high = mean[:, None, modes:].expand(-1, k, -1, -1)
        chunks = decode_chunk(torch.cat([low, high], dim=2), self.space.length)
        return Candidates(self.space.clamp(chunks), low)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        modes = self.config.noise_modes
        check_sample(candidate, (modes, self.space.action_dim))
        mean = self.mean_coefficients(features)[:, :modes]
        std = self.exploration_scale * self.scale[:modes]
        normalised = (candidate.sample - mean) / std
        terms = (-0.5 * normalised**2 - std.log() - 0.5 * math.log(2 * math.pi)).flatten(1)
        return LogProb(terms.sum(-1), terms, torch.ones_like(terms, dtype=torch.bool), "exact")
