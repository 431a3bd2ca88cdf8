"""Every action decoder in a size for tests, and a target with two modes to clone."""

from __future__ import annotations

import torch
from torch import Tensor

from hone.policies import Features
from hone.policies.heads import (
    HEADS,
    ChunkSpace,
    DCTHeadConfig,
    EqMHeadConfig,
    FlowHeadConfig,
    Head,
    HeadConfig,
    LaplaceHeadConfig,
)

POOLED, H, A = 4, 4, 2
SPACE = ChunkSpace(H, A, -1.0, 1.0)

SMALL: dict[str, HeadConfig] = {
    "dct": DCTHeadConfig(hidden_sizes=(64,), dim_scales=(1.0, 1.0)),
    "laplace": LaplaceHeadConfig(hidden_sizes=(64,), scale_hidden_sizes=(16,)),
    "flow": FlowHeadConfig(hidden_sizes=(128, 128)),
    "eqm": EqMHeadConfig(hidden_sizes=(128, 128)),
}
"""One configuration per name in `HEADS`."""
MULTIMODAL = ("flow", "eqm")
"""Those that can tell two modes from their mean."""
assert list(SMALL) == list(HEADS), "a head without a configuration for tests"


def make_head(name: str, seed: int = 0) -> Head:
    torch.manual_seed(seed)
    return SMALL[name].build(POOLED, SPACE)


def make_features(rows: int, seed: int = 0) -> Features:
    pooled = torch.randn(rows, POOLED, generator=torch.Generator().manual_seed(seed))
    return Features(torch.zeros(rows, 0, POOLED), torch.ones(rows, 0, dtype=torch.bool), pooled)


def generators(rows: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(1000 * seed + row) for row in range(rows)]


def right_turn(features: Features) -> Tensor:
    """A smooth chunk that depends on the features: the first action dimension rises, the second falls."""
    size = 0.3 + 0.3 * torch.sigmoid(features.pooled[:, 0])
    return size[:, None, None] * torch.linspace(0.5, 1.0, H)[:, None] * torch.tensor([1.0, -1.0])


def fit(head: Head, *, modes: int, steps: int, learning_rate: float = 3e-3) -> None:
    """Clone `right_turn`, or with two modes its mirror image half of the time."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(head.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    mask = torch.ones(128, H, dtype=torch.bool)
    for step in range(steps):
        features = make_features(128, seed=step)
        sign = torch.randint(modes, (128, 1, 1), generator=generator) * 2.0 - 1 if modes == 2 else 1.0
        loss = head.loss(features, sign * right_turn(features), mask, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
