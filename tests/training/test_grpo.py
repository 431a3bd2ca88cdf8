import copy
import math
from dataclasses import replace

import pytest
import torch
from toy_policies import BanditPolicy, LinearGaussianPolicy, as_features, gaussian_batch

from hone.errors import HoneError
from hone.training.advantages import group_relative_advantages
from hone.training.decisions import DecisionBatch, LearningHooks
from hone.training.grpo import GRPO, GRPOConfig, adapt_learning_rate


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frozen_toy(seed: int = 0) -> LinearGaussianPolicy:
    """A toy whose head is not zero and whose encoder is frozen."""
    policy = LinearGaussianPolicy()
    policy.train_encoder = False
    torch.nn.init.normal_(policy.head.linear.weight, std=0.1, generator=generator(seed))
    return policy


def gradients(policy: LinearGaussianPolicy) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in policy.trainable_parameters() if p.grad is not None])


# One epoch, and a clip on the gradient that never acts: what is left in `.grad` is the gradient of the whole batch.
ONE_STEP = GRPOConfig(epochs=1, max_grad_norm=1e9)


@pytest.mark.parametrize("stored", [True, False], ids=["features", "observations"])
def test_micro_batch_split_leaves_the_gradient_unchanged(stored: bool):
    found = []
    for micro_batch in (64, 7, 1):
        policy = frozen_toy()
        policy.train_encoder = not stored
        batch = gaussian_batch(policy, 50, stored=stored)
        # Off the ratio 1, so that clipping and the ratio's curvature take part.
        batch = replace(batch, old_log_prob=batch.old_log_prob + 0.3 * torch.randn(50, generator=generator(2)))
        GRPO(policy, replace(ONE_STEP, micro_batch=micro_batch)).update(batch, generator())
        found.append(gradients(policy))
    assert found[0].abs().max() > 1e-2
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[2], found[0], atol=1e-6, rtol=0)


def test_first_step_is_reinforce():
    policy = frozen_toy()
    batch = gaussian_batch(policy, 40)
    GRPO(policy, ONE_STEP).update(batch, generator())
    reference = frozen_toy()
    log_prob = reference.log_prob(batch.inputs, batch.candidate).total  # type: ignore[arg-type]
    weights = batch.weights / batch.weights.sum()
    (-(weights * batch.advantages * log_prob).sum()).backward()
    torch.testing.assert_close(gradients(policy), gradients(reference), atol=1e-6, rtol=1e-5)


def test_scale_of_the_weights_and_dead_decisions_do_not_matter():
    policy, other = frozen_toy(), frozen_toy()
    batch = gaussian_batch(policy, 40)
    GRPO(policy, ONE_STEP).update(batch, generator())
    live = torch.nonzero(batch.weights > 0).flatten()
    GRPO(other, ONE_STEP).update(replace(batch.rows(live), weights=9 * batch.weights[live]), generator())
    torch.testing.assert_close(gradients(policy), gradients(other), atol=1e-6, rtol=0)


def test_two_armed_bandit_learns_the_better_arm():
    policy, draws = BanditPolicy(), generator(3)
    grpo = GRPO(policy, GRPOConfig(learning_rate=3e-2, max_learning_rate=0.3, target_kl=0.02))
    for _ in range(40):
        candidate = policy.draw(64, draws)
        features = as_features(torch.zeros(64, 1))
        success = torch.where(candidate.sample[:, 0] == 1, 0.8, 0.3)
        rewards = torch.bernoulli(success, generator=draws)
        advantages, alive, _ = group_relative_advantages(rewards, torch.arange(64) // 8)
        with torch.no_grad():
            old = policy.log_prob(features, candidate).total
        grpo.update(DecisionBatch(features, candidate, old, advantages, alive.float()), draws)
    assert policy.logits.softmax(0)[1].item() > 0.95


def test_gaussian_bandit_learns_the_linear_optimum():
    """Reward -|a - W s|^2: the best policy is the linear map W. A group shares its state s."""
    draws = generator(4)
    policy = LinearGaussianPolicy(chunk_length=1, action_dim=2, sigma=0.2)
    policy.train_encoder = False
    target = 0.5 * torch.randn(2, 8, generator=draws)
    grpo = GRPO(policy, GRPOConfig(learning_rate=1e-2, max_learning_rate=0.1))

    def error() -> float:
        return (policy.head.linear.weight - target).abs().max().item()

    assert error() > 0.5
    for _ in range(80):
        states = torch.randn(32, 8, generator=draws).repeat_interleave(8, dim=0)
        features = as_features(states)
        candidate = policy.draw(features, draws)
        rewards = -((candidate.sample[:, 0] - states @ target.T) ** 2).sum(-1)
        advantages, alive, _ = group_relative_advantages(rewards, torch.arange(256) // 8)
        with torch.no_grad():
            old = policy.log_prob(features, candidate).total
        grpo.update(DecisionBatch(features, candidate, old, advantages, alive.float()), draws)
    assert error() < 0.1


def test_learning_rate_follows_the_kl():
    config = GRPOConfig(target_kl=1.0, kl_band=1.5, adapt_factor=1.5, runaway_factor=10.0, runaway_cut=0.3)
    assert adapt_learning_rate(6e-5, 1.0, config) == 6e-5  # on target
    assert adapt_learning_rate(6e-5, 1.49, config) == 6e-5  # in the band
    assert adapt_learning_rate(6e-5, 0.5, config) == pytest.approx(9e-5)
    assert adapt_learning_rate(6e-5, 1.6, config) == pytest.approx(4e-5)
    assert adapt_learning_rate(6e-5, 10.0, config) == pytest.approx(4e-5)  # large, but not beyond ten targets
    assert adapt_learning_rate(6e-5, 10.1, config) == pytest.approx(1.8e-5)
    assert adapt_learning_rate(6e-5, math.nan, config) == pytest.approx(1.8e-5)
    assert adapt_learning_rate(config.max_learning_rate, 0.0, config) == config.max_learning_rate
    assert adapt_learning_rate(config.min_learning_rate, 99.0, config) == config.min_learning_rate


def test_learning_rate_brings_the_kl_to_its_target():
    policy, draws = frozen_toy(), generator(5)
    grpo = GRPO(policy, GRPOConfig(learning_rate=1e-6, max_learning_rate=1.0))
    kls = []
    for seed in range(40):
        kls.append(grpo.update(gaussian_batch(policy, 256, seed), draws)["kl"])
    assert kls[0] < 0.01
    assert 0.4 < sum(kls[-10:]) / 10 < 2.5


def test_a_runaway_update_is_rolled_back():
    policy = frozen_toy()
    batch = gaussian_batch(policy, 64)
    grpo = GRPO(policy, GRPOConfig(learning_rate=1e-4))
    grpo.update(batch, generator())  # so that the optimizer has moments worth restoring
    batch = gaussian_batch(policy, 64, seed=1)
    before, moments = copy.deepcopy(policy.state_dict()), grpo.state_dict()["tensors"]
    grpo.config = replace(grpo.config, max_learning_rate=100.0)
    grpo.learning_rate = 100.0
    metrics = grpo.update(batch, generator())
    assert metrics["rolled_back"] == 1.0
    assert metrics["epochs"] == 0.0
    assert metrics["kl"] > 10
    assert grpo.learning_rate == pytest.approx(30.0)
    torch.testing.assert_close(policy.state_dict(), before, atol=0, rtol=0)
    torch.testing.assert_close(grpo.state_dict()["tensors"], moments, atol=0, rtol=0)


def test_a_gradient_that_is_not_a_number_leaves_the_policy_as_it_was():
    policy = frozen_toy()
    before = copy.deepcopy(policy.state_dict())
    poison = LearningHooks(loss=(lambda batch, features, log_prob: log_prob.total * math.nan,))
    metrics = GRPO(policy, GRPOConfig(), poison).update(gaussian_batch(policy, 32), generator())
    assert metrics["rolled_back"] == 1.0
    torch.testing.assert_close(policy.state_dict(), before, atol=0, rtol=0)


def test_a_late_runaway_keeps_the_good_epochs():
    """The loss stops being a number in the third epoch: the first two stay."""
    calls = []

    def bad_from_the_third(batch: DecisionBatch, features: object, log_prob: object) -> torch.Tensor:
        calls.append(1)
        bad = policy.head.linear.weight.sum() * math.nan
        return batch.weights * (bad if len(calls) > 2 else 0.0)

    policy, reference = frozen_toy(), frozen_toy()
    batch = gaussian_batch(policy, 64)
    config = GRPOConfig(epochs=6, learning_rate=1e-3)
    metrics = GRPO(policy, config, LearningHooks(loss=(bad_from_the_third,))).update(batch, generator())
    GRPO(reference, replace(config, epochs=2)).update(batch, generator())
    assert metrics["rolled_back"] == 1.0
    assert metrics["epochs"] == 2.0
    torch.testing.assert_close(policy.state_dict(), reference.state_dict(), atol=0, rtol=0)


def test_a_batch_of_dead_groups_changes_nothing():
    policy = frozen_toy()
    before = copy.deepcopy(policy.state_dict())
    grpo = GRPO(policy, GRPOConfig())
    metrics = grpo.update(replace(gaussian_batch(policy, 8), weights=torch.zeros(8)), generator())
    assert metrics["live_decisions"] == 0
    assert grpo.learning_rate == GRPOConfig().learning_rate
    torch.testing.assert_close(policy.state_dict(), before, atol=0, rtol=0)
    full = grpo.update(gaussian_batch(policy, 8), generator())
    assert set(metrics) == set(full)


def test_hooks_act_where_they_say():
    policy, other = frozen_toy(), frozen_toy()
    batch = gaussian_batch(policy, 32)
    bonus = torch.linspace(-1, 1, 32)
    hooks = LearningHooks(
        batch=(lambda b: replace(b, advantages=2 * b.advantages),),
        advantage=(lambda b: bonus,),
        loss=(lambda b, features, log_prob: -0.1 * log_prob.total,),
    )
    GRPO(policy, replace(ONE_STEP, micro_batch=5), hooks).update(batch, generator())
    # At ratio 1 a loss of -0.1 log pi adds 0.1 to every advantage.
    GRPO(other, ONE_STEP).update(replace(batch, advantages=2 * batch.advantages + bonus + 0.1), generator())
    torch.testing.assert_close(gradients(policy), gradients(other), atol=1e-6, rtol=0)


def test_mismatch_between_rollout_and_update_shows():
    policy = frozen_toy()
    batch = gaussian_batch(policy, 32)
    assert GRPO(policy, ONE_STEP).update(batch, generator())["log_prob_mismatch"] < 1e-5
    policy = frozen_toy()
    policy.head.sigma *= 0.9  # the exploration scale was annealed between collection and update
    assert GRPO(policy, ONE_STEP).update(batch, generator())["log_prob_mismatch"] > 0.1


def test_resumed_training_is_the_same_bit_for_bit():
    def batches(policy: LinearGaussianPolicy, seeds: range, grpo: GRPO, draws: torch.Generator) -> None:
        for seed in seeds:
            grpo.update(gaussian_batch(policy, 32, seed), draws)

    config = GRPOConfig(minibatches=3, learning_rate=1e-4)  # so small that the KL raises it
    straight = frozen_toy()
    draws = generator(9)
    grpo = GRPO(straight, config)
    batches(straight, range(4), grpo, draws)

    first = frozen_toy()
    draws = generator(9)
    stopped = GRPO(first, config)
    batches(first, range(2), stopped, draws)
    second = frozen_toy(seed=77)
    second.load_state_dict(first.state_dict())
    resumed = GRPO(second, config)
    resumed.load_state_dict(stopped.state_dict())
    batches(second, range(2, 4), resumed, draws)
    torch.testing.assert_close(second.state_dict(), straight.state_dict(), atol=0, rtol=0)
    assert resumed.learning_rate == grpo.learning_rate > config.learning_rate


def test_features_of_another_encoder_are_refused():
    policy = frozen_toy()
    batch = gaussian_batch(policy, 8)
    policy.features_version += 1
    with pytest.raises(HoneError, match="encoder version 0, the policy is at version 1"):
        GRPO(policy, GRPOConfig()).update(batch, generator())
    policy.train_encoder = True
    with pytest.raises(HoneError, match="store observations"):
        GRPO(policy, GRPOConfig()).update(batch, generator())


def test_training_the_encoder_counts_its_version_up():
    policy = LinearGaussianPolicy()
    torch.nn.init.normal_(policy.head.linear.weight, std=0.1, generator=generator())
    GRPO(policy, GRPOConfig()).update(gaussian_batch(policy, 16, stored=False), generator())
    assert policy.features_version == 1
    assert not torch.equal(policy.encoder.weight, torch.eye(8))


def test_no_epochs_change_nothing():
    policy = LinearGaussianPolicy()
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    metrics = GRPO(policy, GRPOConfig(epochs=0)).update(gaussian_batch(policy, 16, stored=False), generator())
    assert metrics["epochs"] == 0.0
    for name, tensor in policy.state_dict().items():
        torch.testing.assert_close(tensor, before[name], atol=0, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": -1}, "epochs is -1; it must not be negative"),
        ({"clip_low": 1.5}, "clip_low must be in"),
        ({"kl_band": 0.5}, "kl_band is 0.5; it must be greater than 1"),
        ({"learning_rate": 1.0}, "outside"),
    ],
)
def test_bad_settings_are_named(change: dict, message: str):
    with pytest.raises(HoneError, match=message):
        GRPOConfig(**change)
