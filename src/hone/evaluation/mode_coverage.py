"""Whether a decoder that saw two ways of doing the same thing finds both, and nothing in between."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hone.policies.base import Features
from hone.policies.heads import ChunkSpace, Head
from hone.policies.heads.base import FitsActions
from hone.seeding import derive_seed, torch_generator

FEATURES = 8
"""Width of the toy's features."""
NEAR = 0.5
"""A chunk counts as one of the modes within this share of the distance from the middle between them."""


def detour(features: Features, space: ChunkSpace) -> Float[Tensor, "B H A"]:
    """One of the two modes of each row: a smooth chunk to one side, its size and direction given by the features. The
    other mode is its mirror image, so that the mean of both is to stand still."""
    size = 0.3 + 0.4 * torch.sigmoid(features.pooled[:, :1])
    angle = torch.pi * torch.sigmoid(features.pooled[:, 1:2]) + torch.pi / 2 * torch.arange(space.action_dim)
    path = (torch.pi * (torch.arange(space.length) + 0.5) / space.length).sin()
    return (size * angle.cos())[:, None, :] * path[:, None]


@dataclass(frozen=True)
class ModeCoverage:
    """Shares of the sampled chunks, between 0 and 1."""

    covered: float
    """At a mode, either of them."""
    first: float
    """At the first mode."""
    error: float
    """Root mean square distance of those to their mode, in action units."""
    greedy: float
    """Of the greedy chunks: at a mode."""

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def toy_features(rows: int, generator: torch.Generator) -> Features:
    pooled = torch.randn(rows, FEATURES, generator=generator)
    return Features(torch.zeros(rows, 0, FEATURES), torch.ones(rows, 0, dtype=torch.bool), pooled)


def learn_two_modes(
    head: Head, space: ChunkSpace, *, share: float, steps: int, batch: int, learning_rate: float, seed: int
) -> None:
    """Clone the two modes, of which a `share` of the demonstrations shows the first (AdamW, one cycle)."""
    generator = torch_generator(seed, "two modes")

    def demonstrated(rows: int) -> tuple[Features, Float[Tensor, "B H A"]]:
        features = toy_features(rows, generator)
        sign = torch.where(torch.rand(rows, 1, 1, generator=generator) < share, 1.0, -1.0)
        return features, sign * detour(features, space)

    mask = torch.ones(batch, space.length, dtype=torch.bool)
    if isinstance(head, FitsActions):
        chunks = demonstrated(1000)[1]
        head.fit(chunks, torch.ones(len(chunks), space.length, dtype=torch.bool))
    optimizer = torch.optim.AdamW(head.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for _ in range(steps):
        loss = head.loss(*demonstrated(batch), mask, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def mode_coverage(head: Head, space: ChunkSpace, *, rows: int, draws: int, seed: int) -> ModeCoverage:
    """Of `draws` chunks for each of `rows` features that were not learned from."""
    features = toy_features(rows, torch_generator(seed, "unseen features"))
    generators = [torch.Generator().manual_seed(derive_seed(seed, "draws", row) % 2**63) for row in range(rows)]
    modes = detour(features, space)
    side, distance = nearest_mode(head.sample(features, draws, generators).chunks, modes)
    near = distance < NEAR
    greedy = nearest_mode(head.sample(features, 1, None).chunks, modes)[1]
    scale = modes.square().mean((-2, -1)).sqrt()[:, None]
    errors = (distance * scale)[near]
    return ModeCoverage(
        covered=float(near.float().mean()),
        first=float((near & (side > 0)).float().mean()),
        error=float(errors.square().mean().sqrt()) if len(errors) else float("nan"),
        greedy=float((greedy < NEAR).float().mean()),
    )


def nearest_mode(
    chunks: Float[Tensor, "B K H A"], modes: Float[Tensor, "B H A"]
) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"]]:
    """Which mode each chunk is nearer to (1: the first, -1: its mirror image) and how far from it, in units of the
    distance from the middle to a mode."""
    side = torch.where((chunks * modes[:, None]).sum((-2, -1)) >= 0, 1.0, -1.0)
    distance = (chunks - side[..., None, None] * modes[:, None]).square().sum((-2, -1)).sqrt()
    return side, distance / modes.square().sum((-2, -1)).sqrt()[:, None]
