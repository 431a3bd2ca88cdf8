from typing import Any

import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.policies import Features, SmallPolicyConfig
from hone.policies.base import Policy, Reporting
from hone.policies.heads import DCTHeadConfig, EqMHeadConfig, FlowHeadConfig, HeadConfig, SamplingHooks
from hone.policies.heads.field import Field
from hone.policies.learned import LearnedPolicy
from hone.policies.receding import Memory, RecedingPolicy
from hone.types import Observation

B, H, A = 3, 8, 7
EQM = EqMHeadConfig(hidden_sizes=(8,), predicts="gradient", decay_start=0.8, step_size=0.03, steps=30, residual=0.05)


class TowardsARamp(Field):
    """A gradient whose zero is a chunk that keeps rising; nothing to do with the features."""

    target = torch.linspace(-0.4, 0.4, H)[:, None].expand(H, A)

    def condition(self, features: Features) -> Features:
        return features

    def forward(self, x, time, given):
        return 20 * (x - self.target)


def make_policy(head: HeadConfig, past_length: int = 0) -> tuple[LearnedPolicy, Features]:
    policy = SmallPolicyConfig(inputs="state", chunk_length=H, past_length=past_length, head=head).build()
    rng = np.random.default_rng(0)
    observation = Observation(
        proprio=rng.normal(size=(B, 8)).astype(np.float32),
        instructions=("open the drawer",) * B,
        state=rng.normal(size=(B, 3, 11)).astype(np.float32),
    )
    policy.fit_normalization(observation)
    return policy, policy.encode(observation)


def generators(rows: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(10 * seed + row) for row in range(rows)]


def test_the_next_descent_starts_from_what_was_left_and_costs_less():
    policy, features = make_policy(EQM)
    policy.head.field = TowardsARamp()
    receding = RecedingPolicy(policy, execute=2, trust=1.0)
    assert isinstance(receding, Policy)
    first, state = receding.propose(features, receding.initial_state(B), 1, None)
    assert first.chunks.shape == (B, 1, 2, A)
    second, later = receding.propose(features, state, 1, None)
    # What was left of the first chunk, its last action held twice more.
    whole = first.samples[:, 0, -1, :-1].unflatten(-1, (H, A))
    expected = torch.cat([whole[:, 2:], whole[:, -1:].expand(-1, 2, -1)], dim=1)
    torch.testing.assert_close(second.samples[:, 0, 0, :-1].unflatten(-1, (H, A)), expected)
    torch.testing.assert_close(second.chunks, first.chunks, atol=0.01, rtol=0)
    assert state is not None
    assert later is not None
    cold, warm = later[0].evaluations
    assert state[0].evaluations == (cold,)
    # Each step leaves 0.4 of the distance: from noise about 1 away to 0.0025 takes 7 steps, from 0.1 away, 5.
    assert warm < cold < 12
    assert isinstance(later[0], Reporting)
    assert later[0].report() == {
        "decisions": 2,
        "decoder_evaluations": cold + warm,
        "evaluations": [cold, warm],
    }


@pytest.mark.parametrize("head", [EQM, FlowHeadConfig(hidden_sizes=(16,), steps=6)])
def test_rows_that_begin_and_rows_that_go_on_share_a_batch(head):
    policy, features = make_policy(head)
    receding = RecedingPolicy(policy, execute=4, trust=0.5)
    chunk = torch.full((H, A), 0.25)
    state = [Memory(), Memory(chunk, (5,)), Memory()]
    whole, _ = receding.propose(features, state, 2, generators(B))
    for row in range(B):
        here = slice(row, row + 1)
        alone, _ = receding.propose(features[here], state[here], 2, generators(B)[here])
        torch.testing.assert_close(alone.samples, whole.samples[here], atol=1e-4, rtol=0)
    log_prob = receding.log_prob(features, whole.select(torch.zeros(B, dtype=torch.long)))
    assert torch.isfinite(log_prob.total).all()
    if isinstance(head, FlowHeadConfig):
        assert log_prob.mask.sum(-1).tolist() == [6, 3, 6]


def test_without_a_warm_start_any_head_will_do():
    policy, features = make_policy(DCTHeadConfig(hidden_sizes=(8,)))
    receding = RecedingPolicy(policy, execute=3)
    candidates, state = receding.propose(features, receding.initial_state(B), 1, None)
    torch.testing.assert_close(candidates.chunks[:, 0], policy.propose(features, None, 1, None)[0].chunks[:, 0, :3])
    assert state is not None
    assert [memory.evaluations for memory in state] == [(1,)] * B


def test_cold_is_the_policy_itself_and_hooks_are_kept():
    policy, features = make_policy(EQM)
    calls = []
    hooks = SamplingHooks(before=lambda noise, _: calls.append(noise.shape) or noise)
    receding = RecedingPolicy(policy, execute=3, hooks=hooks)
    state = receding.initial_state(B)
    for _ in range(2):
        candidates, state = receding.propose(features, state, 2, generators(B))
        expected, _ = policy.propose(features, None, 2, generators(B))
        torch.testing.assert_close(candidates.chunks, expected.chunks[:, :, :3])
    assert len(calls) == 2


def test_the_best_of_several_comes_first_whatever_the_head():
    policy, features = make_policy(DCTHeadConfig(hidden_sizes=(8,), exploration=0.3))
    plain, _ = policy.propose(features, None, 5, generators(B))
    receding = RecedingPolicy(policy, execute=3, best_of=5)
    best, state = receding.propose(features, receding.initial_state(B), 1, generators(B))
    distance = (plain.chunks[:, :, None] - plain.chunks[:, None]).square().mean((-2, -1)).sqrt().sum(-1)
    medoid = plain.select(distance.argmin(-1))
    torch.testing.assert_close(best.chunks[:, 0], medoid.chunk[:, :3])
    torch.testing.assert_close(best.samples[:, 0], medoid.sample)
    assert state is not None
    assert state[0].report() == {"decisions": 1, "decoder_evaluations": 5, "evaluations": [5]}


def test_candidates_are_compared_with_what_was_executed():
    policy, features = make_policy(DCTHeadConfig(hidden_sizes=(8,), exploration=0.5), past_length=3)
    receding = RecedingPolicy(policy, execute=2, best_of=6, choose="past")
    chosen, state = receding.propose(features, receding.initial_state(B), 1, generators(B))
    whole = policy.head.sample(features, 6, generators(B)).chunks
    torch.testing.assert_close(chosen.chunks[:, 0], whole[:, 0, 3:5])  # nothing was executed yet: the first one
    for seed in (1, 2):
        executed = torch.stack([torch.stack(memory.executed) for memory in state or []])
        assert executed.shape[1] == (2 if seed == 1 else 3)  # of the two, then four, actions so far
        torch.testing.assert_close(executed[:, -2:], chosen.chunks[:, 0])
        whole = policy.head.sample(features, 6, generators(B, seed)).chunks
        past = whole[:, :, 3 - executed.shape[1] : 3]
        error = (past - executed[:, None]).square().mean((-2, -1))
        chosen, state = receding.propose(features, state, 1, generators(B, seed))
        torch.testing.assert_close(chosen.chunks[:, 0], whole[torch.arange(B), error.argmin(-1), 3:5])


@pytest.mark.parametrize(
    ("head", "changes", "message"),
    [
        (DCTHeadConfig(hidden_sizes=(8,)), {}, "DCTHead does not refine a chunk step by step"),
        (EQM, {"execute": 9}, "execute is 9, but the policy's chunks have 8 actions"),
        (EQM, {"trust": 0.0}, r"trust is 0.0; it must be in \(0, 1\]"),
        (EQM, {"best_of": 0}, "best_of is 0; draw at least one"),
        (EQM, {"best_of": 2, "choose": "past"}, "predicts no past actions"),
    ],
)
def test_bad_input(head, changes, message):
    policy, _ = make_policy(head)
    settings: dict[str, Any] = {"execute": 2, "trust": 1.0, **changes}
    with pytest.raises(HoneError, match=message):
        RecedingPolicy(policy, **settings)
