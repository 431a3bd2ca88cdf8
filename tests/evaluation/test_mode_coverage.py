"""A decoder whose draws are known: their shares come out."""

import pytest
import torch

from hone.evaluation.mode_coverage import FEATURES, detour, learn_two_modes, mode_coverage, nearest_mode, toy_features
from hone.policies.base import Candidates
from hone.policies.heads import BinsHeadConfig, ChunkSpace, Head

SPACE = ChunkSpace(4, 2, -1.0, 1.0)


class Known(Head):
    """Of five draws: three at the first mode, a little off; one at the other; one between them. Greedy: between."""

    practice = (1.0, 1.0)

    def losses(self, features, actions, mask, generator):
        raise AssertionError("it has nothing to learn")

    def draw(self, features, k, generators, hooks):
        place = torch.tensor([1.1, 1.1, 1.1, -1.0, 0.2]).repeat(k // 5 or 1)[:k] if generators else torch.zeros(k)
        chunks = place[:, None, None] * detour(features, SPACE)[:, None]
        return Candidates(chunks, chunks)

    def log_prob(self, features, candidate):
        raise AssertionError("not needed")


def test_the_modes_are_mirror_images_within_the_range_and_depend_on_the_features():
    features = toy_features(500, torch.Generator().manual_seed(0))
    modes = detour(features, SPACE)
    assert modes.abs().max() < 1
    assert modes.std(0).min() > 0.03
    side, distance = nearest_mode(torch.stack([modes, -modes, 0 * modes], dim=1), modes)
    assert (side[:, 0] == 1).all()
    assert (side[:, 1] == -1).all()
    torch.testing.assert_close(distance, torch.tensor([[0.0, 0.0, 1.0]]).expand(500, -1))


def test_known_draws_are_counted():
    found = mode_coverage(Known(1.0), SPACE, rows=20, draws=10, seed=0)
    assert found.covered == pytest.approx(0.8)
    assert found.first == pytest.approx(0.6)
    assert found.greedy == 0.0
    # Three of the four that count are a tenth of their mode off; a mode's root mean square is below 0.7.
    assert 0.01 < found.error < 0.07


def test_a_head_that_can_learns_the_share_that_was_shown():
    torch.manual_seed(0)
    head = BinsHeadConfig(bins=17, width=32).build(FEATURES, SPACE)
    learn_two_modes(head, SPACE, share=0.75, steps=250, batch=64, learning_rate=5e-3, seed=0)
    found = mode_coverage(head, SPACE, rows=50, draws=20, seed=0)
    assert found.covered > 0.7
    assert abs(found.first / found.covered - 0.75) < 0.12
