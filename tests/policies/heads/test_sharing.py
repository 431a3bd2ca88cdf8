"""What is computed once: the encoder and a head's projection of the features, whatever the number of candidates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from head_toys import SMALL, generators, make_features, make_head

from hone.language import encoder
from hone.policies import FlowPolicyConfig, SmallPolicyConfig
from hone.policies.heads import Head, SamplingHooks
from hone.types import Observation

FIRST = {
    "dct": "trunk.0",
    "laplace": "median.0",
    "flow": "field.features",
    "eqm": "field.features",
    "bins": "writer.features",
    "fast": "writer.features",
    "discrete_diffusion": "features",
    "hybrid": "trunk.0",
}
"""The layer of each head that reads the features; "score" reads a blank too, where it is guided."""


def counted(module: torch.nn.Module) -> list[int]:
    """Rows of each call of `module` from now on."""
    calls: list[int] = []
    module.register_forward_hook(lambda _, inputs, output: calls.append(len(inputs[0])))
    return calls


@pytest.mark.parametrize("name", list(FIRST))
def test_features_are_projected_once_for_all_candidates(name):
    head = make_head(name)
    calls = counted(head.get_submodule(FIRST[name]))
    with torch.no_grad():
        head.sample(make_features(5), 8, generators(5))
    assert calls == [5]


@pytest.mark.parametrize("build", [SmallPolicyConfig(cameras=("a", "b"), image_size=28), FlowPolicyConfig(
    cameras=("a", "b"), image_size=28, width=16)])  # fmt: skip
def test_an_observation_is_encoded_once_for_all_candidates_and_its_text_once_for_ever(build, monkeypatch):
    policy = build.build()
    backbone = policy.cameras[0] if isinstance(build, SmallPolicyConfig) else policy.prefix
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 2, 28, 28, 3)).astype(np.uint8)
    seen = Observation(rng.normal(size=(2, 8)).astype(np.float32), ("lift the red cup",) * 2, images)
    policy.fit_normalization(seen)
    calls = counted(backbone)
    with torch.no_grad():
        candidates, _ = policy.propose(policy.encode(seen), None, 8, generators(2))
    assert candidates.chunks.shape[1] == 8
    assert calls == [2]
    if isinstance(build, SmallPolicyConfig):
        monkeypatch.setattr(encoder, "ngrams", None)  # would fail if the sentence were embedded again
        policy.encode(seen)


@pytest.mark.parametrize("name", list(SMALL))
def test_a_row_does_not_depend_on_its_batch(name):
    """Samples, likelihoods and losses. Tokens are equal; numbers up to the rounding of a matrix product."""
    head, features = make_head(name), make_features(9)
    with torch.no_grad():
        whole = head.sample(features, 3, generators(9))
        scored = head.log_prob(features, whole.select(torch.ones(9, dtype=torch.long))).total
        for row in (0, 4, 8):
            here = slice(row, row + 1)
            alone = head.sample(features[here], 3, generators(9)[here])
            torch.testing.assert_close(alone.chunks, whole.chunks[here], atol=1e-5, rtol=0)
            own = head.log_prob(features[here], alone.select(torch.ones(1, dtype=torch.long))).total
            torch.testing.assert_close(own, scored[here], atol=1e-2, rtol=1e-4)
        mask = torch.ones(9, *head.space.shape[:1], dtype=torch.bool)
        actions = whole.chunks[:, 0]
        if name in ("dct", "laplace", "bins", "fast"):  # the others draw noise for the whole batch
            together = head.losses(features, actions, mask, None).rows()
            apart = [head.losses(features[i : i + 1], actions[i : i + 1], mask[:1], None).rows() for i in range(9)]
            torch.testing.assert_close(torch.cat(apart), together, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", list(SMALL))
def test_the_rows_of_a_loss_make_the_loss_and_the_after_hook_is_asked_once(name):
    head, features = make_head(name), make_features(6)
    mask, seen = torch.ones(6, head.space.length, dtype=torch.bool), []
    hooks = SamplingHooks(after=lambda candidates, _: seen.append(candidates) or candidates)
    with torch.no_grad():
        actions = head.sample(features, 1, generators(6), hooks).chunks[:, 0]
    assert len(seen) == 1
    loss = head.loss(features, actions, mask, torch.Generator().manual_seed(0))
    parts = head.losses(features, actions, mask, torch.Generator().manual_seed(0))
    torch.testing.assert_close(parts.mean(), loss)
    weights = parts.counted.sum(-1)
    torch.testing.assert_close((parts.rows() * weights).sum() / weights.sum(), loss)


def test_the_exploration_of_a_hybrid_is_its_denoisers():
    head = make_head("hybrid")
    assert isinstance(head, Head)
    head.exploration = 0.02
    assert head.denoiser.exploration == head.exploration  # type: ignore[union-attr]
    assert head.writer.exploration == 1.0  # type: ignore[union-attr]
    with torch.no_grad():
        assert int(head.evaluations(head.sample(make_features(2), 3, None).samples)[0, 0]) == 8 + 6
