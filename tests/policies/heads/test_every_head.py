"""What every action decoder does: learns a toy, covers its modes where it can, and follows a policy gradient."""

from dataclasses import replace

import pytest
import torch
from head_toys import (
    MULTIMODAL,
    POOLED,
    SMALL,
    SPACE,
    A,
    H,
    HeadPolicy,
    fit,
    generators,
    make_features,
    make_head,
    right_turn,
)

from hone.errors import HoneError
from hone.policies import Candidate, Candidates, Features
from hone.policies.heads import EqMHeadConfig, FlowHeadConfig, Head, SamplingHooks, ScoreHeadConfig
from hone.training.decisions import DecisionBatch
from hone.training.grpo import GRPO, GRPOConfig

STEPS = {"dct": 150, "laplace": 150, "flow": 400, "eqm": 400, "score": 400, "hybrid": 400}
"""To clone one mode; the token heads take 200."""


@pytest.fixture(params=list(SMALL))
def name(request) -> str:
    return request.param


@pytest.fixture
def head(name) -> Head:
    return make_head(name)


def test_practice_begins_no_narrower_than_it_ends(head):
    first, last = head.practice
    assert first >= last > 0
    head.exploration = last


DENOISERS = (FlowHeadConfig(hidden_sizes=(64,)), EqMHeadConfig(hidden_sizes=(64,)), ScoreHeadConfig(hidden_sizes=(64,)))


@pytest.mark.parametrize("config", DENOISERS)
def test_more_draws_are_the_same_loss_with_less_noise(config):
    features, target = make_features(8), right_turn(make_features(8))
    mask = torch.ones(8, H, dtype=torch.bool)
    losses = {}
    for draws in (1, 16):
        torch.manual_seed(0)
        head = replace(config, draws=draws).build(POOLED, SPACE)
        each = [head.loss(features, target, mask, torch.Generator().manual_seed(seed)) for seed in range(40)]
        losses[draws] = torch.stack(each).detach()
    # 16 draws have a quarter of the spread; the means of 40 agree within their standard errors.
    assert losses[16].std() < 0.5 * losses[1].std()
    assert abs(losses[16].mean() - losses[1].mean()) < 4 * losses[1].std() / 40**0.5


def near(chunks: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Whether chunks `[B, K, H, A]` are within 0.2 of their row's target in every action."""
    return (chunks - target[:, None]).abs().amax((-2, -1)) < 0.2


def first(candidates: Candidates) -> Candidate:
    return candidates.select(torch.zeros(len(candidates.chunks), dtype=torch.long))


def test_one_mode_is_cloned(name, head):
    fit(head, modes=1, steps=STEPS.get(name, 200))
    features = make_features(50, seed=10**6)
    with torch.no_grad():
        greedy = head.sample(features, 1, None).chunks
    # A head that ignored the features would be up to 0.15 off; one that learned nothing, 0.4 and more.
    assert (greedy[:, 0] - right_turn(features)).abs().mean() < 0.06


@pytest.mark.parametrize("name", MULTIMODAL)
def test_two_modes_are_both_found_and_not_averaged(name):
    head = make_head(name)
    fit(head, modes=2, steps=2 * STEPS.get(name, 200))
    features = make_features(50, seed=10**6)
    if name in ("flow", "eqm", "score", "hybrid"):
        head.exploration = 0.02
    with torch.no_grad():
        chunks = head.sample(features, 10, generators(50)).chunks
        greedy = head.sample(features, 1, None).chunks
    target = right_turn(features)
    left, right = near(chunks, -target).float().mean(), near(chunks, target).float().mean()
    assert left > 0.3
    assert right > 0.3
    assert left + right > 0.85
    assert (near(greedy, target) | near(greedy, -target)).float().mean() > 0.8


def test_grpo_raises_what_was_good_and_lowers_what_was_not(head):
    features = make_features(64)
    with torch.no_grad():
        candidate = first(head.sample(features, 1, generators(64)))
        old = head.log_prob(features, candidate).total
    # The advantage is higher for chunks that go up.
    good = candidate.chunk[..., 0].mean(-1) > candidate.chunk[..., 0].mean(-1).median()
    advantages = good.float() * 2 - 1
    batch = DecisionBatch(features, candidate, old, advantages, torch.ones(64))
    metrics = GRPO(HeadPolicy(head), GRPOConfig(learning_rate=3e-5)).update(batch, torch.Generator())
    assert metrics["log_prob_mismatch"] < 1e-2
    assert metrics["epochs"] > 0
    with torch.no_grad():
        gain = head.log_prob(features, candidate).total - old
    assert gain[good].mean() > 1e-3 + gain[~good].mean()
    assert gain[good].mean() > 0


def test_rows_do_not_depend_on_their_batch_nor_candidates_on_their_number(head):
    features = make_features(6)
    whole = head.sample(features, 3, generators(6)).chunks
    alone = head.sample(features[2:3], 3, generators(6)[2:3]).chunks
    torch.testing.assert_close(alone, whole[2:3], atol=1e-4, rtol=0)


def test_likelihood_is_of_the_sample_and_consistent(head):
    features = make_features(6)
    candidates = head.sample(features, 3, generators(6))
    for k in range(3):
        log_prob = head.log_prob(features, candidates.select(torch.full((6,), k)))
        assert log_prob.kind in ("exact", "surrogate")
        assert log_prob.terms.shape == log_prob.mask.shape
        assert torch.isfinite(log_prob.terms).all()
        assert log_prob.mask.any(-1).all()
        torch.testing.assert_close(log_prob.total, (log_prob.terms * log_prob.mask).sum(-1))


def test_greedy_is_repeated_and_exploration_widens(name, head):
    features = make_features(6)
    greedy = head.sample(features, 2, None).chunks
    torch.testing.assert_close(greedy[:, 0], greedy[:, 1], atol=1e-5, rtol=0)
    before, spread = head.exploration, []
    for factor in (0.01, 1.0):
        head.exploration = factor * before
        with torch.no_grad():
            chunks = head.sample(features, 8, generators(6), SamplingHooks(before=from_one_start)).chunks
        spread.append(float(chunks.std(1).mean()))
    assert spread[1] > 2 * spread[0]


def from_one_start(noise: torch.Tensor, _: Features) -> torch.Tensor:
    """Chains `[B, K, S + 1, H, A]` all begin at zero, so that what differs is what exploration adds."""
    if noise.ndim == 5:
        noise[:, :, 0] = 0
    return noise


def test_bad_input_is_one_clear_error(head):
    features, mask = make_features(3), torch.ones(3, H, dtype=torch.bool)
    broken = Features(features.tokens, features.mask, features.pooled.clone())
    broken.pooled[1, 0] = float("nan")
    generator = torch.Generator()
    with pytest.raises(HoneError, match=r"row 1 \(1 of 3\) are NaN"):
        head.sample(broken, 1, None)
    with pytest.raises(HoneError, match=r"row 1 \(1 of 3\) are NaN"):
        head.loss(broken, torch.zeros(3, H, A), mask, generator)
    with pytest.raises(HoneError, match=r"shape \(5, 2\), but this head decodes \(4, 2\)"):
        head.loss(features, torch.zeros(3, H + 1, A), torch.ones(3, H + 1, dtype=torch.bool), generator)
    with pytest.raises(HoneError, match=r"reach from 40 to 40, outside \[-1, 1\]; normalise"):
        head.loss(features, torch.full((3, H, A), 40.0), mask, generator)
    with pytest.raises(HoneError, match="NaN or infinite; repair"):
        head.loss(features, torch.full((3, H, A), float("nan")), mask, generator)
    with pytest.raises(HoneError, match="score a sample with the head that drew it"):
        head.log_prob(features, Candidate(torch.zeros(3, H, A), torch.zeros(3, H + 7, 11)))


def test_what_is_masked_is_not_looked_at(head):
    features, mask = make_features(3), torch.ones(3, H, dtype=torch.bool)
    mask[:, 2:] = False
    actions = right_turn(features)
    wild = torch.where(mask[..., None], actions, 100.0)
    losses = [head.loss(features, a, mask, torch.Generator().manual_seed(0)) for a in (actions, wild)]
    assert torch.isfinite(losses[1])
