"""Every action decoder in a size for tests, and a target with two modes to clone."""

from __future__ import annotations

import torch
from torch import Tensor

from hone.policies import Candidate, Features, LogProb
from hone.policies.heads import (
    HEADS,
    BinsHeadConfig,
    ChunkSpace,
    DCTHeadConfig,
    DiscreteDiffusionHeadConfig,
    EqMHeadConfig,
    FastHeadConfig,
    FlowHeadConfig,
    Head,
    HeadConfig,
    HybridHeadConfig,
    LaplaceHeadConfig,
    ScoreHeadConfig,
)
from hone.policies.heads.base import FitsActions
from hone.types import Observation

POOLED, H, A = 4, 4, 2
SPACE = ChunkSpace(H, A, -1.0, 1.0)

SMALL: dict[str, HeadConfig] = {
    "dct": DCTHeadConfig(hidden_sizes=(64,), dim_scales=(1.0, 1.0)),
    "laplace": LaplaceHeadConfig(hidden_sizes=(64,), scale_hidden_sizes=(16,)),
    "flow": FlowHeadConfig(hidden_sizes=(128, 128)),
    "eqm": EqMHeadConfig(hidden_sizes=(128, 128)),
    "score": ScoreHeadConfig(hidden_sizes=(128, 128), guidance=1.2),
    "bins": BinsHeadConfig(bins=21, width=48),
    "fast": FastHeadConfig(scale=5.0, vocabulary=48, width=48),
    "discrete_diffusion": DiscreteDiffusionHeadConfig(bins=21, width=32, layers=1, attention_heads=2, rounds=4),
    "hybrid": HybridHeadConfig(trunk_sizes=(64,), trunk_dim=32, bins=21, width=32, hidden_sizes=(128, 128)),
}
"""One configuration per name in `HEADS`."""
MULTIMODAL = ("flow", "eqm", "score", "bins", "fast", "hybrid")
"""Those that tell two modes from their mean within seconds. Masked diffusion can too, but learns it too slowly for a
test; see docs/algorithms/decoders.md."""
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
    if isinstance(head, FitsActions):
        chunks = right_turn(make_features(100))
        head.fit(torch.cat([chunks, -chunks]), torch.ones(200, H, dtype=torch.bool))
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


class HeadPolicy(torch.nn.Module):
    """A policy that is nothing but its head, as GRPO sees it."""

    features_version = 0
    train_encoder = False

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def encode(self, observation: Observation) -> Features:
        raise AssertionError("the features are stored")

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        return self.head.log_prob(features, candidate)

    def trainable_parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.head.parameters() if parameter.requires_grad]
