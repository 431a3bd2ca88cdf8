from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_policies import LinearGaussianPolicy

from hone.errors import HoneError
from hone.training.behavior_cloning import BehaviorCloningConfig, ChunkDataset, CloneState, clone
from hone.types import Episode, Placement, Status, Task

MILK = Task("libero_object", 0, "milk", "pick up the milk")
SOUP = Task("libero_object", 1, "soup", "pick up the soup")


def episode(length: int, seed: int = 0, task: Task = MILK, status: Status = "success", **more: np.ndarray) -> Episode:
    """Numbered steps, so that a target says where it came from; what was executed is noise."""
    rng = np.random.default_rng(seed)
    numbered = np.tile(np.arange(length, dtype=np.float32)[:, None] + 100 * seed, (1, 3))
    return Episode(
        task=task,
        placement=Placement("sampled", seed),
        status=status,
        proprio=rng.standard_normal((length, 8)).astype(np.float32),
        actions=numbered,
        executed=rng.standard_normal((length, 3)).astype(np.float32),
        **more,  # type: ignore[arg-type]
    )


def expert(seed: int, weights: np.ndarray, noise: float = 0.0) -> Episode:
    """A linear expert whose label at step t is `weights @ proprio_t`; the robot executes a noisy version of it."""
    plain = episode(40, seed)
    actions = (plain.proprio @ weights.T).astype(np.float32)
    executed = actions + noise * np.random.default_rng(seed + 1).standard_normal(actions.shape).astype(np.float32)
    return replace(plain, actions=actions, executed=executed)


def test_targets_start_at_the_step_and_are_masked_past_the_end():
    dataset = ChunkDataset([episode(3), episode(2, seed=1)], chunk_length=2)
    assert len(dataset) == 5
    actions, mask = dataset.targets(np.arange(5))
    assert actions[:, :, 0].tolist() == [[0, 1], [1, 2], [2, 0], [100, 101], [101, 0]]
    assert mask.tolist() == [[True, True], [True, True], [True, False], [True, True], [True, False]]
    assert dataset.observation(np.array([3])).proprio[0].tolist() == episode(2, seed=1).proprio[0].tolist()


def test_past_actions_come_first_and_are_masked_before_the_start():
    dataset = ChunkDataset([episode(3), episode(2, seed=1)], chunk_length=2, past_length=2)
    actions, mask = dataset.targets(np.arange(5))
    past = [[0, 0], [0, 0], [0, 1], [0, 0], [0, 100]]
    assert actions[:, :2, 0].tolist() == past
    assert actions[:, 2:, 0].tolist() == [[0, 1], [1, 2], [2, 0], [100, 101], [101, 0]]
    assert mask[:, :2].tolist() == [[False, False], [False, True], [True, True], [False, False], [False, True]]
    assert mask[:, 2:].all(1).tolist() == [True, True, False, True, False]


def test_tasks_are_drawn_equally_often():
    # 1000 steps of one task, 10 of the other. Of 4000 draws half should be the short one; 5 standard errors are 158.
    dataset = ChunkDataset([episode(1000), episode(10, seed=1, task=SOUP)], chunk_length=1)
    generator = torch.Generator().manual_seed(0)
    balanced = dataset.draw(4000, True, generator)
    assert abs(int((balanced >= 1000).sum()) - 2000) < 158
    assert (dataset.draw(4000, False, generator) >= 1000).sum() < 100


def test_only_successes_are_cloned():
    failed = episode(5, seed=1, status="failure")
    assert len(ChunkDataset([episode(3), failed], 2)) == 3
    with pytest.raises(HoneError, match="none of the 1 demonstrations is a success"):
        ChunkDataset([failed], 2)


def test_images_and_object_tokens_of_unequal_number_are_stacked():
    images = np.random.default_rng(0).integers(0, 255, (3, 1, 4, 4, 3)).astype(np.uint8)
    one = episode(3, state=np.ones((3, 2, 5), np.float32), images=images)
    two = episode(2, seed=1, task=SOUP, state=np.ones((2, 4, 5), np.float32), images=images[:2])
    observation = ChunkDataset([one, two], 2).observation(np.array([1, 4]))
    assert observation.images is not None
    assert observation.state is not None
    np.testing.assert_array_equal(observation.images, images[[1, 1]])
    assert observation.state.sum((1, 2)).tolist() == [10, 20]
    assert observation.instructions == ("pick up the milk", "pick up the soup")


def test_learning_rate_goes_up_and_comes_down():
    config = BehaviorCloningConfig(steps=100, learning_rate=1.0, warmup_fraction=0.1)
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[5] == pytest.approx((1 / 25 + 1) / 2)  # half-way up a cosine
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 25e4)


def test_a_linear_expert_is_cloned_from_its_labels_not_from_what_was_executed():
    rng = np.random.default_rng(0)
    weights = (0.3 * rng.standard_normal((3, 8))).astype(np.float32)
    episodes = [expert(seed, weights, noise=1.0) for seed in range(4)]
    policy = LinearGaussianPolicy(chunk_length=1, action_dim=3)
    config = BehaviorCloningConfig(steps=300, batch_size=64, learning_rate=3e-2, jitter=0.0, weight_decay=0.0)
    metrics = clone(policy, episodes, config, torch.Generator().manual_seed(0))
    unseen = expert(99, weights)
    observation = ChunkDataset([unseen], 1).observation(np.arange(40))
    with torch.no_grad():
        predicted = policy.head.mean(policy.encode(observation))[:, 0].numpy()
    assert np.abs(unseen.actions).max() > 1
    assert np.abs(predicted - unseen.actions).max() < 0.01
    assert metrics["pairs"] == 160
    assert policy.features_version == 1  # features from before are stale


def test_stopped_and_resumed_cloning_is_the_same_bit_for_bit():
    weights = np.eye(3, 8, dtype=np.float32)
    episodes = [expert(seed, weights) for seed in range(2)]
    config = BehaviorCloningConfig(steps=20, batch_size=8)
    straight = LinearGaussianPolicy(chunk_length=2)
    whole = clone(straight, episodes, config, torch.Generator().manual_seed(0))

    kept: dict = {}
    stopped = LinearGaussianPolicy(chunk_length=2)

    def keep_at_seven(state: CloneState) -> None:
        assert state.optimizer.param_groups[0]["lr"] == config.learning_rate_at(state.step - 1)
        if state.step == 7:
            kept.update(state=state.state_dict(), policy={k: v.clone() for k, v in stopped.state_dict().items()})

    clone(stopped, episodes, config, torch.Generator().manual_seed(0), on_step=keep_at_seven)
    resumed = LinearGaussianPolicy(chunk_length=2)
    resumed.load_state_dict(kept["policy"])
    rest = clone(resumed, episodes, config, torch.Generator(), resume=kept["state"])
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), atol=0, rtol=0)
    assert rest == whole


def test_a_loss_that_is_not_a_number_is_reported_before_it_spoils_the_policy():
    bad = replace(episode(20), actions=np.full((20, 3), np.nan, np.float32))
    policy = LinearGaussianPolicy(chunk_length=1)
    with pytest.raises(HoneError, match="cloning loss became nan at step 0"):
        clone(policy, [bad], BehaviorCloningConfig(steps=3), torch.Generator().manual_seed(0))
    assert policy.head.linear.weight.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"steps": 0}, "steps is 0"), ({"warmup_fraction": 1.0}, "warmup_fraction"), ({"jitter": -0.1}, "jitter -0.1")],
)
def test_bad_settings_are_named(change: dict, message: str):
    with pytest.raises(HoneError, match=message):
        BehaviorCloningConfig(**change)
