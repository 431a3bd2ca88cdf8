"""What a search found becomes what the policy does alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_environment import TASKS

from hone.errors import HoneError
from hone.planning.teaching import TeachingConfig, taught, teach
from hone.planning.tree_search import Target
from hone.policies.base import Candidate
from hone.policies.small import SmallPolicyConfig
from hone.training.rollout import EpisodeRequest, Trajectory
from hone.types import Observation, Placement


@pytest.fixture
def policy():
    policy = SmallPolicyConfig(inputs="state").build(0)
    policy.fit_normalization(seen(16))
    policy.train_encoder = False
    return policy


def seen(rows: int) -> Observation:
    generator = np.random.default_rng(rows)
    state = generator.normal(size=(rows, 4, 11)).astype(np.float32)
    return Observation(generator.normal(size=(rows, 8)).astype(np.float32), ("go",) * rows, state=state)


def searched(policy, success: bool = True) -> Trajectory:
    """Two decisions: at the first, two candidates were visited three to one; at the second, all visits went one way."""
    with torch.no_grad():
        features = policy.encode(seen(2))
    steady = [np.full((8, 7), value, np.float32) for value in (0.5, -0.5)]
    visited = Target(np.stack([*steady, np.zeros((8, 7), np.float32)]), np.array([0.75, 0.25, 0.0]))
    certain = Target(np.stack(steady[:1]), np.ones(1))
    executed = torch.from_numpy(np.stack([steady[0], steady[0]]))
    return Trajectory(
        EpisodeRequest(0, TASKS[0], Placement("sampled", 0), seed=0),
        "success" if success else "failure",
        11,
        np.array([8, 3], np.int32),
        inputs=features,
        candidate=Candidate(executed, executed),
        log_prob=torch.zeros(2),
        targets=(visited, certain),
    )


def test_visits_are_weights_and_what_was_not_executed_does_not_count(policy):
    lesson = taught([searched(policy)], TeachingConfig())
    assert lesson.rows.tolist() == [0, 0, 1]
    torch.testing.assert_close(lesson.weights, torch.tensor([0.75, 0.25, 1.0]))
    assert lesson.mask.sum(1).tolist() == [8, 8, 3]


def test_without_visits_it_is_cloning_of_what_was_executed(policy):
    lesson = taught([searched(policy)], TeachingConfig(visits=False))
    assert lesson.rows.tolist() == [0, 1]
    assert lesson.weights.tolist() == [1.0, 1.0]
    np.testing.assert_array_equal(lesson.chunks[0], np.full((8, 7), 0.5))


def test_failures_teach_only_where_that_is_asked_for(policy):
    with pytest.raises(HoneError, match="nothing to teach"):
        taught([searched(policy, success=False)], TeachingConfig())
    assert len(taught([searched(policy, success=False)], TeachingConfig(failures=True)).rows) == 3


def test_the_policy_moves_to_what_was_found(policy):
    trajectory = searched(policy)
    assert trajectory.inputs is not None
    target = torch.full((8, 7), 0.5)

    def gap() -> float:
        with torch.no_grad():
            own = policy.propose(trajectory.inputs, None, 1, None)[0].chunks[1, 0]
        return float((own - target)[:3].abs().mean())

    before = gap()
    lesson = taught([trajectory], TeachingConfig(visits=False))
    settings = TeachingConfig(steps=60, batch_size=16, learning_rate=3e-3)
    metrics = teach(policy, lesson, settings, torch.Generator().manual_seed(0))
    assert gap() < 0.2 * before
    assert metrics["loss"] < metrics["loss_before"]


def test_an_encoder_that_learns_needs_observations(policy):
    lesson = taught([searched(policy)], TeachingConfig())
    policy.train_encoder = True
    with pytest.raises(HoneError, match="keep observations"):
        teach(policy, lesson, TeachingConfig(steps=1), torch.Generator())
