import math

import pytest
import torch

from hone.training.losses import clipped_surrogate, kl_k1, kl_k3

CLIP = {"clip_low": 0.2, "clip_high": 0.28}


def test_asymmetric_clip_golden_numbers():
    # ratio                 1.5     1.25    0.5     1.5     0.9     0.5
    # advantage             2       2       2      -1      -1      -1
    # clipped to            1.28    1.25    0.8     1.28    0.9     0.8
    # min(rho A, clip A)    2.56    2.5     1.0    -1.5    -0.9    -0.8
    # gradient stopped      yes     no      no      no      no      yes
    ratio = torch.tensor([1.5, 1.25, 0.5, 1.5, 0.9, 0.5], dtype=torch.float64)
    advantages = torch.tensor([2.0, 2, 2, -1, -1, -1], dtype=torch.float64)
    weights = torch.tensor([1.0, 2, 1, 1, 1, 4], dtype=torch.float64) / 10
    old = torch.full_like(ratio, -3.0)
    result = clipped_surrogate(old + ratio.log(), old, advantages, weights, **CLIP)
    # -(2.56 + 2 * 2.5 + 1.0 - 1.5 - 0.9 - 4 * 0.8) / 10 = -2.96 / 10; stopped weight (1 + 4) / 10
    assert float(result.loss) == pytest.approx(-0.296)
    assert float(result.clip_fraction) == pytest.approx(0.5)


def test_dual_clip_bounds_what_the_plain_clip_does_not():
    # ratio 10 with advantage -1: min gives -10, dual clip at 3 gives -3 and no gradient.
    log_prob = torch.tensor([math.log(10.0)], requires_grad=True)
    zero, minus, one = torch.zeros(1), -torch.ones(1), torch.ones(1)
    plain = clipped_surrogate(log_prob, zero, minus, one, **CLIP)
    dual = clipped_surrogate(log_prob, zero, minus, one, **CLIP, dual_clip=3.0)
    assert plain.loss.item() == pytest.approx(10.0)
    assert dual.loss.item() == pytest.approx(3.0)
    assert float(dual.clip_fraction) == 1.0
    assert torch.autograd.grad(dual.loss, log_prob)[0].item() == 0.0


def test_gradient_equals_finite_differences():
    generator = torch.Generator().manual_seed(0)
    old = torch.randn(16, generator=generator, dtype=torch.float64)
    # Kept away from the kinks at 0.8 and 1.28, where the gradient jumps.
    ratio = torch.tensor([0.3, 0.7, 0.9, 1.0, 1.1, 1.2, 1.4, 3.0] * 2, dtype=torch.float64)
    log_prob = (old + ratio.log()).requires_grad_()
    advantages = torch.randn(16, generator=generator, dtype=torch.float64)
    weights = torch.rand(16, generator=generator, dtype=torch.float64)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return clipped_surrogate(x, old, advantages, weights, **CLIP).loss

    assert torch.autograd.gradcheck(loss, (log_prob,), eps=1e-7, atol=1e-6)


def test_at_ratio_one_the_gradient_is_that_of_reinforce():
    log_prob = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    advantages, weights = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.2, 0.3, 0.5])
    result = clipped_surrogate(log_prob, log_prob.detach(), advantages, weights, **CLIP)
    (gradient,) = torch.autograd.grad(result.loss, log_prob)
    torch.testing.assert_close(gradient, -weights * advantages)
    assert float(result.clip_fraction) == 0.0


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_huge_log_ratios_give_a_finite_gradient(advantage: float):
    log_prob = torch.tensor([1e6, -1e6], requires_grad=True)
    result = clipped_surrogate(log_prob, torch.zeros(2), torch.full((2,), advantage), torch.ones(2), **CLIP)
    (gradient,) = torch.autograd.grad(result.loss, log_prob)
    assert result.loss.isfinite()
    assert gradient.isfinite().all()


def test_kl_estimators_agree_with_the_closed_form():
    # Two unit Gaussians, means 0 and 0.5: KL = 0.5^2 / 2 = 0.125. With 200k samples the standard error of k1 is
    # 0.5 / sqrt(200k) = 0.0011; k3's is smaller.
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    old, new = -0.5 * x**2, -0.5 * (x - 0.5) ** 2
    k1, k3 = kl_k1(new, old), kl_k3(new, old)
    assert float(k1.mean()) == pytest.approx(0.125, abs=0.004)
    assert float(k3.mean()) == pytest.approx(0.125, abs=0.002)
    assert float(k3.min()) >= 0
    assert float(k3.var()) < float(k1.var())
