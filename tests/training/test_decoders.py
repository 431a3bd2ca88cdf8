"""The pieces of the decoders' benchmark: budgets, the same weights decoded otherwise, and an episode's line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError
from hone.evaluation.runner import Setup
from hone.policies import Features
from hone.policies.heads import HEADS, ChunkSpace, DCTHeadConfig, FlowHeadConfig
from hone.policies.small import SmallPolicyConfig
from hone.training.behavior_cloning import BehaviorCloningConfig, ChunkDataset
from hone.training.decoders import Conditions, chunk_error, cloned, line, measure, paired, redecoded, with_budget
from hone.types import Episode, Placement, Task

SPACE = ChunkSpace(2, 7, -1.0, 1.0)
FEATURES = Features(torch.zeros(3, 0, 5), torch.ones(3, 0, dtype=torch.bool), torch.randn(3, 5))
TOKENS = SPACE.length * SPACE.action_dim
WITHOUT = {"dct": 1, "laplace": 1, "bins": TOKENS}
"""Evaluations of the heads that have no budget; `fast` has as many as it writes tokens."""


@pytest.mark.parametrize("name", list(HEADS))
@torch.no_grad()
def test_a_budget_is_what_a_chunk_then_costs(name):
    config = with_budget(HEADS[name](), 3)
    if config is None:
        head = HEADS[name]().build(5, SPACE)
        found = head.evaluations(head.sample(FEATURES, 2, None).samples)
        assert found.shape == (3, 2)
        assert (found == WITHOUT[name]).all() if name in WITHOUT else (found <= TOKENS).all()
        return
    head = config.build(5, SPACE)
    expected = 3 + (TOKENS if name == "hybrid" else 0)
    assert (head.evaluations(head.sample(FEATURES, 2, None).samples) == expected).all()


def test_other_steps_have_the_same_weights_and_another_head_is_refused():
    policy = SmallPolicyConfig(inputs="state", head=FlowHeadConfig(hidden_sizes=(8,))).build(seed=1)
    config = policy.config.head
    assert isinstance(config, FlowHeadConfig)
    other = redecoded(policy, replace(config, steps=2))
    for name, tensor in policy.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=0, equal_nan=True)
    assert other.config.head == replace(config, steps=2)
    with pytest.raises(HoneError, match="FlowHeadConfig cannot be decoded as a DCTHeadConfig"):
        redecoded(policy, DCTHeadConfig())


def test_the_error_of_a_chunk_counts_the_steps_that_were_demonstrated():
    policy = SmallPolicyConfig(inputs="state", head=DCTHeadConfig(hidden_sizes=(8,))).build()
    with torch.no_grad():
        for parameter in policy.head.parameters():
            parameter.zero_()  # it stands still
    rng = np.random.default_rng(0)
    half = np.full((3, 7), 0.5, np.float32)
    episode = Episode(
        Task("suite", 0, "task", "do it"),
        Placement("sampled", 0),
        "success",
        proprio=rng.standard_normal((3, 8)).astype(np.float32),
        actions=half,
        executed=half,
        state=rng.standard_normal((3, 2, 11)).astype(np.float32),
    )
    dataset = ChunkDataset([episode], policy.chunk_length)
    policy.fit_normalization(dataset.observation(np.arange(3)))
    assert chunk_error(policy, dataset, 5, torch.Generator().manual_seed(0)) == pytest.approx(0.5)


def outcomes(seed: int, ends: str, protocol: str = "p") -> dict[str, Any]:
    return {"seed": seed, "outcomes": ends, "per_task": {"one": None, "two": None}, "protocol_hash": protocol}


def test_pairs_are_of_one_seed_and_leave_faults_out():
    found = paired([outcomes(1, "0010"), outcomes(2, "1x00")], [outcomes(2, "1111"), outcomes(1, "1110")])
    assert found.pairs == 7
    assert found.mean == pytest.approx(4 / 7)
    with pytest.raises(HoneError, match="no pair of valid episodes"):
        paired([outcomes(1, "11")], [outcomes(2, "11")])
    with pytest.raises(HoneError, match="seed 1 were measured under different protocols"):
        paired([outcomes(1, "11")], [outcomes(1, "11", "q")])


@pytest.mark.sim
def test_a_clone_is_made_once_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    conditions = Conditions(
        suite="libero_object",
        demos=1,
        cloning=BehaviorCloningConfig(steps=3, batch_size=4),
        env=LiberoConfig(step_cap=24),
        slots=2,
    )
    one = conditions.tasks[:1]
    monkeypatch.setattr(Conditions, "tasks", property(lambda self: one))
    policy = cloned(replace(conditions, env=LiberoConfig()), "flow", 5, tmp_path, snapshots=(1, 2))
    assert sorted(path.name for path in (tmp_path / "flow-5").iterdir()) == ["1", "2", "3"]
    again = cloned(replace(conditions, demos=50), "flow", 5, tmp_path, snapshots=(1, 2))  # nothing is recorded
    for name, tensor in policy.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)

    found = line(measure(conditions, policy, Setup(one, "sampled", (0, 1)), execute=4, trust=0.5))
    assert found["outcomes"] == "00"
    assert found["success_rate"] == 0
    # 6 decisions: a cold one of 10 evaluations, then half of them.
    assert found["evaluations"] == pytest.approx((10 + 5 * 5) / 6)
    assert found["jerk_seam"] > 0
