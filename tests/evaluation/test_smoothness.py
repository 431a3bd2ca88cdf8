"""Jerk in closed form, and a watcher that changes nothing."""

from typing import Any

import numpy as np
import pytest
import torch

from hone.evaluation.smoothness import MOTION, WatchedPolicy, jerk
from hone.policies import Features
from hone.policies.base import Candidates, Policy, Reporting
from hone.specs import Spec


def test_a_parabola_has_the_same_jerk_everywhere_and_a_jump_is_seen_at_its_seam_only():
    steps = np.arange(12.0)
    parabola = np.zeros((3, 4, 7))
    parabola[..., 1] = (steps**2).reshape(3, 4)  # second difference: 2
    parabola[..., MOTION:] = np.random.default_rng(0).choice([-1, 1], (3, 4, 1))  # the gripper does not count
    found = jerk(parabola)
    assert (found.seam, found.inside) == pytest.approx((2.0, 2.0))
    parabola[1:, :, 2] = 3.0  # between the first two chunks: two of the four places at seams see it
    found = jerk(parabola)
    assert found.inside == pytest.approx(2.0)
    assert found.seam == pytest.approx((2 * np.hypot(2, 3) + 2 * 2) / 4)


def test_one_chunk_has_no_seam_and_chunks_of_one_action_are_all_seam():
    assert jerk(np.zeros((1, 4, 7))).seam is None
    assert jerk(np.zeros((4, 1, 7))).inside is None


class Counting:
    """Acts by what it counted so far, row by row."""

    spec, chunk_length = Spec(cameras=(), image_size=8), 2

    def encode(self, observation):
        raise AssertionError("not needed")

    def log_prob(self, features, candidate):
        raise AssertionError("not needed")

    def initial_state(self, num_rows: int):
        return [0] * num_rows

    def propose(self, features: Features, state: Any, k: int, generators: Any):
        counts = torch.tensor(state, dtype=torch.float32)
        return Candidates(counts[:, None, None, None].expand(-1, k, 2, 7), torch.zeros(len(state), k)), [
            count + 1 for count in state
        ]


def test_a_watched_policy_acts_as_it_would_alone_and_reports():
    watched = WatchedPolicy(Counting())
    assert isinstance(watched, Policy)
    features = Features(torch.zeros(2, 0, 4), torch.ones(2, 0, dtype=torch.bool), torch.zeros(2, 4))
    state = watched.initial_state(2)
    for expected in (0.0, 1.0):
        candidates, state = watched.propose(features, state, 3, None)
        assert (candidates.chunks == expected).all()
    assert state is not None
    assert isinstance(state[0], Reporting)
    # Actions 0, 0, 1, 1: second differences 1 and -1, both across the seam.
    assert state[0].report() == {"jerk_seam": pytest.approx(np.sqrt(MOTION)), "jerk_inside": None}
