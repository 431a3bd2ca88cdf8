"""A real image-text model of transformers at a tiny random size, read as a policy with both decoders."""

# pyright: reportMissingImports=false
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from lerobot_toys import A, B, make_observation, write_smolvlm

from hone.errors import HoneError
from hone.policies import Candidate, Features, Policy, VLMConfig, VLMPolicy, load_policy
from hone.training.decisions import DecisionBatch
from hone.training.grpo import GRPO, GRPOConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("peft", reason="needs hone-vla[lerobot]", exc_type=ImportError)
    pytest.importorskip("transformers", reason="needs hone-vla[lerobot]", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore")

H, BINS = 2, 16
Q01, Q99 = [-0.8] * A, [0.9] * A
STATISTICS = {"libero": {"action": {"q01": Q01, "q99": Q99, "mask": [True] * (A - 1) + [False]}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from transformers import AutoModelForImageTextToText, SmolVLMConfig

    path = write_smolvlm(tmp_path_factory.mktemp("vlm") / "model", max_position_embeddings=2048)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(SmolVLMConfig.from_pretrained(path))
    model.save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "norm_stats": STATISTICS}))
    return path


@pytest.fixture(scope="module", params=["tokens", "l1"])
def loaded(request, folder) -> VLMPolicy:
    return open_policy(folder, decoder=request.param)


@pytest.fixture
def policy(loaded) -> VLMPolicy:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in loaded.network.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return loaded


def open_policy(folder: Path, **options: Any) -> VLMPolicy:
    settings: dict[str, Any] = {
        "chunk_length": H,
        "bins": BINS,
        "hidden_sizes": (16,),
        "image_size": 32,
        "lora_rank": 2,
    }
    policy = load_policy(f"vlm:{folder}", vlm=VLMConfig(device="cpu", **{**settings, **options}))
    assert isinstance(policy, VLMPolicy)
    return policy


@torch.no_grad()
def sampled(policy: VLMPolicy) -> tuple[Features, Candidate]:
    features = policy.encode(make_observation())
    generators = [torch.Generator().manual_seed(100 + row) for row in range(B)]
    candidates, _ = policy.propose(features, None, 2, generators)
    return features, candidates.select(torch.ones(B, dtype=torch.long))


def test_it_is_a_policy(loaded):
    policy: object = loaded
    assert isinstance(policy, Policy)
    features, candidate = sampled(loaded)
    assert features.tokens.shape[:2] == (B, H * A)
    assert candidate.chunk.shape == (B, H, A)
    assert candidate.chunk.abs().max() <= 1
    greedy = loaded.predict_action_chunk(make_observation())
    torch.testing.assert_close(greedy, loaded.predict_action_chunk(make_observation()))


def test_tokens_are_read_from_the_models_own_logits(folder, policy):
    # The whole model is asked for its logits, one row at a time; a word w < V stands for bin V - 1 - w.
    if policy.config.decoder != "tokens":
        pytest.skip("of the tokens")
    with torch.no_grad():
        features, candidate = sampled(policy)
        scored = policy.log_prob(features, candidate)
        for row in range(B):
            batch = policy.inputs(make_observation().rows(slice(row, row + 1)))
            logits = policy.network(**batch).logits[0, -H * A :]
            words = logits[:, 512 - BINS : 512].double().log_softmax(-1)
            for place in range(H * A):
                word = 511 - int(candidate.sample[row, place])
                expected = words[place, word - (512 - BINS)]
                assert float(scored.terms[row, place]) == pytest.approx(float(expected), abs=1e-4)
    assert scored.kind == "exact"
    torch.testing.assert_close(scored.total, scored.terms.sum(-1))
    # and all chunks of the first place together have probability one
    every = candidate.sample[:1].repeat(BINS, 1)
    every[:, 0] = torch.arange(BINS)
    one_row = features[torch.zeros(BINS, dtype=torch.long)]
    terms = policy.log_prob(one_row, Candidate(candidate.chunk[:1].repeat(BINS, 1, 1), every)).terms[:, 0]
    assert float(terms.exp().sum()) == pytest.approx(1, abs=1e-5)


def test_regression_is_the_median_of_a_laplace(policy):
    if policy.config.decoder != "l1":
        pytest.skip("of the regression")
    policy.exploration = 0.3
    with torch.no_grad():
        features, candidate = sampled(policy)
        greedy = policy.propose(features, None, 1, None)[0].samples[:, 0]
        expected = torch.distributions.Laplace(greedy, 0.3).log_prob(candidate.sample)
        scored = policy.log_prob(features, candidate)
        generators = [torch.Generator().manual_seed(row) for row in range(B)]
        many = policy.propose(features, None, 4000, generators)[0].samples
    torch.testing.assert_close(scored.terms, expected.flatten(1), atol=1e-4, rtol=1e-4)
    assert (many.median(1).values - greedy).abs().max() < 0.05  # standard error of the median 0.3 / sqrt(4000) = 0.005
    assert float((many - greedy[:, None]).abs().mean()) == pytest.approx(0.3, rel=0.02)


def test_actions_are_scaled_by_the_checkpoints_quantiles(policy):
    _, candidate = sampled(policy)
    numbers = candidate.sample
    if policy.config.decoder == "tokens":
        edges = [-1 + 2 * edge / (BINS - 1) for edge in range(BINS)]
        middles = torch.tensor([(low + high) / 2 for low, high in itertools.pairwise(edges)] + [1 - 1 / (BINS - 1)])
        numbers = middles[numbers].unflatten(-1, (H, A))
    scaled = (numbers.clamp(-1, 1) + 1) / 2 * (0.9 + 0.8) - 0.8
    expected = torch.cat([scaled[..., :-1], numbers[..., -1:]], dim=-1).clamp(-1, 1)
    torch.testing.assert_close(candidate.chunk, expected, atol=1e-5, rtol=0)


def test_openvlas_gripper_is_turned_round(folder):
    policy = open_policy(folder, decoder="l1", open_gripper="one", exploration=0.5)
    features = policy.encode(make_observation())
    generators = [torch.Generator().manual_seed(row) for row in range(B)]
    candidates, _ = policy.propose(features, None, 8, generators)
    recorded, done = candidates.samples[..., -1], candidates.chunks[..., -1]
    assert torch.equal(done, torch.where(recorded > 0.5, -1.0, 1.0))
    assert done.unique().tolist() == [-1, 1]


def test_rows_do_not_depend_on_their_batch(policy):
    observation = make_observation()
    whole = policy.encode(observation).tokens
    for row in range(B):
        alone = policy.encode(observation.rows(slice(row, row + 1))).tokens
        torch.testing.assert_close(alone[0], whole[row], atol=1e-4, rtol=1e-4)


def test_grpo_trains_adapters_through_the_whole_model(folder, policy):
    policy = open_policy(folder, decoder=policy.config.decoder, checkpointing=True)
    frozen = {n: p.clone() for n, p in policy.network.named_parameters() if ".lora_" not in n}
    with torch.no_grad():
        features, candidate = sampled(policy)
        old = policy.log_prob(features, candidate).total
    advantages = torch.tensor([1.0, -1.0, 0.5])
    batch = DecisionBatch(make_observation(), candidate, old, advantages, torch.ones(B))
    config = GRPOConfig(epochs=3, micro_batch=2, learning_rate=1e-2, max_learning_rate=1e-1, target_kl=5.0)
    metrics = GRPO(policy, config).update(batch, torch.Generator().manual_seed(0))
    assert metrics["log_prob_mismatch"] < 0.05
    with torch.no_grad():
        new = policy.log_prob(policy.encode(make_observation()), candidate).total
    assert (advantages * (new - old)).sum() > 0
    assert all(torch.equal(p, frozen[n]) for n, p in policy.network.named_parameters() if n in frozen)
    assert any(float(p.abs().max()) > 0 for n, p in policy.network.named_parameters() if "lora_B" in n)


def test_what_was_trained_is_saved_alone_and_comes_back(policy, tmp_path):
    policy.save_pretrained(tmp_path / "saved")
    stored = safetensors.torch.load_file(tmp_path / "saved" / "model.safetensors")
    assert all(".lora_" in name or name.startswith("head.") for name in stored)
    again = load_policy(tmp_path / "saved")
    observation = make_observation()
    torch.testing.assert_close(again.predict_action_chunk(observation), policy.predict_action_chunk(observation))


def test_bfloat16_is_near(folder, policy):
    half = open_policy(folder, decoder=policy.config.decoder, precision="bfloat16")
    full = open_policy(folder, decoder=policy.config.decoder)
    tokens, exact = half.encode(make_observation()).tokens.float(), full.encode(make_observation()).tokens
    assert 0 < (tokens - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_wrong_models_are_named(folder, tmp_path):
    with pytest.raises(HoneError, match="no image-text model that transformers can load"):
        open_policy(tmp_path / "absent")
    with pytest.raises(HoneError, match=r"unknown statistics of .*bridge"):
        open_policy(folder, statistics="bridge")
    bare = write_smolvlm(tmp_path / "bare")
    for part in folder.glob("*.safetensors"):
        (bare / part.name).write_bytes(part.read_bytes())
    with pytest.raises(HoneError, match="no norm_stats"):
        open_policy(bare)
    with pytest.raises(HoneError, match=r"has no \{instruction\} in it"):
        VLMConfig(prompt="do it")
