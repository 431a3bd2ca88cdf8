from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hone.errors import HoneError
from hone.rewards.progress import CriticConfig, CriticRewardConfig, ProgressCritic, ProgressReward
from hone.specs import Spec
from hone.types import Observation, Status

TINY = CriticConfig(image_size=16, channels=4, camera_dim=4, text_dim=4, hidden=8)
GOAL = "pick up the milk"


def frames(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, 2, 16, 16, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Seen:
    inputs: Any
    status: Status = "failure"
    steps: int = 40

    @property
    def success(self) -> bool:
        return self.status == "success"


def seen(images: np.ndarray | None, looks: int = 5) -> Seen:
    return Seen(Observation(np.zeros((looks, 8), np.float32), (GOAL,) * looks, images))


def test_progress_is_antisymmetric_bounded_and_zero_for_equal_frames():
    critic = ProgressCritic(TINY, seed=1)
    a, b, goals = frames(6), frames(6, seed=1), [GOAL] * 6
    forth = critic.progress(a, b, goals)
    assert np.allclose(forth, -critic.progress(b, a, goals), atol=1e-6)
    assert (np.abs(forth) <= 1).all()
    assert np.abs(forth).max() > 1e-3
    assert (critic.progress(a, a, goals) == 0).all()


def test_progress_depends_on_the_goal_and_on_both_cameras():
    critic = ProgressCritic(TINY, seed=1)
    a, b = frames(1), frames(1, seed=1)
    usual = critic.progress(a, b, [GOAL])
    assert critic.progress(a, b, ["turn on the stove"]) != usual
    for camera in range(2):
        changed = b.copy()
        changed[:, camera] = 255 - changed[:, camera]
        assert critic.progress(a, changed, [GOAL]) != usual


def test_all_pairs_at_once_are_the_pairs_one_by_one():
    critic = ProgressCritic(TINY, seed=1)
    clip = frames(4)
    table = critic.between_all(clip, GOAL)
    for a in range(4):
        for b in range(4):
            alone = critic.progress(clip[a : a + 1], clip[b : b + 1], [GOAL])
            assert np.allclose(table[a, b], alone, atol=1e-6)


def test_a_critic_is_saved_and_read_back(tmp_path: Path):
    critic = ProgressCritic(TINY, seed=1)
    critic.save(tmp_path / "critic")
    loaded = ProgressCritic.load(tmp_path / "critic")
    assert loaded.config == TINY
    assert np.array_equal(loaded.between_all(frames(3), GOAL), critic.between_all(frames(3), GOAL))


@pytest.mark.parametrize("damage", ["missing", "truncated", "other shape", "not json"])
def test_a_folder_without_a_sound_critic_is_one_clear_line(tmp_path: Path, damage: str):
    folder = tmp_path / "critic"
    if damage != "missing":
        ProgressCritic(TINY).save(folder)
    if damage == "truncated":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-4])
    elif damage == "other shape":
        (folder / "config.json").write_text('{"progress_critic": {"image_size": 32}}')
    elif damage == "not json":
        (folder / "config.json").write_text("{")
    with pytest.raises(HoneError, match="holds no readable progress critic"):
        ProgressCritic.load(folder)


def test_the_reward_is_the_sum_of_progress_over_consecutive_looks():
    critic = ProgressCritic(TINY, seed=1)
    first, second = frames(5), frames(5, seed=2)
    rewards = ProgressReward(critic)([seen(first), seen(second)])
    by_hand = [
        sum(critic.progress(f[i : i + 1], f[i + 1 : i + 2], [GOAL])[0] for i in range(4)) for f in (first, second)
    ]
    assert np.allclose(rewards, by_hand, atol=1e-6)
    assert rewards.dtype == np.float32
    assert np.allclose(ProgressReward(critic)([seen(first[::-1])]), -rewards[0], atol=1e-6)  # undone work costs as much


def test_success_is_claimed_from_the_ends_of_an_episode_and_the_flag_is_not_read():
    critic = ProgressCritic(TINY, seed=1)
    clips = [frames(5, seed=2), frames(5, seed=3)]
    overall = [float(critic.progress(clip[:1], clip[-1:], [GOAL])[0]) for clip in clips]
    reward = ProgressReward(critic, threshold=sum(overall) / 2)
    first, second = (claimed for _, claimed in reward.judge_all([seen(clip) for clip in clips]))
    assert (first, second) == (overall[0] > overall[1], overall[1] > overall[0])
    assert reward.calls == 2
    with pytest.raises(HoneError, match="between -1 and 1"):
        CriticRewardConfig(threshold=2.0)


def test_what_a_policy_is_shown_has_to_be_what_the_critic_reads():
    reward = ProgressReward(ProgressCritic(TINY))
    reward.check(Spec(cameras=("agentview", "wrist"), image_size=16))
    for spec in (Spec(cameras=("agentview", "wrist"), image_size=84), Spec(cameras=(), image_size=16)):
        with pytest.raises(HoneError, match="reads 2 cameras of 16 pixels"):
            reward.check(spec)


def test_a_single_look_is_worth_nothing():
    assert ProgressReward(ProgressCritic(TINY))([seen(frames(1), looks=1)]).tolist() == [0]


def test_trajectories_without_pictures_and_pictures_of_another_size_are_refused():
    reward = ProgressReward(ProgressCritic(TINY))
    with pytest.raises(HoneError, match="kept none"):
        reward([seen(None)])
    with pytest.raises(HoneError, match=r"reads frames \[2, 16, 16, 3\], but got \[2, 8, 8, 3\]"):
        reward([seen(frames(5)[:, :, :8, :8])])
