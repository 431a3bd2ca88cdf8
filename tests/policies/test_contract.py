"""One contract, every kind of policy: what the rest of the house may rely on."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.policies import (
    Augmentation,
    BlackBoxPolicy,
    Candidate,
    Features,
    FlowPolicyConfig,
    LearnedPolicy,
    NoLikelihoodError,
    Policy,
    SmallPolicyConfig,
    load_policy,
)
from hone.policies.heads import (
    BinsHeadConfig,
    DCTHeadConfig,
    DiscreteDiffusionHeadConfig,
    EqMHeadConfig,
    FastHeadConfig,
    FlowHeadConfig,
    HeadConfig,
    HybridHeadConfig,
    LaplaceHeadConfig,
    SamplingHooks,
    ScoreHeadConfig,
)
from hone.specs import Spec, check_compatible
from hone.types import Observation

B, K, H, A, SIZE = 4, 3, 8, 7, 28
INSTRUCTIONS = ("pick up the milk", "open the drawer", "pick up the milk", "turn on the stove")


def make_observation(batch: int = B, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(batch, 5, 11)).astype(np.float32)
    state[..., 9] = [0, 1, 0, 2, 0]
    state[..., 10] = 1
    return Observation(
        proprio=rng.normal(size=(batch, 8)).astype(np.float32),
        instructions=tuple(INSTRUCTIONS[row % len(INSTRUCTIONS)] for row in range(batch)),
        images=rng.integers(0, 256, (batch, 2, SIZE, SIZE, 3), dtype=np.uint8),
        state=state,
    )


def take(observation: Observation, rows: Sequence[int]) -> Observation:
    assert observation.images is not None
    assert observation.state is not None
    index = np.array(rows)
    return Observation(
        observation.proprio[index],
        tuple(observation.instructions[row] for row in rows),
        observation.images[index],
        observation.state[index],
    )


def act(observation: Observation) -> np.ndarray:
    """A black box that only looks at the hand: its chunk goes beyond the action range on purpose."""
    return np.tile(2 * observation.proprio[:, None, :7], (1, H, 1))


OTHER_HEADS: dict[str, HeadConfig] = {
    "laplace": LaplaceHeadConfig(hidden_sizes=(32,)),
    "flow-single": FlowHeadConfig(hidden_sizes=(32,), steps=4, chain="single_step"),
    "flow-velocity": FlowHeadConfig(hidden_sizes=(32,), steps=4, predicts="velocity"),
    "eqm": EqMHeadConfig(hidden_sizes=(32,), steps=4),
    "score": ScoreHeadConfig(hidden_sizes=(32,), steps=2, guidance=1.5, dropout=0.5),
    "bins": BinsHeadConfig(bins=41, width=16),
    "fast": FastHeadConfig(scale=2.0, vocabulary=32, width=16),
    "discrete": DiscreteDiffusionHeadConfig(bins=41, width=16, layers=1, attention_heads=2, rounds=3),
    "hybrid": HybridHeadConfig(trunk_sizes=(32,), trunk_dim=16, bins=41, width=16, hidden_sizes=(32,), steps=2),
}
LEARNED = {
    "small-images": SmallPolicyConfig(image_size=SIZE, channels=16, head=DCTHeadConfig(hidden_sizes=(32,))),
    "small-state": SmallPolicyConfig(inputs="state", head=DCTHeadConfig(hidden_sizes=(32,))),
    "small-hints": SmallPolicyConfig(
        image_size=SIZE, channels=16, follows_hints=True, head=DCTHeadConfig(hidden_sizes=(32,))
    ),
    "flow": FlowPolicyConfig(image_size=SIZE, width=32),
    **{f"small-{name}": SmallPolicyConfig(inputs="state", head=head) for name, head in OTHER_HEADS.items()},
}


def make_learned(name: str, seed: int = 0) -> LearnedPolicy:
    policy = LEARNED[name].build(seed)
    policy.fit_normalization(make_observation(32, seed=9))
    return policy


def make_policy(name: str) -> Policy:
    return BlackBoxPolicy(act, H) if name == "black-box" else make_learned(name)


@pytest.fixture(params=[*LEARNED, "black-box"])
def policy(request) -> Policy:
    return make_policy(request.param)


@pytest.fixture(params=list(LEARNED))
def learned(request) -> LearnedPolicy:
    return make_learned(request.param)


def generators(rows: Sequence[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + row) for row in rows]


def propose(policy: Policy, observation: Observation, k: int = K, rows: Sequence[int] | None = None):
    features = policy.encode(observation)
    rows = range(len(observation)) if rows is None else rows
    return features, policy.propose(features, policy.initial_state(len(features)), k, generators(rows))[0]


def first(features: Features) -> torch.Tensor:
    return torch.zeros(len(features), dtype=torch.long)


def test_shapes_and_range(policy):
    features, candidates = propose(policy, make_observation())
    assert len(features) == B
    assert features.tokens.shape[:2] == features.mask.shape
    assert candidates.chunks.shape == (B, K, H, A)
    assert candidates.samples.shape[:2] == (B, K)
    assert candidates.chunks.abs().max() <= 1
    assert torch.isfinite(candidates.chunks).all()


def test_one_row_and_one_candidate(policy):
    _, candidates = propose(policy, make_observation(1), k=1)
    assert candidates.chunks.shape == (1, 1, H, A)


def test_large_exploration_is_clipped_but_the_sample_is_not(learned):
    learned.exploration = 5.0
    features, candidates = propose(learned, make_observation())
    assert candidates.chunks.abs().max() == 1
    assert candidates.samples.abs().max() > 1
    assert torch.isfinite(learned.log_prob(features, candidates.select(first(features))).total).all()


def test_greedy_is_deterministic_and_repeated(policy):
    features = policy.encode(make_observation())
    one, _ = policy.propose(features, None, K, None)
    two, _ = policy.propose(features, None, K, None)
    torch.testing.assert_close(one.chunks, two.chunks, atol=0, rtol=0)
    # Up to float32 rounding: candidates may run through a matrix product of another shape.
    torch.testing.assert_close(one.chunks, one.chunks[:, :1].expand(-1, K, -1, -1), atol=1e-5, rtol=0)


def test_sampling_is_reproducible_and_candidates_differ(learned):
    _, one = propose(learned, make_observation())
    _, two = propose(learned, make_observation())
    torch.testing.assert_close(one.samples, two.samples, atol=0, rtol=0)
    assert (one.chunks[:, 0] - one.chunks[:, 1]).abs().amax((1, 2)).min() > 1e-3


def test_a_row_does_not_depend_on_its_batch(policy):
    observation = make_observation()
    _, whole = propose(policy, observation)
    for rows in ([2], [3, 0], [1, 2, 3, 0]):
        _, part = propose(policy, take(observation, rows), rows=rows)
        # Float32 rounding differs with the batch size; a wrong row differs by 0.1 and more.
        torch.testing.assert_close(part.chunks, whole.chunks[rows], atol=1e-4, rtol=0)


def test_log_prob_of_its_own_sample_is_consistent(learned):
    features, candidates = propose(learned, make_observation())
    for k in range(K):
        candidate = candidates.select(torch.full((B,), k))
        log_prob = learned.log_prob(features, candidate)
        again = learned.log_prob(learned.encode(make_observation()), candidate)
        assert log_prob.terms.shape == log_prob.mask.shape
        assert torch.isfinite(log_prob.total).all()
        torch.testing.assert_close(log_prob.total, (log_prob.terms * log_prob.mask).sum(-1))
        torch.testing.assert_close(again.total, log_prob.total, atol=1e-3, rtol=1e-4)


def test_log_prob_is_highest_for_the_row_that_sampled(learned):
    # Sharpen the policy, so that another row's sample is unlikely here.
    learned.exploration = 0.003
    features, candidates = propose(learned, make_observation(), k=1)
    own = learned.log_prob(features, candidates.select(first(features))).total
    swapped = Candidate(candidates.chunks[:, 0].flip(0), candidates.samples[:, 0].flip(0))
    assert (own > learned.log_prob(features, swapped).total + 1).all()


def test_a_black_box_has_no_likelihood():
    policy = BlackBoxPolicy(act, H)
    features, candidates = propose(policy, make_observation())
    with pytest.raises(NoLikelihoodError, match="not improved"):
        policy.log_prob(features, candidates.select(first(features)))


def test_a_black_box_of_the_wrong_shape_is_refused():
    with pytest.raises(HoneError, match=r"shape \(4, 8, 7\), expected \(4, 5, 7\)"):
        BlackBoxPolicy(act, 5).encode(make_observation())


def test_spec_is_declared(policy):
    assert isinstance(policy.spec, Spec)
    environment = dataclasses.replace(policy.spec, state_tokens="objects_v1")
    check_compatible(policy.spec, environment)
    assert policy.chunk_length == H


def test_only_the_state_policy_is_privileged():
    privileged = {name: make_learned(name).privileged for name in LEARNED}
    seeing = {"small-images", "small-hints", "flow"}
    assert privileged == {name: name not in seeing for name in LEARNED}
    assert make_learned("small-state").spec.cameras == ()


def test_an_image_policy_never_reads_the_state_and_a_state_policy_never_the_images(learned):
    observation = make_observation()
    hidden = {"images": None} if learned.privileged else {"state": None}
    expected = learned.encode(observation).pooled
    torch.testing.assert_close(learned.encode(dataclasses.replace(observation, **hidden)).pooled, expected)


def test_instruction_hint_proprio_and_sight_all_matter(learned):
    observation = make_observation()
    assert observation.images is not None
    assert observation.state is not None
    changes = [
        {"instructions": ("close the microwave",) * B},
        {"hints": ("move left first",) * B},
        {"proprio": observation.proprio[::-1].copy()},
        {"images": 255 - observation.images, "state": observation.state[::-1].copy()},
    ]
    # By the likelihood: the likeliest tokens of an untrained head may stay the same.
    features, candidates = propose(learned, observation, k=1)
    candidate = candidates.select(first(features))
    reference = learned.log_prob(features, candidate).total
    for change in changes:
        changed = learned.encode(dataclasses.replace(observation, **change))
        assert (learned.log_prob(changed, candidate).total - reference).abs().min() > 1e-4, change.keys()


def test_a_blank_hint_is_no_hint(learned):
    observation = make_observation()
    blank = dataclasses.replace(observation, hints=("",) * B)
    torch.testing.assert_close(learned.encode(blank).pooled, learned.encode(observation).pooled)


def test_gradient_reaches_what_trains_and_only_that(learned):
    observation = dataclasses.replace(make_observation(), hints=("move left",) * B)
    actions = torch.rand(B, H, A) - 0.5
    mask = torch.ones(B, H, dtype=torch.bool)

    def gradients() -> dict[str, bool]:
        learned.zero_grad(set_to_none=True)
        learned.head.loss(learned.encode(observation), actions, mask, torch.Generator().manual_seed(0)).backward()
        return {n: p.grad is not None and bool(p.grad.any()) for n, p in learned.named_parameters()}

    assert all(gradients().values()), [name for name, moved in gradients().items() if not moved]
    assert len(learned.trainable_parameters()) == len(list(learned.parameters()))

    learned.train_encoder = False
    moved = gradients()
    assert {name for name, moves in moved.items() if moves} == {n for n in moved if n.startswith("head.")}
    assert {id(p) for p in learned.trainable_parameters()} == {id(p) for p in learned.head.parameters()}
    assert not learned.encode(observation).pooled.requires_grad


def test_log_prob_has_a_gradient_and_samples_have_no_part_in_it(learned):
    with torch.no_grad():
        features, candidates = propose(learned, make_observation())
    learned.zero_grad(set_to_none=True)
    learned.log_prob(features, candidates.select(first(features))).total.sum().backward()
    assert all(p.grad is not None for p in learned.head.parameters())
    assert all(p.grad is None for p in learned.encoder_parameters())


def test_features_can_be_stored_split_and_joined(learned):
    features, candidates = propose(learned, make_observation())
    candidate = candidates.select(first(features))
    whole = learned.log_prob(features, candidate).total
    joined = Features.cat([features[torch.tensor([1])], features[torch.tensor([3, 0])]])
    rows = torch.tensor([1, 3, 0])
    part = learned.log_prob(joined, Candidate(candidate.chunk[rows], candidate.sample[rows])).total
    torch.testing.assert_close(part, whole[rows], atol=1e-3, rtol=1e-4)


def test_save_and_load_give_the_same_chunks(learned, tmp_path):
    learned.exploration = 0.07
    learned.save_pretrained(tmp_path / "policy")
    assert sorted(path.name for path in (tmp_path / "policy").iterdir()) == ["config.json", "model.safetensors"]
    observation = make_observation()
    for loaded in (load_policy(tmp_path / "policy"), type(learned).from_pretrained(str(tmp_path / "policy"))):
        assert type(loaded) is type(learned)
        assert loaded.config == learned.config
        assert loaded.exploration == pytest.approx(0.07)
        expected = learned.predict_action_chunk(observation)
        torch.testing.assert_close(loaded.predict_action_chunk(observation), expected, atol=1e-6, rtol=0)


def test_flipped_and_read_only_arrays_are_fine(policy):
    observation = make_observation()
    assert observation.images is not None
    assert observation.state is not None
    upside_down = dataclasses.replace(observation, images=observation.images[:, :, ::-1])
    policy.encode(upside_down)
    for array in (observation.proprio, observation.images, observation.state):
        array.flags.writeable = False
    policy.encode(observation)


def test_select_action_plays_the_chunk_then_looks_again(learned):
    observation, later = make_observation(), make_observation(seed=5)
    chunk, following = learned.predict_action_chunk(observation), learned.predict_action_chunk(later)
    for step in range(H):
        torch.testing.assert_close(learned.select_action(observation if step == 0 else later), chunk[:, step])
    torch.testing.assert_close(learned.select_action(later), following[:, 0])
    with pytest.raises(HoneError, match="reset"):
        learned.select_action(make_observation(2))
    learned.reset()
    torch.testing.assert_close(learned.select_action(observation), chunk[:, 0])


def test_augmentation_is_seeded_and_changes_the_features(learned):
    observation = make_observation()

    def encode(seed: int | None, jitter: float = 0.0, image_shift: int = 0) -> torch.Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return learned.encode(observation, augmentation=Augmentation(jitter, image_shift), generator=generator).pooled

    plain = learned.encode(observation).pooled
    torch.testing.assert_close(encode(None), plain)
    torch.testing.assert_close(encode(0, jitter=0.1), encode(0, jitter=0.1))
    assert (encode(0, jitter=0.1) - encode(1, jitter=0.1)).abs().max() > 1e-3
    if not learned.privileged:
        assert (encode(0, image_shift=3) - plain).abs().max() > 1e-4
    with pytest.raises(HoneError, match="generator"):
        encode(None, jitter=0.1)


def test_initialisation_is_seeded_and_leaves_the_global_generator_alone(learned):
    name = next(name for name, config in LEARNED.items() if config == learned.config)
    before = torch.get_rng_state()
    same, other = make_learned(name), make_learned(name, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    chunk = learned.predict_action_chunk(make_observation())
    torch.testing.assert_close(same.predict_action_chunk(make_observation()), chunk)
    assert (other.predict_action_chunk(make_observation()) - chunk).abs().max() > 1e-3


def test_hooks_reach_sampling_through_the_policy(learned):
    features = learned.encode(make_observation())
    steps = []
    hooks = SamplingHooks(during=lambda x, time: steps.append(time) or x)
    hooked, _ = learned.propose(features, None, K, generators(range(B)), hooks=hooks)
    plain, _ = learned.propose(features, None, K, generators(range(B)))
    torch.testing.assert_close(hooked.chunks, plain.chunks)
    assert steps[-1] == 1.0


def test_wrong_inputs_say_what_was_expected(learned):
    observation = make_observation()
    missing = dataclasses.replace(observation, images=None, state=None)
    with pytest.raises(HoneError, match="needs"):
        learned.encode(missing)
    fresh = type(learned)(learned.config)
    with pytest.raises(HoneError, match="fit_normalization"):
        fresh.encode(observation)
    with pytest.raises(HoneError, match="2 generators for 4 rows"):
        learned.propose(learned.encode(observation), None, 1, generators(range(2)))
