"""The pieces of the decoders' benchmark: budgets, the same weights decoded otherwise, and an episode's line."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError
from hone.evaluation.runner import Setup
from hone.policies import Features
from hone.policies.heads import HEADS, ChunkSpace, DCTHeadConfig, FlowHeadConfig
from hone.policies.small import SmallPolicyConfig
from hone.training.behavior_cloning import BehaviorCloningConfig
from hone.training.decoders import Conditions, cloned, line, measure, redecoded, with_budget

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
    assert other.config.head.steps == 2
    with pytest.raises(HoneError, match="FlowHeadConfig cannot be decoded as a DCTHeadConfig"):
        redecoded(policy, DCTHeadConfig())


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
    assert torch.equal(again.head.greedy_start, policy.head.greedy_start)

    found = line(measure(conditions, policy, Setup(one, "sampled", (0, 1)), execute=4, trust=0.5))
    assert found["outcomes"] == "00"
    assert found["success_rate"] == 0
    # 6 decisions: a cold one of 10 evaluations, then half of them.
    assert found["evaluations"] == pytest.approx((10 + 5 * 5) / 6)
    assert found["jerk_seam"] > 0
