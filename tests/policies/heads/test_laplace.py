import math

import pytest
import torch
from head_toys import POOLED, SPACE, A, H, generators, make_features, make_head

from hone.errors import HoneError
from hone.policies.heads import LaplaceHead, LaplaceHeadConfig
from hone.policies.heads.laplace import laplace_noise


def laplace_head() -> LaplaceHead:
    head = make_head("laplace")
    assert isinstance(head, LaplaceHead)
    return head


def test_log_prob_equals_torch_distributions():
    head, features = laplace_head(), make_features(4)
    head.exploration = 0.7
    candidate = head.sample(features, 1, generators(4)).select(torch.zeros(4, dtype=torch.long))
    reference = torch.distributions.Laplace(head.medians(features), 0.7 * head.scales(features.pooled))
    log_prob = head.log_prob(features, candidate)
    torch.testing.assert_close(log_prob.terms, reference.log_prob(candidate.sample).flatten(1), atol=1e-4, rtol=1e-5)
    assert log_prob.kind == "exact"
    assert log_prob.terms.shape == (4, H * A)


def test_normal_noise_becomes_laplace_noise_of_the_same_rank():
    normal = torch.linspace(-6, 6, 101, dtype=torch.float64)
    rank = torch.distributions.Laplace(0.0, 1.0).cdf(laplace_noise(normal))
    torch.testing.assert_close(rank, torch.special.ndtr(normal), atol=1e-9, rtol=1e-6)
    assert torch.isfinite(laplace_noise(torch.tensor([-30.0, 0.0, 30.0]))).all()


def test_the_scale_learns_the_spread_and_leaves_the_median_alone():
    head, features = laplace_head(), make_features(512)
    mask, generator = torch.ones(512, H, dtype=torch.bool), torch.Generator().manual_seed(0)
    with torch.no_grad():
        medians = head.medians(features)
    optimizer = torch.optim.Adam(head.raw_scale.parameters(), 0.02)
    for _ in range(120):
        errors = laplace_noise(torch.randn(512, H, A, generator=generator))
        loss = head.loss(features, (medians + 0.05 * errors).clamp(-1, 1), mask)
        head.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert abs(float(head.scales(features.pooled).mean()) - 0.05) < 0.005
    # The median's gradient is that of the L1 distance alone.
    errors = torch.where(head.medians(features) > medians - 0.01, 1.0, -1.0) / (512 * H * A)
    (expected,) = torch.autograd.grad((errors * head.medians(features)).sum(), [head.median[-1].get_parameter("bias")])
    head.zero_grad()
    head.loss(features, medians - 0.01, mask).backward()
    torch.testing.assert_close(head.median[-1].get_parameter("bias").grad, expected)


def test_initial_scale_and_floor():
    head = LaplaceHeadConfig(initial_scale=0.3, min_scale=0.02, hidden_sizes=(8,)).build(POOLED, SPACE)
    with torch.no_grad():
        head.raw_scale[-1].get_parameter("weight").zero_()
        assert head.scales(torch.zeros(1, POOLED))[0, 0, 0].item() == pytest.approx(0.3, rel=1e-5)
        head.raw_scale[-1].get_parameter("bias").fill_(-100)
        assert head.scales(torch.zeros(1, POOLED))[0, 0, 0].item() == pytest.approx(0.02)
    with pytest.raises(HoneError, match="below initial_scale"):
        LaplaceHeadConfig(initial_scale=0.01, min_scale=0.02)
    assert math.isclose(head.exploration, 1.0)
