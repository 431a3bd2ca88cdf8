import numpy as np
import torch

from hone.policies import FlowPolicy, FlowPolicyConfig
from hone.policies.flow import word_ids
from hone.policies.heads.field import time_embedding
from hone.types import Observation

B, H, A, STEPS = 3, 4, 7, 5


def make_policy() -> tuple[FlowPolicy, Observation]:
    policy = FlowPolicyConfig(
        chunk_length=H, cameras=("front",), image_size=28, width=16, attention_heads=2, denoising_steps=STEPS
    ).build()
    rng = np.random.default_rng(0)
    observation = Observation(
        proprio=rng.normal(size=(B, 8)).astype(np.float32),
        instructions=("open the drawer", "pick up the milk carton", ""),
        images=rng.integers(0, 256, (B, 1, 28, 28, 3), dtype=np.uint8),
    )
    policy.fit_normalization(observation)
    return policy, observation


def test_padding_words_do_not_count():
    policy, observation = make_policy()
    before = policy.encode(observation)
    words = before.mask[:, -33:-1].sum(1)
    assert words.tolist() == [3, 5, 0]
    with torch.no_grad():
        policy.words.weight[0] += 100
    after = policy.encode(observation)
    torch.testing.assert_close(after.pooled, before.pooled)
    torch.testing.assert_close(after.tokens[after.mask], before.tokens[before.mask])
    candidates, _ = policy.propose(after, None, 1, None)
    torch.testing.assert_close(candidates.chunks, policy.propose(before, None, 1, None)[0].chunks)


def test_the_chain_is_a_product_of_gaussians():
    # With no velocity (a zero output layer) the chain is a random walk whose step has variance exploration^2 / S.
    policy, observation = make_policy()
    with torch.no_grad():
        policy.head.get_submodule("field.action_out").get_parameter("weight").zero_()
        policy.head.get_submodule("field.action_out").get_parameter("bias").zero_()
        policy.exploration = 0.2
        features = policy.encode(observation)
        generators = [torch.Generator().manual_seed(row) for row in range(B)]
        candidates, _ = policy.propose(features, None, 200, generators)
    states = candidates.samples[..., :-1].unflatten(-1, (H, A))
    assert states.shape == (B, 200, STEPS + 1, H, A)
    steps = states.diff(dim=2)
    assert abs(steps.std().item() * STEPS**0.5 - 0.2) < 0.004  # 84000 draws: standard error 0.0005
    assert abs(states[:, :, 0].std().item() - 1) < 0.03
    log_prob = policy.log_prob(features, candidates.select(torch.tensor([5, 6, 7])))
    own = steps[torch.arange(B), torch.tensor([5, 6, 7])]
    reference = torch.distributions.Normal(0.0, 0.2 / STEPS**0.5).log_prob(own).sum((-2, -1))
    torch.testing.assert_close(log_prob.terms, reference, atol=1e-3, rtol=1e-5)
    assert log_prob.kind == "surrogate"
    assert log_prob.terms.shape == (B, STEPS)


def test_the_last_state_of_the_chain_is_the_chunk():
    policy, observation = make_policy()
    candidates, _ = policy.propose(policy.encode(observation), None, 2, None)
    last = candidates.samples[:, :, -1, :-1].unflatten(-1, (H, A))
    torch.testing.assert_close(last.clamp(-1, 1), candidates.chunks)


def test_word_ids_are_hashed_cut_and_padded():
    ids = word_ids(["open the drawer", "the the"], vocabulary=100, max_words=2)
    assert ids[1, 0] == ids[1, 1] == ids[0, 1]
    assert ids.shape == (2, 2)
    assert (word_ids([""], 100, 4) == 0).all()
    assert (ids > 0).all()
    assert ids.max() < 100


def test_times_of_neighbouring_steps_are_told_apart():
    embedded = time_embedding(torch.linspace(0, 1, 11), 16)
    assert (embedded.diff(dim=0).norm(dim=1) > 0.1).all()
