"""A value on a world where the right answer is known, and the numbers that say how good it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_environment import TASKS
from toy_policies import as_features

from hone.errors import HoneError
from hone.planning.value import (
    Experience,
    ShuffledValue,
    ValueConfig,
    ValueHead,
    area_under_curve,
    calibration_error,
    experience,
    fit_value,
    monte_carlo,
    split,
)
from hone.policies.base import Candidate
from hone.policies.inputs import OBJECT_LAYOUTS
from hone.training.rollout import EpisodeRequest, Trajectory
from hone.types import Observation, Placement

BLANK = Observation(np.zeros((3, 8), np.float32), ("go",) * 3)


def trajectory(placement: int, success: bool, executed: list[int], first: float = 0.0) -> Trajectory:
    """Features: how far it is, and noise of no meaning."""
    n = len(executed)
    pooled = torch.stack([torch.full((n,), first), torch.arange(n).float()], 1)
    chunks = torch.full((n, 2, 7), float(placement))
    return Trajectory(
        EpisodeRequest(placement, TASKS[0], Placement("sampled", placement), seed=placement),
        "success" if success else "failure",
        sum(executed),
        np.array(executed, np.int32),
        inputs=as_features(pooled),
        candidate=Candidate(chunks, chunks),
        log_prob=torch.zeros(n),
    )


def test_returns_are_discounted_by_the_steps_that_were_left():
    """Chunks of 4, 4 and 1 steps: 9, 5 and 1 steps before the end. By hand 0.9^9, 0.9^5, 0.9."""
    known = experience([trajectory(0, True, [4, 4, 1]), trajectory(1, False, [4, 4, 4])], ValueConfig(discount=0.9))
    np.testing.assert_allclose(known.returns, [0.9**9, 0.9**5, 0.9, 0, 0, 0], rtol=1e-6)
    assert known.starts.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(monte_carlo(np.array([0]), True, 0.9), [1.0])


def test_a_value_of_chunks_sees_the_chunk():
    known = experience([trajectory(3, True, [4, 4])], ValueConfig(inputs="chunk"))
    assert known.inputs.shape == (2, 2 + 14)
    assert bool((known.inputs[:, 2:] == 3).all())
    head = ValueHead(ValueConfig(inputs="chunk"), 16)
    with pytest.raises(HoneError, match="asked about states"):
        head.of(as_features(torch.zeros(3, 2)), BLANK)


def test_a_value_of_states_reads_poses_and_needs_observations():
    plain = trajectory(0, True, [4, 4])
    with pytest.raises(HoneError, match="object poses"):
        experience([plain], ValueConfig(inputs="state"))
    generator = np.random.default_rng(0)
    seen = Observation(
        generator.normal(size=(2, 8)).astype(np.float32),
        ("go", "go"),
        state=generator.normal(size=(2, 3, OBJECT_LAYOUTS["objects_v1"][0])).astype(np.float32),
    )
    known = experience([replace(plain, inputs=seen)], ValueConfig(inputs="state"))
    head = ValueHead(ValueConfig(inputs="state", hidden_sizes=(4,)), known.inputs.shape[1])
    np.testing.assert_allclose(head.of(as_features(torch.zeros(2, 1)), seen), head(known.inputs))


def test_no_initial_state_is_on_two_sides():
    starts = torch.arange(40) // 4
    parts = split(starts, torch.Generator().manual_seed(0))
    seen = [set(starts[part].tolist()) for part in parts]
    assert set.union(*seen) == set(range(10))
    assert sum(map(len, seen)) == 10
    assert all(seen)
    with pytest.raises(HoneError, match="at least 6"):
        split(torch.arange(5), torch.Generator())


def made_up(states: int = 120, seed: int = 0) -> Experience:
    """Success is as likely as the sigmoid of twice the first number says; the second says nothing."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(states, 2, generator=generator)
    solved = torch.rand(states, generator=generator) < torch.sigmoid(2 * x[:, 0])
    each = 5
    inputs = x.repeat_interleave(each, 0) + 0.05 * torch.randn(states * each, 2, generator=generator)
    solved = solved.repeat_interleave(each)
    return Experience(inputs, 0.95 * solved.float(), solved, torch.arange(states).repeat_interleave(each))


def test_it_learns_what_there_is_to_learn_and_is_calibrated():
    config = ValueConfig(hidden_sizes=(32,), steps=300, batch_size=64)
    head, metrics = fit_value(made_up(400), config, torch.Generator().manual_seed(1))
    assert metrics["auc"] > 0.75  # the best possible is about 0.85
    assert metrics["calibration_error"] < 0.16  # of 100 test states; a tenth of them is a bin of ten
    assert metrics["cross_entropy"] < metrics["base_cross_entropy"]
    low, high = head(torch.tensor([[-2.0, 0.0], [2.0, 0.0]])).tolist()
    assert low < 0.25
    assert high > 0.7


def test_without_successes_or_failures_there_is_nothing_to_learn():
    known = made_up()
    known = Experience(known.inputs, known.returns, torch.ones_like(known.solved), known.starts)
    with pytest.raises(HoneError, match="all of one kind"):
        fit_value(known, ValueConfig(steps=1), torch.Generator())


def test_it_is_read_back_as_it_was(tmp_path):
    head, _ = fit_value(made_up(), ValueConfig(hidden_sizes=(8,), steps=20), torch.Generator().manual_seed(0))
    head.save(tmp_path)
    again = ValueHead.load(tmp_path)
    assert again.config == head.config
    x = torch.randn(5, 2)
    torch.testing.assert_close(again(x), head(x))
    with pytest.raises(HoneError, match="no value head"):
        ValueHead.load(tmp_path / "nowhere")


def test_area_under_the_curve_by_hand():
    """Of the four pairs, 0.9 > 0.1, 0.9 > 0.5, 0.5 = 0.5 (a half), 0.5 > 0.1: 3.5 of 4."""
    scores, positive = np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, False, True, True])
    assert area_under_curve(scores, positive) == pytest.approx(3.5 / 4)
    assert area_under_curve(-scores, positive) == pytest.approx(0.5 / 4)


def test_calibration_error_by_hand():
    """Two say 0.2 and one of them came (0.5); two say 0.9 and both came: (2 * 0.3 + 2 * 0.1) / 4."""
    error = calibration_error(np.array([0.2, 0.2, 0.9, 0.9]), np.array([1.0, 0.0, 1.0, 1.0]))
    assert error == pytest.approx(0.2)


def test_the_shuffled_control_knows_nothing():
    value = ShuffledValue(np.array([0.1, 0.9], np.float32), seed=0)
    drawn = value.of(as_features(torch.zeros(200, 2)), BLANK)
    np.testing.assert_allclose(np.unique(drawn), [0.1, 0.9])
    assert 0.3 < float(np.mean(drawn)) < 0.7
