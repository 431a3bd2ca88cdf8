"""Real LeRobot classes, processors and files at a tiny random size: what Hone makes of them against what they do."""

import dataclasses
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from lerobot_toys import (
    CHUNK,
    EXECUTED,
    MAX_DIM,
    MEAN,
    STATISTICS,
    STD,
    STEPS,
    A,
    B,
    make_observation,
    tiny_gemma,
    write_pi,
    write_smolvla,
)

from hone.errors import HoneError
from hone.policies import Candidate, Features, LeRobotConfig, LeRobotPolicy, Policy, load_policy
from hone.specs import Spec, SpecMismatchError, check_compatible
from hone.training.decisions import DecisionBatch
from hone.training.grpo import GRPO, GRPOConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("lerobot.policies.smolvla", reason="needs hone-vla[lerobot]", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=["smolvla", "pi0", "pi05"])
def folder(request, tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("checkpoints") / request.param
    if request.param == "smolvla":
        yield write_smolvla(path)
    else:
        with tiny_gemma():
            yield write_pi(path, request.param)


@pytest.fixture(scope="module")
def loaded(folder) -> LeRobotPolicy:
    return open_policy(folder)


@pytest.fixture
def policy(loaded) -> LeRobotPolicy:
    """The policy with adapters that do something: as they are put in they change nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in loaded.trainable_parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    loaded.exploration = 0.1
    return loaded


def open_policy(folder: Path, **options: Any) -> LeRobotPolicy:
    policy = load_policy(f"lerobot:{folder}", LeRobotConfig(device="cpu", lora_rank=2, **options))
    assert isinstance(policy, LeRobotPolicy)
    return policy


def generators(rows: int = B) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + row) for row in range(rows)]


@torch.no_grad()
def sampled(policy: LeRobotPolicy) -> tuple[Features, Candidate]:
    features = policy.encode(make_observation())
    candidates, _ = policy.propose(features, None, 2, generators())
    return features, candidates.select(torch.ones(B, dtype=torch.long))


def library_velocity(policy: LeRobotPolicy, row: int, x: torch.Tensor, time: float, monkeypatch) -> torch.Tensor:
    """Velocity of one row by the library's own `sample_actions`, whose loop over steps is cut down to one look."""
    library: Any = policy.field.library
    module = __import__(type(library).__module__, fromlist=["euler_integrate"])
    now = torch.tensor([time])
    monkeypatch.setattr(module, "euler_integrate", lambda velocity, noise, *_, **__: velocity(noise, now))
    batch = dict(policy.checkpoint.preprocess(policy.inputs(make_observation().rows(slice(row, row + 1)))))
    library.config.output_features = {"action": dataclasses.replace(library.config.action_feature, shape=(MAX_DIM,))}
    try:
        return library.predict_action_chunk(batch, noise=x[None])[0]
    finally:
        library.config.output_features = {"action": dataclasses.replace(library.config.action_feature, shape=(A,))}


def test_it_is_a_policy_with_the_checkpoints_conventions(loaded):
    policy: object = loaded
    assert isinstance(policy, Policy)
    assert loaded.chunk_length == EXECUTED
    assert loaded.spec == Spec(image_size=32, image_orientation="rotated_180")
    features, candidate = sampled(loaded)
    assert candidate.chunk.shape == (B, EXECUTED, A)
    assert candidate.sample.shape == (B, STEPS + 1, CHUNK * MAX_DIM + 1)
    assert features.tokens.shape[:2] == features.mask.shape


def test_a_greedy_chunk_is_the_librarys_own(folder, loaded):
    from lerobot.configs.policies import PreTrainedConfig  # pyright: ignore[reportMissingImports]
    from lerobot.policies.factory import (  # pyright: ignore[reportMissingImports]
        get_policy_class,
        make_pre_post_processors,
    )

    config = PreTrainedConfig.from_pretrained(folder)
    library: Any = get_policy_class(config.type).from_pretrained(folder, config=config)
    before, after = make_pre_post_processors(config, str(folder))
    observation = make_observation()
    start = loaded.head.greedy_start.expand(B, -1, -1)
    fresh = open_policy(folder)  # adapters that change nothing
    with torch.no_grad():
        fresh.head.get_buffer("greedy_start").copy_(loaded.head.greedy_start)
    expected = after(library.predict_action_chunk(before(fresh.inputs(observation)), noise=start))
    chunk = fresh.predict_action_chunk(observation)
    torch.testing.assert_close(chunk, expected[:, :EXECUTED].clamp(-1, 1), atol=1e-5, rtol=0)
    assert chunk.std() > 0.05


@pytest.mark.parametrize("chain", ["flow_noise", "single_step"])
def test_the_log_probability_is_that_of_the_recorded_path(policy, chain, monkeypatch):
    # Step by step and row by row with the library's velocity v, whose time t runs from 1 to 0:
    #   flow_noise   x' ~ N(x - v dt, sigma^2 dt)
    #   single_step  x' ~ N(x - v dt - sigma^2 n dt, 2 sigma^2 t dt), n = x + (1 - t)(-v) (-1) = x + (1 - t) v the noise
    monkeypatch.setattr(policy.head, "chain", chain)
    sigma, dt = policy.exploration, 1 / STEPS
    with torch.no_grad():
        features, candidate = sampled(policy)
        scored = policy.log_prob(features, candidate)
    assert scored.kind == "surrogate"
    drawn_steps = 0
    for row in range(B):
        path = candidate.sample[row, :, :-1].unflatten(-1, (CHUNK, MAX_DIM))
        drawn = candidate.sample[row, 1:, -1] == 2
        for step in range(STEPS):
            x, t = path[step], 1 - step * dt
            if not drawn[step]:
                assert scored.terms[row, step] == 0
                continue
            v = library_velocity(policy, row, x, t, monkeypatch)
            mean, variance = x - v * dt, sigma**2 * dt
            if chain == "single_step":
                mean, variance = mean - sigma**2 * (x + (1 - t) * v) * dt, 2 * sigma**2 * t * dt
            density = torch.distributions.Normal(mean, variance**0.5).log_prob(path[step + 1])
            expected = density[:EXECUTED, :A].sum()
            torch.testing.assert_close(scored.terms[row, step], expected, atol=2e-2, rtol=1e-4)
            rest = (path[step + 1] - (x - v * dt)).abs()
            assert rest[EXECUTED:].max() < 1e-4  # what is not executed follows the flow without noise
            assert rest[:, A:].max() < 1e-4
            drawn_steps += 1
    assert drawn_steps == (B if chain == "single_step" else B * STEPS)
    torch.testing.assert_close(scored.total, scored.terms.sum(-1))


def test_actions_are_unnormalised_by_the_checkpoints_statistics(policy):
    _, candidate = sampled(policy)
    last = candidate.sample[:, -1, :-1].unflatten(-1, (CHUNK, MAX_DIM))[:, :EXECUTED, :A]
    torch.testing.assert_close(candidate.chunk, (last * STD + MEAN).clamp(-1, 1), atol=1e-5, rtol=1e-5)


def test_the_gradient_is_that_of_finite_differences(policy):
    features, candidate = sampled(policy)
    parameters = [p for p in policy.trainable_parameters() if p.requires_grad]
    policy.train_encoder = False
    try:
        head = policy.trainable_parameters()
        assert 0 < len(head) < len(parameters) or not policy.encoder_parameters()
        generator = torch.Generator().manual_seed(1)
        direction = [torch.randn(p.shape, generator=generator) for p in head]
        total = policy.log_prob(features, candidate).total.sum()
        gradient = torch.autograd.grad(total, head, allow_unused=True)
        slope = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True) if g is not None)
        shifted = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, d in zip(head, direction, strict=True):
                    p.add_(sign * 1e-3 * d)
                shifted.append(float(policy.log_prob(features, candidate).total.double().sum()))
                for p, d in zip(head, direction, strict=True):
                    p.sub_(sign * 1e-3 * d)
        assert (shifted[0] - shifted[1]) / 2e-3 == pytest.approx(slope, rel=0.02, abs=0.5)
        assert abs(slope) > 5
    finally:
        policy.train_encoder = True


def test_rows_do_not_depend_on_their_batch_or_its_longest_prompt(policy):
    observation = make_observation()
    whole = policy.predict_action_chunk(observation)
    for row in range(B):
        alone = policy.encode(observation.rows(slice(row, row + 1)))
        chunk = policy.propose(alone, None, 1, None)[0].chunks[:, 0]
        torch.testing.assert_close(chunk, whole[row : row + 1], atol=1e-5, rtol=0)
    parts = [policy.encode(observation.rows(slice(row, row + 1))) for row in range(B)]
    joined = policy.propose(Features.cat(parts), None, 1, None)[0].chunks[:, 0]
    torch.testing.assert_close(joined, whole, atol=1e-5, rtol=0)


def test_gradient_checkpointing_changes_memory_and_nothing_else(policy, monkeypatch):
    features, candidate = sampled(policy)

    def scored() -> tuple[torch.Tensor, list[torch.Tensor]]:
        policy.zero_grad()
        total = policy.log_prob(features, candidate).total
        (total * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
        return total.detach(), [p.grad.clone() for p in policy.trainable_parameters() if p.grad is not None]

    total, gradient = scored()
    monkeypatch.setattr(policy.field, "rows_at_once", 2)
    again, sliced = scored()
    torch.testing.assert_close(again, total, atol=1e-2, rtol=1e-5)
    assert len(gradient) == len(sliced) > 0
    for one, other in zip(gradient, sliced, strict=True):
        torch.testing.assert_close(one, other, atol=1e-2 * float(one.abs().max()) + 1e-6, rtol=0)


def test_bfloat16_keeps_the_adapters_and_is_near(folder, policy):
    half = open_policy(folder, precision="bfloat16")
    with torch.no_grad():
        for ours, theirs in zip(half.trainable_parameters(), policy.trainable_parameters(), strict=True):
            ours.copy_(theirs)
        half.head.get_buffer("greedy_start").copy_(policy.head.greedy_start)
    assert {p.dtype for p in half.trainable_parameters()} == {torch.float32}
    frozen = sum(p.numel() for p in half.parameters() if p.dtype == torch.bfloat16)
    assert frozen > 0.5 * sum(p.numel() for p in half.parameters())
    error = half.predict_action_chunk(make_observation()) - policy.predict_action_chunk(make_observation())
    assert 0 < error.abs().max() < 0.05
    features, candidate = sampled(half)
    total = half.log_prob(features, candidate).total
    total.sum().backward()
    assert total.isfinite().all()


@pytest.mark.parametrize("train_encoder", [False, True])
def test_grpo_moves_the_adapters_alone_and_the_right_way(folder, train_encoder):
    policy = open_policy(folder)
    policy.train_encoder = train_encoder
    observation = make_observation()
    with torch.no_grad():
        features, candidate = sampled(policy)
        old = policy.log_prob(features, candidate).total
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    advantages = torch.tensor([1.0, -1.0, 0.5])
    batch = DecisionBatch(observation, candidate, old, advantages, torch.ones(B))
    config = GRPOConfig(epochs=2, micro_batch=2, learning_rate=1e-3, max_learning_rate=1e-2, target_kl=1.0)
    metrics = GRPO(policy, config).update(batch, torch.Generator().manual_seed(0))
    assert metrics["log_prob_mismatch"] < 0.05
    assert metrics["kl"] > 0
    with torch.no_grad():
        new = policy.log_prob(policy.encode(observation), candidate).total
    assert (advantages * (new - old)).sum() > 0
    moved = {name for name, tensor in policy.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(".lora_" in name for name in moved)
    assert (
        train_encoder == any(policy.field.family.in_prefix(name) for name in moved) or not policy.encoder_parameters()
    )


def test_only_adapters_are_saved_and_they_bring_the_policy_back(folder, policy, tmp_path):
    policy.exploration = 0.07
    policy.save_pretrained(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["config.json", "model.safetensors"]
    stored = safetensors.torch.load_file(tmp_path / "saved" / "model.safetensors")
    assert sum(tensor.numel() for tensor in stored.values()) < 0.2 * sum(p.numel() for p in policy.parameters())
    again = load_policy(tmp_path / "saved")
    assert again.exploration == pytest.approx(0.07)
    observation = make_observation()
    torch.testing.assert_close(again.predict_action_chunk(observation), policy.predict_action_chunk(observation))
    damaged = {name: tensor for name, tensor in stored.items() if not name.endswith("lora_B.default.weight")}
    safetensors.torch.save_file(damaged, tmp_path / "saved" / "model.safetensors")
    with pytest.raises(HoneError, match="does not fit"):
        load_policy(tmp_path / "saved")


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_weights_that_do_not_arrive_are_an_error(folder, tmp_path):
    broken = copied(folder, tmp_path)
    stored = safetensors.torch.load_file(broken / "model.safetensors")
    stored.pop("model.action_out_proj.bias")
    safetensors.torch.save_file(stored, broken / "model.safetensors")
    with pytest.raises(HoneError, match="tensors are not those of"):
        open_policy(broken)


def test_missing_statistics_are_an_error(folder, tmp_path):
    broken = copied(folder, tmp_path)
    for path in broken.glob("policy_postprocessor*.safetensors"):
        safetensors.torch.save_file({"observation.state.mean": torch.zeros(8)}, path)
    with pytest.raises(HoneError, match="no normalisation statistics for action"):
        open_policy(broken)


def test_a_folder_that_is_no_checkpoint_says_what_is_missing(folder, tmp_path):
    broken = copied(folder, tmp_path)
    (broken / "policy_preprocessor.json").unlink()
    with pytest.raises(HoneError, match=r"policy_preprocessor\.json missing"):
        open_policy(broken)
    with pytest.raises(HoneError, match="it is no folder, and the hub"):
        open_policy(tmp_path / "absent")
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "config.json").write_text(json.dumps({"type": "act"}))
    with pytest.raises(HoneError, match="unknown kind of LeRobot policy that Hone can run 'act'"):
        open_policy(other)


def test_a_mismatch_names_both_sides(folder, tmp_path):
    if "smolvla" not in folder.name:
        pytest.skip("one family is enough")
    odd = write_smolvla(
        tmp_path / "odd",
        cameras=("camera1", "camera2"),
        state=6,
        action=6,
        statistics={name: {k: v[:6] for k, v in stats.items()} for name, stats in STATISTICS.items()},
    )
    policy = open_policy(odd, control_rate_hz=30.0)
    environment = Spec(image_size=32, image_orientation="rotated_180")
    with pytest.raises(SpecMismatchError) as caught:
        check_compatible(policy.spec, environment)
    message = str(caught.value)
    for part in (
        "action_dim: policy 6, environment 7",
        "control_rate_hz: policy 30.0, environment 20.0",
        "proprio: policy '6 numbers', environment 'eef_pos_m3+axis_angle_rad3+finger_qpos_m2'",
        "cameras: policy ('camera1', 'camera2'), environment ('agentview', 'robot0_eye_in_hand')",
    ):
        assert part in message
    named = open_policy(odd, cameras=("camera1=robot0_eye_in_hand", "camera2=agentview"))
    assert named.spec.cameras == environment.cameras
    seen = named.inputs(make_observation())
    images = make_observation().images
    assert images is not None
    expected = torch.from_numpy(images[:, 1]).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(seen["observation.images.camera1"], expected)
    with pytest.raises(HoneError, match="camera3"):
        open_policy(odd, cameras=("camera3=agentview",))


def test_options_out_of_range_are_refused(folder):
    with pytest.raises(HoneError, match="executed is 0"):
        LeRobotConfig(executed=0)
    with pytest.raises(HoneError, match="does not say which is which"):
        LeRobotConfig(cameras=("agentview",))
    with pytest.raises(HoneError, match="7 actions are to be executed of each chunk"):
        open_policy(folder, executed=7)
