import math

import pytest
import torch

from hone.errors import HoneError
from hone.policies.base import Features
from hone.policies.heads import (
    BinsHeadConfig,
    ChunkSpace,
    DCTHeadConfig,
    EqMHeadConfig,
    FlowHeadConfig,
    LaplaceHeadConfig,
    ScoreHeadConfig,
)
from hone.training.objectives import CloningBatch, MinimumErrorEntropy
from hone.training.objectives.mee import error_entropy

SPACE = ChunkSpace(2, 1, -1.0, 1.0)
REGRESSING = {
    "dct": DCTHeadConfig(hidden_sizes=(8,), dim_scales=(1.0,)),
    "laplace": LaplaceHeadConfig(hidden_sizes=(8,), scale_hidden_sizes=(8,)),
    "flow": FlowHeadConfig(hidden_sizes=(8,)),
    "eqm": EqMHeadConfig(hidden_sizes=(8,)),
    "score": ScoreHeadConfig(hidden_sizes=(8,)),
}


def batch(rows: int = 4) -> CloningBatch:
    pooled = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
    features = Features(torch.zeros(rows, 0, 3), torch.ones(rows, 0, dtype=torch.bool), pooled)
    mask = torch.ones(rows, 2, dtype=torch.bool)
    mask[0, 1] = False
    actions = 0.1 * pooled[:, :1, None].expand(rows, 2, 1).contiguous()
    return CloningBatch(features, actions, mask, ("go",) * rows, lambda told: features)


def test_two_errors_have_the_entropy_worked_out_by_hand():
    # Kernel matrix [[1, k], [k, 1]] with k = exp(-d^2 / 2 sigma^2), d = 0.3, sigma = 0.5.
    expected = -math.log((1 + math.exp(-(0.3**2) / (2 * 0.25))) / 2)
    assert float(error_entropy(torch.tensor([[0.1], [0.4]]), 0.5)) == pytest.approx(expected, rel=1e-5)
    # Far apart, each pairs with itself alone: log N.
    far = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    assert float(error_entropy(far, 0.5)) == pytest.approx(math.log(3), rel=1e-6)


def test_equal_errors_cost_nothing_however_large():
    errors = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(error_entropy(errors + 5.0, 0.5), error_entropy(errors, 0.5), atol=1e-5, rtol=0)
    assert float(error_entropy(torch.full((20, 3), 7.0), 0.5)) == pytest.approx(0.0, abs=1e-6)


def test_the_gradient_draws_errors_together_and_lets_an_outlier_be():
    errors = torch.tensor([[0.0], [0.1], [-0.1], [0.05], [6.0]], requires_grad=True)
    error_entropy(errors, 0.5).backward()
    assert errors.grad is not None
    gradient = errors.grad[:, 0]
    assert gradient[1] > 0.01  # descent lowers the high one
    assert gradient[2] < -0.01  # and raises the low one
    assert gradient[4].abs() < 1e-6  # the mean square would move it most of all
    torch.testing.assert_close(gradient.sum(), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", list(REGRESSING))
def test_every_head_of_numbers_has_errors_and_learns_from_them(name):
    torch.manual_seed(0)
    head = REGRESSING[name].build(3, SPACE)
    term = MinimumErrorEntropy(weight=1.0)
    value = term(head, batch(), torch.Generator().manual_seed(1))
    value.backward()
    assert 0 < float(value.detach()) < math.log(7) + 1e-6  # seven real steps
    assert max(float(p.grad.abs().max()) for p in head.parameters() if p.grad is not None) > 1e-4
    # What is masked has no say.
    one = batch()
    one.actions[0, 1] = 100.0
    again = term(head, one, torch.Generator().manual_seed(1))
    if name in ("dct", "laplace"):  # the others mix the whole noisy chunk
        torch.testing.assert_close(again, value)


def test_the_squared_errors_of_a_denoiser_are_its_loss():
    for name in ("flow", "eqm", "score"):
        torch.manual_seed(0)
        head, one = REGRESSING[name].build(3, SPACE), batch()
        errors = head.errors(one.features, one.actions, torch.Generator().manual_seed(2))  # type: ignore[union-attr]
        loss = head.loss(one.features, one.actions, one.mask, torch.Generator().manual_seed(2))
        torch.testing.assert_close(errors[one.mask].square().mean(), loss)


def test_bad_input():
    with pytest.raises(HoneError, match="BinsHead learns tokens"):
        MinimumErrorEntropy(1.0)(BinsHeadConfig(bins=5, width=8).build(3, SPACE), batch(), torch.Generator())
    with pytest.raises(HoneError, match="bandwidth 0"):
        MinimumErrorEntropy(1.0, bandwidth=0.0)
