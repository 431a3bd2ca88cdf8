from dataclasses import replace

import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.rewards.progress import CriticConfig, ProgressCritic
from hone.training.progress_critic import Clip, CriticTraining, train_critic

TINY = CriticConfig(cameras=1, image_size=16, channels=8, camera_dim=8, text_dim=8, hidden=16)
RIGHT, LEFT = "go right", "go left"


def moving(goal: str, row: int) -> Clip:
    """A bright square that crosses a dark picture towards its goal in 11 frames."""
    images = np.zeros((11, 1, 16, 16, 3), np.uint8)
    for t in range(11):
        column = t if goal == RIGHT else 10 - t
        images[t, 0, row : row + 4, column + 1 : column + 5] = 255
    return Clip(goal, images, np.linspace(0, 1, 11, dtype=np.float32), (LEFT if goal == RIGHT else RIGHT,))


def learned(**changes) -> tuple[ProgressCritic, list[float]]:
    critic, losses = ProgressCritic(TINY, seed=0), list[float]()
    clips = [moving(goal, row) for goal in (RIGHT, LEFT) for row in (1, 4, 10)]
    usual = CriticTraining(steps=120, clips=8, learning_rate=5e-3, wrong_goal=0.0, image_shift=0)
    config = replace(usual, **changes)
    generator = torch.Generator().manual_seed(0)
    train_critic(critic, clips, config, generator, lambda step, loss: losses.append(loss))
    return critic, losses


def test_it_learns_which_frame_is_further_on_an_episode_it_has_not_seen():
    critic, losses = learned()
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:10])
    for goal in (RIGHT, LEFT):
        clip = moving(goal, row=7)
        value = critic.between_all(clip.frames, goal)[0]
        assert (np.diff(value) > 0).mean() >= 0.8
        assert value[-1] > 0.6
        assert critic.between_all(clip.frames, clip.other_goals[0])[0, -1] < -0.6  # it reads the goal


def test_towards_the_goal_of_another_task_nothing_progresses():
    """Told the wrong goal every time, it learns to say zero, although every label of the clips rises."""
    critic, _ = learned(wrong_goal=1.0)
    clip = moving(RIGHT, row=7)
    assert abs(critic.between_all(clip.frames, LEFT)[0, -1]) < 0.2


def test_the_same_generator_gives_the_same_critic():
    first, second = (learned(steps=3)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_bad_settings_are_refused():
    with pytest.raises(HoneError, match="frames 2"):
        CriticTraining(frames=1)
    with pytest.raises(HoneError, match="at least one clip"):
        train_critic(ProgressCritic(TINY), [], CriticTraining(steps=1), torch.Generator())
