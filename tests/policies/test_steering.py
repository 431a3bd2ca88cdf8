import pytest
import torch
from head_toys import SPACE, A, H, generators, make_features, make_head

from hone.errors import HoneError
from hone.policies.heads import EqMHeadConfig, FlowHeadConfig, SamplingHooks
from hone.policies.heads.chain import ChainHead
from hone.policies.steering import best_first, elite, start_from


def test_best_first_is_the_best_of_k_and_keeps_its_likelihood():
    head, features = make_head("bins"), make_features(5)
    plain = head.sample(features, 8, generators(5))
    hooks = SamplingHooks(after=best_first(lambda chunks, _: chunks[..., 0].mean(-1)))
    ranked = head.sample(features, 8, generators(5), hooks)
    best = plain.select(plain.chunks[..., 0].mean(-1).argmax(-1))
    first = ranked.select(torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(first.chunk, best.chunk)
    torch.testing.assert_close(head.log_prob(features, first).total, head.log_prob(features, best).total)
    assert (ranked.chunks[..., 0].mean(-1).diff(dim=1) <= 0).all()


@pytest.mark.parametrize("config", [FlowHeadConfig(hidden_sizes=(8,), steps=5), EqMHeadConfig(hidden_sizes=(8,))])
def test_the_start_is_mixed_with_noise_as_far_as_it_is_not_trusted(config):
    head, features = config.build(4, SPACE), make_features(2)
    chunks = torch.stack([torch.full((H, A), 0.5), torch.full((H, A), -0.5)])
    hooks = SamplingHooks(before=start_from(head, chunks, trust=0.8))
    with torch.no_grad():
        samples = head.sample(features, 2000, generators(2), hooks).samples
    # The flow skips 4 of 5 steps; the descent may take all.
    first = 4 if isinstance(config, FlowHeadConfig) else 0
    starts = samples[:, :, first, :-1].unflatten(-1, (H, A))
    torch.testing.assert_close(starts.mean(1), 0.8 * chunks, atol=0.02, rtol=0)  # standard error 0.0045
    assert abs(starts.std(1).mean().item() - 0.2) < 0.01
    assert isinstance(head, ChainHead)
    if first:
        assert (head.evaluations(samples) == 1).all()


def test_elite_is_the_mean_of_those_that_agree():
    left, right = torch.full((H, A), -0.6), torch.full((H, A), 0.6)
    chunks = torch.stack([right, right + 0.1, left, right - 0.1])[None]
    found = elite(chunks, torch.tensor([[1.0, 1.0, 1.0, 2.0]]), consistent=0.75)
    torch.testing.assert_close(found, (0.25 * (4 * right + 0.1 - 2 * 0.1))[None])  # without the one to the left
    alone = elite(chunks, torch.tensor([[0.0, 0.0, 1.0, 0.0]]), consistent=0.25)
    torch.testing.assert_close(alone, left[None])


def test_bad_input():
    with pytest.raises(HoneError, match="LaplaceHead does not refine"):
        start_from(make_head("laplace"), torch.zeros(1, H, A), 0.5)
    with pytest.raises(HoneError, match="trust is 2"):
        start_from(make_head("flow"), torch.zeros(1, H, A), 2.0)
    head = make_head("flow")
    with pytest.raises(HoneError, match="3 chunks to start from for 2 rows"):
        head.sample(make_features(2), 1, None, SamplingHooks(before=start_from(head, torch.zeros(3, H, A), 0.5)))
    with pytest.raises(HoneError, match="weights must be"):
        elite(torch.zeros(1, 2, H, A), torch.zeros(1, 2))
