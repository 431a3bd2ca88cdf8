import math

import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.policies import Candidate, Candidates, Features
from hone.policies.heads import ChunkSpace, DCTHead, DCTHeadConfig, SamplingHooks
from hone.policies.heads.dct import dct_matrix, decode_chunk, encode_chunk

POOLED, H, A = 5, 8, 7


def make_features(batch: int, seed: int = 0) -> Features:
    pooled = torch.randn(batch, POOLED, generator=torch.Generator().manual_seed(seed))
    return Features(torch.zeros(batch, 0, POOLED), torch.ones(batch, 0, dtype=torch.bool), pooled)


def make_head(**changes) -> DCTHead:
    torch.manual_seed(0)
    head = DCTHeadConfig(hidden_sizes=(16,), **changes).build(POOLED, ChunkSpace(H, A, -1.0, 1.0))
    with torch.no_grad():
        head.trunk[-1].get_parameter("weight").mul_(5)  # so that means are not all near zero
    return head


def generators(batch: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + row) for row in range(batch)]


@pytest.mark.parametrize("length", [1, 2, 8, 16])
def test_matrix_is_orthonormal(length):
    matrix = dct_matrix(length).double()
    # float32 entries: rounding of 6e-8 each, summed over at most 16
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(length, dtype=torch.float64), atol=1e-6, rtol=0)


def test_matrix_against_the_definition_by_a_cosine_of_one_mode():
    # cos(pi 3 (h + 1/2) / 8) is mode 3 alone, with coefficient sqrt(8 / 2).
    wave = torch.cos(math.pi * 3 * (torch.arange(8.0) + 0.5) / 8)
    expected = torch.zeros(8)
    expected[3] = 2.0
    torch.testing.assert_close(dct_matrix(8) @ wave, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("length", [1, 8, 16])
def test_decode_inverts_encode(length):
    chunk = torch.randn(3, 2, length, A, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(decode_chunk(encode_chunk(chunk), length), chunk, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [4, 8, 16])
def test_mode_zero_is_the_mean_action_whatever_the_length(length):
    torch.testing.assert_close(encode_chunk(torch.full((length, A), 0.7))[0], torch.full((A,), 0.7))
    torch.testing.assert_close(decode_chunk(torch.full((1, A), 0.7), length), torch.full((length, A), 0.7))


def test_log_prob_equals_torch_distributions():
    head, features = make_head(), make_features(4)
    candidate = head.sample(features, 1, generators(4)).select(torch.zeros(4, dtype=torch.long))
    scale = head.scale[:2] * 0.1
    reference = torch.distributions.Normal(head.mean_coefficients(features)[:, :2], scale)
    log_prob = head.log_prob(features, candidate)
    torch.testing.assert_close(log_prob.terms, reference.log_prob(candidate.sample).flatten(1), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(log_prob.total, log_prob.terms.sum(-1))
    assert log_prob.kind == "exact"
    assert log_prob.terms.shape == (4, 2 * A)


@pytest.mark.parametrize(("mode", "dim"), [(0, 0), (0, 4), (1, 2), (1, 5)])
def test_density_of_a_coefficient_integrates_to_one(mode, dim):
    head, features = make_head(), make_features(1)
    mean = head.mean_coefficients(features)[0, :2].detach()
    std = float(0.1 * head.scale[mode, dim])
    # The trapezoid rule over +-8 standard deviations is exact for a Gaussian up to rounding.
    grid = torch.linspace(-8 * std, 8 * std, 401)
    samples = mean.repeat(401, 1, 1)
    samples[:, mode, dim] += grid
    wide = features[torch.zeros(401, dtype=torch.long)]
    terms = head.log_prob(wide, Candidate(torch.zeros(401, H, A), samples)).terms[:, mode * A + dim]
    assert torch.trapezoid(terms.exp(), grid).item() == pytest.approx(1, abs=1e-3)


def test_histogram_of_samples_follows_the_density():
    head, features = make_head(exploration=0.3), make_features(1)
    draws = 20_000
    sample = head.sample(features, draws, generators(1)).samples[0]
    mean = head.mean_coefficients(features)[0, :2].detach()
    std = 0.3 * head.scale[:2]
    # Standard errors at 20000 draws: mean 0.007 std, variance 0.01; four of them.
    torch.testing.assert_close(((sample - mean) / std).mean(0), torch.zeros(2, A), atol=0.03, rtol=0)
    torch.testing.assert_close(((sample - mean) / std).var(0), torch.ones(2, A), atol=0.04, rtol=0)
    edges = np.linspace(-3, 3, 13)
    counts, _ = np.histogram(((sample - mean) / std)[:, 1, 4].detach().numpy(), edges)
    density = np.diff([0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges])
    np.testing.assert_allclose(counts / draws, density, atol=4 * math.sqrt(0.2 * 0.8 / draws))


def test_noise_enters_only_the_lowest_modes():
    head, features = make_head(noise_modes=3), make_features(2)
    greedy = head.sample(features, 1, None).chunks
    noisy = head.sample(features, 4, generators(2)).chunks
    assert greedy.abs().max() < 0.7  # nothing is clipped, so that the difference is the noise
    assert noisy.abs().max() < 1
    difference = encode_chunk(noisy - greedy)
    torch.testing.assert_close(difference[:, :, 3:], torch.zeros(2, 4, H - 3, A), atol=1e-5, rtol=0)
    assert (difference[:, :, :3].abs().amax((0, 1)) > 1e-3).all()


def test_the_score_weighs_every_noise_dimension_the_same():
    head, features = make_head(), make_features(1)
    mean = head.mean_coefficients(features)[:, :2]
    raw = (mean / head.scale[:2]).detach().requires_grad_()
    sample = mean.detach() + 0.1 * head.scale[:2]  # one standard deviation away everywhere
    log_density = torch.distributions.Normal(raw * head.scale[:2], 0.1 * head.scale[:2]).log_prob(sample)
    (gradient,) = torch.autograd.grad(log_density.sum(), raw)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 10.0), rtol=1e-4, atol=0)


def test_exploration_can_be_set_and_travels_in_the_state_dict():
    head, other, features = make_head(), make_head(), make_features(1)
    head.exploration = 0.05
    other.load_state_dict(head.state_dict())
    assert other.exploration == pytest.approx(0.05)
    one = head.sample(features, 1, generators(1)).samples - head.sample(features, 1, None).samples
    head.exploration = 0.1
    two = head.sample(features, 1, generators(1)).samples - head.sample(features, 1, None).samples
    torch.testing.assert_close(two, 2 * one, atol=1e-5, rtol=0)
    with pytest.raises(HoneError, match="must be positive"):
        head.exploration = 0.0


def test_loss_ignores_masked_steps_and_is_zero_at_the_prediction():
    head, features = make_head(), make_features(3)
    actions = decode_chunk(head.mean_coefficients(features), H).detach()
    mask = torch.ones(3, H, dtype=torch.bool)
    mask[1, 5:] = False
    assert head.loss(features, actions, mask).item() == pytest.approx(0, abs=1e-9)
    actions[1, 5:] += 100
    assert head.loss(features, actions, mask).item() == pytest.approx(0, abs=1e-9)
    actions[0, 0] += 0.35
    # One of 21 real steps is off by 0.35 = 3.5 beta in every dimension: (0.35 - 0.05) / 21.
    assert head.loss(features, actions, mask).item() == pytest.approx(0.3 / 21, rel=1e-4)
    nothing = torch.zeros_like(mask)
    assert head.loss(features, actions, nothing).item() == 0


def test_hooks_before_during_after():
    head, features = make_head(), make_features(2)
    seen = []

    def best_first(candidates: Candidates, _: Features) -> Candidates:
        # Best of k: the candidate that closes the gripper most decisively comes first.
        order = candidates.chunks[..., -1].mean(-1).argsort(dim=1, descending=True)
        rows = torch.arange(len(order))[:, None]
        return Candidates(candidates.chunks[rows, order], candidates.samples[rows, order])

    plain = head.sample(features, 6, generators(2))
    ranked = head.sample(features, 6, generators(2), SamplingHooks(after=best_first))
    grip = ranked.chunks[..., -1].mean(-1)
    assert (grip[:, :-1] >= grip[:, 1:]).all()
    best = plain.chunks[..., -1].mean(-1).argmax(1)
    torch.testing.assert_close(ranked.chunks[:, 0], plain.select(best).chunk)
    # The sample moves with its chunk, so a chosen candidate keeps its likelihood.
    chosen = ranked.select(torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(head.log_prob(features, chosen).total, head.log_prob(features, plain.select(best)).total)

    hooks = SamplingHooks(before=lambda noise, _: noise * 0, during=lambda x, time: seen.append(time) or x + 0.01)
    shifted = head.sample(features, 2, generators(2), hooks).samples
    torch.testing.assert_close(shifted, head.sample(features, 2, None).samples + 0.01)
    assert seen == [1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_modes": 0}, "noise_modes is 0"),
        ({"noise_modes": 9}, "no more modes"),
        ({"mode_scales": ()}, "must be positive"),
        ({"exploration": -1.0}, "must be positive"),
        ({"smooth_l1_beta": 0.0}, "beta"),
    ],
)
def test_bad_configurations(changes, message):
    with pytest.raises(HoneError, match=message):
        make_head(**changes)
