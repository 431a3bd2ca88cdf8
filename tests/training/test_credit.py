"""A decision answers for what came after it, beside decisions that stood where it stood."""

from __future__ import annotations

import torch

from hone.training.advantages import stage_relative_advantages


def test_a_good_grasp_is_praised_though_the_placing_failed():
    """Two episodes of one group, two decisions each: one grasps and drops, the other never grasps."""
    to_go = torch.tensor([0.5, 0.0, 0.0, 0.0])
    stages = torch.tensor([0, 1, 0, 0])
    advantages = stage_relative_advantages(to_go, torch.zeros(4, dtype=torch.long), stages, eps=0.0)
    assert advantages[0] > 0  # led to the grasp
    assert advantages[1] == 0  # alone at its stage: no better and no worse than others there
    assert advantages[2] < 0
    assert advantages[3] < 0


def test_hand_computed():
    to_go = torch.tensor([1.0, 0.0, 0.6, 0.2])
    groups = torch.tensor([3, 3, 8, 8])
    stages = torch.tensor([0, 0, 1, 1])
    got = stage_relative_advantages(to_go, groups, stages, eps=0.1)
    torch.testing.assert_close(got, torch.tensor([0.5 / 0.6, -0.5 / 0.6, 0.2 / 0.3, -0.2 / 0.3]))


def test_groups_do_not_mix_and_the_same_everywhere_is_nothing():
    to_go = torch.tensor([0.0, 0.0, 1.0, 1.0])
    got = stage_relative_advantages(to_go, torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.long), eps=0.1)
    assert got.tolist() == [0.0] * 4
