from typing import Any

import pytest
import torch
from head_toys import generators, make_features

from hone.errors import HoneError
from hone.policies import Features
from hone.policies.heads import ChunkSpace, SamplingHooks, ScoreHead, ScoreHeadConfig
from hone.policies.heads.field import Field
from hone.policies.heads.score import noise_levels

MEAN, STD, DATA = 0.3, 0.2, 0.5
NUMBER = ChunkSpace(1, 1, -100.0, 100.0)


class GaussianScore(Field):
    """The best network for data `a ~ N(MEAN, STD^2)`: `D = E[a | x]`, or its preconditioning inverted.

    The blank (pooled features all zero) stands for data around 0.
    """

    def __init__(self, config: ScoreHeadConfig) -> None:
        super().__init__()
        self.low, self.high, self.predicts = config.sigma_min, config.sigma_max, config.predicts

    def condition(self, features: Features) -> Features:
        return features

    def forward(self, x, time, given):
        assert time is not None
        sigma = (self.low * (self.high / self.low) ** time)[:, None, None]
        mean = MEAN * given.pooled.any(-1).float()[:, None, None]
        variance = sigma**2 + DATA**2
        noisy = x * variance.sqrt()
        best = (STD**2 * noisy + sigma**2 * mean) / (STD**2 + sigma**2)
        if self.predicts == "chunk":
            return best
        return (best - DATA**2 / variance * noisy) * variance.sqrt() / (sigma * DATA)


def gaussian(**changes) -> ScoreHead:
    settings: dict[str, Any] = {"hidden_sizes": (8,), "sigma_max": 20.0, "exploration": 1e-6, **changes}
    config = ScoreHeadConfig(**settings)
    head = config.build(4, NUMBER)
    assert isinstance(head, ScoreHead)
    head.field = GaussianScore(config)
    return head


def draw(head: ScoreHead, k: int, hooks: SamplingHooks | None = None) -> torch.Tensor:
    with torch.no_grad():
        return head.sample(make_features(1), k, generators(1), hooks or SamplingHooks()).samples[0]


def test_levels_fall_from_the_highest_to_the_lowest_to_zero():
    levels = noise_levels(5, 0.01, 5.0)
    torch.testing.assert_close(levels[[0, 4, 5]], torch.tensor([5.0, 0.01, 0.0]), rtol=1e-4, atol=0)
    assert (levels.diff() < 0).all()
    middle = (0.5 * (5.0 ** (1 / 7) + 0.01 ** (1 / 7))) ** 7  # EDM's equation 5 at its middle
    assert levels[2].item() == pytest.approx(middle, rel=1e-4)


@pytest.mark.parametrize("predicts", ["chunk", "preconditioned"])
def test_many_steps_end_in_the_data(predicts: str):
    chunks = draw(gaussian(steps=100, predicts=predicts), 5000)[:, -1, 0]
    assert abs(chunks.mean().item() - MEAN) < 0.015  # standard error 0.003; 100 steps leave some bias
    assert abs(chunks.std().item() - STD) < 0.01


@pytest.mark.parametrize("predicts", ["chunk", "preconditioned"])
def test_the_conditional_mean_is_not_off_on_average(predicts: str):
    """At any level: the errors of the best denoiser are drawn around 0, with less spread than the data has."""
    head = gaussian(predicts=predicts, dropout=0.0, sigma_max=2.0)
    actions = MEAN + STD * torch.randn(20_000, 1, 1, generator=torch.Generator().manual_seed(1))
    errors, _ = head._denoising_errors(make_features(20_000), actions, torch.Generator().manual_seed(0))
    assert abs(errors.mean().item()) < 0.005  # standard error 0.0012 at most
    assert errors.std().item() < STD


def test_guidance_moves_away_from_the_blank():
    # Both are linear with the same slope, so w moves D, and the end, along the line from the blank's mean 0 to MEAN.
    guided = draw(gaussian(steps=60, guidance=2.0), 3000)[:, -1, 0]
    assert abs(guided.mean().item() - 2 * MEAN) < 0.02
    head = gaussian(steps=3, guidance=2.0)
    assert head.evaluations(draw(head, 2)).tolist() == [6, 6]


def test_a_warm_start_begins_at_the_noise_level_of_its_step():
    head = gaussian(steps=4)

    def warm(noise: torch.Tensor, _: Features) -> torch.Tensor:
        return head.warm(noise, torch.full((1, 1, 1, 1), 0.7), 0.5)

    samples = draw(head, 4000, SamplingHooks(before=warm))
    assert (head.evaluations(samples) == 2).all()
    started = samples[:, 2, 0]
    assert abs(started.mean().item() - 0.7) < 0.06
    assert started.std().item() == pytest.approx(head.sigmas[2].item(), rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma_min": 7.0}, "below sigma_max"),
        ({"guidance": 2.0, "dropout": 0.0}, "needs some"),
        ({"dropout": 1.0}, r"in \[0, 1\)"),
    ],
)
def test_bad_configurations(changes, message):
    with pytest.raises(HoneError, match=message):
        ScoreHeadConfig(sigma_max=5.0, **changes)
