"""Token decoders: their likelihoods are checked by counting every chunk there is."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from head_toys import POOLED, SPACE, A, H, generators, make_features

from hone.errors import HoneError
from hone.policies import Candidate
from hone.policies.heads import (
    BinsHeadConfig,
    ChunkSpace,
    DiscreteDiffusionHeadConfig,
    FastHead,
    FastHeadConfig,
    byte_pairs,
)
from hone.policies.heads.tokens import draw_tokens, from_bins, to_bins

PAIR = ChunkSpace(2, 1, -1.0, 1.0)
DRAWS = 20_000


def sharpened(head: torch.nn.Module, factor: float = 3.0) -> None:
    """Larger weights everywhere, so that tokens depend on each other."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(factor)


def shares(head, features, k: int = DRAWS) -> dict[tuple[int, ...], float]:
    """How often each sample came, in `k` draws for one row."""
    with torch.no_grad():
        samples = head.sample(features, k, generators(1)).samples[0].flatten(1)
    found, counts = samples.unique(dim=0, return_counts=True)
    return {tuple(row.tolist()): count / k for row, count in zip(found, counts.tolist(), strict=True)}


def log_probs(head, features, samples: torch.Tensor) -> torch.Tensor:
    wide = features[torch.zeros(len(samples), dtype=torch.long)]
    with torch.no_grad():
        return head.log_prob(wide, Candidate(torch.zeros(len(samples), *head.space.shape), samples)).total


def test_bins_have_both_ends_and_are_inverted_to_half_a_step():
    levels = from_bins(torch.arange(5), PAIR, 5)
    torch.testing.assert_close(levels, torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]))
    assert to_bins(torch.tensor([-1.0, 0.24, 0.26, 1.0, 1.0005]), PAIR, 5).tolist() == [0, 2, 3, 4, 4]


def test_tokens_are_drawn_by_rank_and_never_where_they_are_impossible():
    logits = torch.tensor([0.5, 0.0, 0.2, 0.3]).log()
    # Ranks of the normal quantiles: 0.4 -> first, 0.6 -> third (0.5 to 0.7), 0.9 -> last; ends included.
    noise = torch.special.ndtri(torch.tensor([0.4, 0.6, 0.9]))
    assert draw_tokens(logits.expand(3, 4), noise).tolist() == [0, 2, 3]
    assert draw_tokens(logits.expand(2, 4), torch.tensor([-50.0, 50.0])).tolist() == [0, 3]
    assert draw_tokens(logits, None).item() == 0
    first_impossible = torch.tensor([0.0, 1.0]).log()
    assert draw_tokens(first_impossible.expand(3, 2), torch.tensor([-5.0, 0.0, 5.0])).tolist() == [1, 1, 1]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_bins_every_chunk_has_the_probability_with_which_it_is_drawn(temperature):
    torch.manual_seed(0)
    head, features = BinsHeadConfig(bins=3, width=8).build(POOLED, PAIR), make_features(1)
    sharpened(head)
    head.exploration = temperature
    every = torch.tensor(list(itertools.product(range(3), repeat=2)))
    probability = log_probs(head, features, every).exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-5)
    found = shares(head, features)
    for chunk, expected in zip(every.tolist(), probability.tolist(), strict=True):
        assert found.get(tuple(chunk), 0.0) == pytest.approx(expected, abs=0.015)  # four standard errors


@pytest.mark.parametrize("order", ["random", "confidence"])
def test_discrete_diffusion_every_chunk_of_an_order_has_its_probability(order):
    torch.manual_seed(1)
    config = DiscreteDiffusionHeadConfig(bins=3, width=8, layers=1, attention_heads=2, rounds=2, order=order)
    head, features = config.build(POOLED, PAIR), make_features(1)
    sharpened(head, 2.0)
    found = shares(head, features)
    histories = torch.tensor(list(found)).unflatten(1, (2, 2, 2))
    likelihood = log_probs(head, features, histories).exp()
    first = (histories[:, 0, 1] != -1).float()  # the place that the first round uncovered
    assert (first.sum(-1) == 1).all()
    orders = {tuple(place.tolist()) for place in first}
    assert len(orders) == (2 if order == "random" else 1)
    for history, place, expected in zip(histories, first, likelihood, strict=True):
        chance = 1 / len(orders)  # of the order itself
        assert found[tuple(history.flatten().tolist())] == pytest.approx(chance * expected.item(), abs=0.015), place
    assert likelihood.sum().item() == pytest.approx(len(orders), abs=0.02)  # rare ones may not have come
    kind = head.log_prob(features, Candidate(torch.zeros(1, 2, 1), histories[:1])).kind
    assert kind == ("exact" if order == "random" else "surrogate")


def test_discrete_diffusion_uncovers_all_by_a_cosine_and_redraws_what_was_improbable():
    torch.manual_seed(0)
    config = DiscreteDiffusionHeadConfig(bins=16, width=8, layers=1, attention_heads=2, rounds=4)
    head, features = config.build(POOLED, SPACE), make_features(2)
    samples = head.sample(features, 3, generators(2)).samples
    assert samples.shape == (2, 3, 4, 2, H * A)
    drawn = (samples[..., 1, :] != -1).sum(-1)
    # Hidden after each round: floor(8 cos(pi r / 8)) = 7, 5, 3, 0.
    assert drawn.flatten(0, 1).tolist() == [[1, 2, 2, 3]] * 6
    again = replace(config, remask=0.99).build(POOLED, SPACE)
    samples = again.sample(features, 3, generators(2)).samples
    # Nothing is ever that sure: every round hides all again and draws as many as it should have by then.
    assert (samples[..., 1, :] != -1).sum(-1).flatten(0, 1).tolist() == [[1, 3, 5, 8]] * 6
    candidate = Candidate(torch.zeros(2, H, A), samples[:, 0])
    assert again.log_prob(features, candidate).mask.sum(-1).tolist() == [17, 17]


# ---- FAST


def fast_head() -> FastHead:
    torch.manual_seed(0)
    return FastHeadConfig(vocabulary=128, width=16).build(POOLED, SPACE)


def smooth_chunks(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    ends = torch.rand(count, 2, 1, A, generator=generator) * 1.6 - 0.8
    share = torch.linspace(0, 1, H)[:, None]
    return (1 - share) * ends[:, 0] + share * ends[:, 1]


def everything(count: int) -> torch.Tensor:
    return torch.ones(count, H, dtype=torch.bool)


def test_byte_pairs_on_the_textbook_example():
    # "abababcab": a b occurs four times -> X X X c X; X X twice, as neighbours are counted -> Y X c X; then none.
    merges = byte_pairs.learn_merges(np.array([[0, 1, 0, 1, 0, 1, 2, 0, 1]]), alphabet=3, vocabulary=10)
    assert merges.tolist() == [[0, 1], [3, 3]]
    encoded = byte_pairs.encode(np.array([[0, 1, 0, 1, 0, 1, 2, 0, 1]]), merges, 3)
    assert encoded.tolist() == [[4, 3, 2, 3, -1, -1, -1, -1, -1]]
    assert byte_pairs.expansions(merges, 3) == [(0,), (1,), (2,), (0, 1), (0, 1, 0, 1)]
    runs = byte_pairs.encode(np.array([[5, 5, 5, 5, 5]]), np.array([[5, 5]]), 6)
    assert runs.tolist() == [[6, 6, 5, -1, -1]]


def test_fast_decodes_what_it_encodes_up_to_rounding():
    head, chunks = fast_head(), smooth_chunks(200)
    head.fit(chunks, everything(200))
    fresh = smooth_chunks(50, seed=1)
    tokens = head.encode(fresh)
    # A rounded coefficient is at most 0.5 / 10 off; the chunk, by the orthonormal inverse, at most 0.05 sqrt(H).
    error = (head.decode(tokens) - fresh).abs().max()
    assert 0 < error <= 0.05 * H**0.5 + 1e-6
    assert (tokens != -1).sum(-1).float().mean() < 0.8 * H * A  # joined into fewer tokens than coefficients
    assert (fast_head().encode(fresh) != -1).all()  # before `fit`, one token each


def test_fast_every_sequence_of_tokens_has_the_probability_with_which_it_is_drawn():
    torch.manual_seed(0)
    # One coefficient value each side: symbols 0, 1, 2 and two joined tokens; a chunk is two symbols.
    head, features = FastHeadConfig(scale=0.8, vocabulary=5, width=8).build(POOLED, PAIR), make_features(1)
    assert head.alphabet == 3
    head.merges.copy_(torch.tensor([[1, 1], [0, 2]]))
    sharpened(head)
    spelled = [*itertools.product(range(3), repeat=2), (3, -1), (4, -1)]
    probability = log_probs(head, features, torch.tensor(spelled)).exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-5)
    found = shares(head, features)
    assert set(found) <= set(spelled)
    for tokens, expected in zip(spelled, probability.tolist(), strict=True):
        assert found.get(tokens, 0.0) == pytest.approx(expected, abs=0.015)


def test_fast_tokens_travel_with_the_weights():
    head, other = fast_head(), fast_head()
    head.fit(smooth_chunks(200), everything(200))
    assert (head.merges >= 0).any()
    other.load_state_dict(head.state_dict())
    fresh = smooth_chunks(20, seed=2)
    assert torch.equal(head.encode(fresh), other.encode(fresh))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FastHeadConfig(vocabulary=10).build(POOLED, SPACE), "41 coefficient values; enlarge it"),
        (lambda: FastHeadConfig(scale=0.0), "must be positive"),
        (lambda: BinsHeadConfig(bins=1), "at least 2 bins"),
        (lambda: DiscreteDiffusionHeadConfig(width=30), "multiple of attention_heads"),
        (lambda: DiscreteDiffusionHeadConfig(remask=1.0), r"remask 1.0 in \[0, 1\)"),
    ],
)
def test_bad_configurations(build, message):
    with pytest.raises(HoneError, match=message):
        build()
