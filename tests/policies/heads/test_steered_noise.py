import copy

import numpy as np
import pytest
import torch
from head_toys import POOLED, SPACE, A, H, HeadPolicy, generators, make_features, make_head

from hone.errors import HoneError
from hone.policies import SmallPolicyConfig, load_policy
from hone.policies.heads import FlowHeadConfig
from hone.policies.heads.steered_noise import SteeredNoiseHead
from hone.policies.small import steered as steered_policy
from hone.training.decisions import DecisionBatch
from hone.training.grpo import GRPO, GRPOConfig
from hone.types import Observation


def steered() -> SteeredNoiseHead:
    """Of a decoder that was taught nothing, and whose chunk therefore stays near the start it is given."""
    torch.manual_seed(0)
    decoder = FlowHeadConfig(hidden_sizes=(128, 128), predicts="velocity").build(POOLED, SPACE)
    return SteeredNoiseHead(decoder, POOLED, hidden_sizes=(32,))


def test_it_is_the_decoder_from_the_drawn_start_with_an_exact_density():
    head, features = steered(), make_features(3)
    candidates = head.sample(features, 2, generators(3))
    by_hand = head.decoder.greedy_start
    head.decoder.greedy_start = candidates.samples[1, 1].detach()
    expected = head.decoder.sample(features[1:2], 1, None).chunks[0, 0]
    head.decoder.greedy_start = by_hand
    torch.testing.assert_close(candidates.chunks[1, 1], expected, atol=1e-5, rtol=0)
    reference = torch.distributions.Normal(head.mean(features), 0.5).log_prob(candidates.samples[:, 0]).sum((-2, -1))
    log_prob = head.log_prob(features, candidates.select(torch.zeros(3, dtype=torch.long)))
    torch.testing.assert_close(log_prob.total, reference)
    assert log_prob.kind == "exact"


def test_practice_finds_better_chunks_and_never_touches_the_decoder():
    head, features = steered(), make_features(256)
    before = copy.deepcopy(head.decoder.state_dict())
    grpo = GRPO(HeadPolicy(head), GRPOConfig(learning_rate=1e-3))
    rewards = []
    for update in range(12):
        with torch.no_grad():
            candidate = head.sample(features, 1, generators(256, seed=update)).select(
                torch.zeros(256, dtype=torch.long)
            )
            old = head.log_prob(features, candidate).total
        reward = candidate.chunk[..., 0].mean(-1)
        rewards.append(float(reward.mean()))
        batch = DecisionBatch(features, candidate, old, (reward - reward.mean()) / reward.std(), torch.ones(256))
        grpo.update(batch, torch.Generator().manual_seed(update))
    assert rewards[-1] > rewards[0] + 0.1
    assert all(torch.equal(before[name], tensor) for name, tensor in head.decoder.state_dict().items())


def test_a_cloned_policy_is_steered_saved_and_read_back(tmp_path):
    policy = SmallPolicyConfig(inputs="state", chunk_length=4, head=FlowHeadConfig(hidden_sizes=(16,), steps=3)).build()
    rng = np.random.default_rng(0)
    seen = Observation(
        rng.normal(size=(3, 8)).astype(np.float32), ("go",) * 3, state=rng.normal(size=(3, 2, 11)).astype(np.float32)
    )
    policy.fit_normalization(seen)
    wrapped = steered_policy(policy)
    before, after = policy.predict_action_chunk(seen), wrapped.predict_action_chunk(seen)
    assert (before - after).abs().max() < 0.1  # the actor begins near the decoder's own start
    wrapped.train_encoder = False
    names = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert names == {
        f"head.actor.{rest}" for rest in ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias")
    }
    wrapped.save_pretrained(tmp_path / "steered")
    torch.testing.assert_close(load_policy(tmp_path / "steered").predict_action_chunk(seen), after)
    with pytest.raises(HoneError, match="cannot be steered twice"):
        steered_policy(wrapped)


def test_bad_input():
    with pytest.raises(HoneError, match="LaplaceHead does not start from noise"):
        SteeredNoiseHead(make_head("laplace"), POOLED)
    with pytest.raises(HoneError, match="frozen"):
        steered().loss(make_features(2), torch.zeros(2, H, A), torch.ones(2, H, dtype=torch.bool))
