import math

import pytest
import torch

from hone.training.advantages import group_relative_advantages, spread_over_decisions


def test_equal_rewards_give_zero_advantage_and_dead_groups():
    rewards = torch.tensor([1.0, 1.0, 0.0, 0.0])
    advantages, alive, stats = group_relative_advantages(rewards, torch.tensor([0, 0, 1, 1]))
    assert advantages.tolist() == [0, 0, 0, 0]
    assert not alive.any()
    assert (stats.groups, stats.dead_groups, stats.reward_mean, stats.dead_reward_mean) == (2, 2, 0.5, 0.5)


def test_hand_computed_group():
    # One success in four: mean 1/4, variance 1/4 * 3/4 = 3/16, std = sqrt(3)/4.
    # Success: (3/4) / (sqrt(3)/4) = sqrt(3); failures: (-1/4) / (sqrt(3)/4) = -1/sqrt(3).
    # Group 7 is solved, and its episodes lie between those of group 3.
    rewards = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    groups = torch.tensor([7, 3, 3, 7, 3, 3])
    advantages, alive, stats = group_relative_advantages(rewards, groups)
    expected = [0, math.sqrt(3), -1 / math.sqrt(3), 0, -1 / math.sqrt(3), -1 / math.sqrt(3)]
    assert advantages.tolist() == pytest.approx(expected, abs=1e-5)
    assert alive.tolist() == [False, True, True, False, True, True]
    assert (stats.groups, stats.dead_groups, stats.dead_reward_mean) == (2, 1, 1.0)


def test_without_normalisation_only_the_mean_is_taken_off():
    advantages, _, _ = group_relative_advantages(
        torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.zeros(4, dtype=torch.long), normalize="none"
    )
    assert advantages.tolist() == pytest.approx([0.75, -0.25, -0.25, -0.25])


def test_shift_and_scale_of_the_reward_do_not_matter():
    rewards = torch.rand(24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    groups = torch.arange(24) // 6
    plain, _, _ = group_relative_advantages(rewards, groups)
    changed, _, _ = group_relative_advantages(5 * rewards + 100, groups)
    torch.testing.assert_close(plain, changed, atol=1e-4, rtol=0)


def test_order_of_episodes_only_permutes_the_result():
    generator = torch.Generator().manual_seed(1)
    rewards, groups = torch.rand(12, generator=generator), torch.arange(12) % 3
    order = torch.randperm(12, generator=generator)
    plain, _, _ = group_relative_advantages(rewards, groups)
    permuted, _, _ = group_relative_advantages(rewards[order], groups[order])
    torch.testing.assert_close(plain[order], permuted)


def test_rounding_noise_is_not_blown_up():
    rewards = torch.tensor([0.7, 0.7 + 1e-7, 0.7, 0.0, 1.0, 0.5])
    advantages, alive, _ = group_relative_advantages(rewards, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert advantages[:3].tolist() == [0, 0, 0]
    assert alive.tolist() == [False] * 3 + [True] * 3


def test_a_group_of_one_is_dead():
    advantages, alive, _ = group_relative_advantages(torch.tensor([1.0]), torch.tensor([5]))
    assert advantages.tolist() == [0]
    assert alive.tolist() == [False]


def test_decisions_inherit_their_episodes_advantage():
    advantages = torch.tensor([2.0, -1.0, 0.0])
    alive = torch.tensor([True, True, False])
    episodes = torch.tensor([0, 1, 1, 1, 1, 2])
    spread, weights = spread_over_decisions(advantages, alive, episodes)
    assert spread.tolist() == [2, -1, -1, -1, -1, 0]
    assert weights.tolist() == [1, 1, 1, 1, 1, 0]
    _, weights = spread_over_decisions(advantages, alive, episodes, weighting="episode")
    assert weights.tolist() == [1, 0.25, 0.25, 0.25, 0.25, 0]  # every live episode weighs 1 in total
