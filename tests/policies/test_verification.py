import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.policies import SmallPolicyConfig
from hone.policies.base import Candidates, Features
from hone.policies.heads import BinsHeadConfig
from hone.policies.receding import RecedingPolicy
from hone.policies.steering import best_first
from hone.policies.verification import remembers
from hone.training.behavior_cloning import BehaviorCloningConfig, clone
from hone.types import Episode, Observation, Placement, Task

NOTHING = Features(torch.zeros(2, 0, 1), torch.ones(2, 0, dtype=torch.bool), torch.zeros(2, 1))
TASK = Task("toy", 0, "wait", "wait, then close")


def test_the_candidate_whose_past_was_executed_comes_first():
    chunks = torch.zeros(2, 3, 5, 1)
    chunks[0, :, :2, 0] = torch.tensor([[0.5, 0.5], [0.1, 0.2], [-0.4, 0.0]])
    chunks[1, :, :2, 0] = torch.tensor([[9.0, 0.3], [0.0, 0.0], [0.3, 0.2]])
    chunks[:, :, 2:, 0] = torch.arange(3.0)[None, :, None]  # the future says which it is
    executed = torch.tensor([[[0.1], [0.2]], [[0.7], [0.3]]])
    known = torch.tensor([[True, True], [False, True]])
    ranked = best_first(remembers(executed, known))(Candidates(chunks, chunks), NOTHING)
    assert ranked.chunks[:, 0, -1, 0].tolist() == [1.0, 0.0]
    assert torch.equal(ranked.samples, ranked.chunks)
    # An episode that has just begun has no past: the order stays.
    fresh = best_first(remembers(executed, torch.zeros(2, 2, dtype=torch.bool)))(Candidates(chunks, chunks), NOTHING)
    assert torch.equal(fresh.chunks, chunks)


def test_bad_input():
    with pytest.raises(HoneError, match="fewer steps than a candidate has"):
        remembers(torch.zeros(2, 5, 1), torch.ones(2, 5, dtype=torch.bool))(torch.zeros(2, 3, 5, 1), NOTHING)


def rest_then_close(seed: int) -> Episode:
    """Nothing changes while the hand rests; how long it has rested can only be remembered."""
    rests = 6
    actions = np.zeros((rests + 4, 7), np.float32)
    actions[:, 6] = -1.0
    actions[rests:, 6] = 1.0
    proprio = np.zeros((len(actions), 8), np.float32)
    proprio[rests:, 6] = np.linspace(0.2, 1.0, 4)  # the fingers move once it closes
    proprio += 0.001 * np.random.default_rng(seed).normal(size=proprio.shape).astype(np.float32)
    return Episode(TASK, Placement("sampled", seed), "success", proprio, actions, actions, state=np.zeros(
        (len(actions), 1, 11), np.float32))  # fmt: skip


def longest_rest(best_of: int) -> float:
    """Decisions, one action each, until the policy closes, for 40 rows that all see the hand at rest."""
    policy = SmallPolicyConfig(
        inputs="state", chunk_length=2, past_length=6, head=BinsHeadConfig(bins=3, width=32)
    ).build(0)
    cloning = BehaviorCloningConfig(steps=150, batch_size=32, learning_rate=5e-3)
    clone(policy, [rest_then_close(seed) for seed in range(4)], cloning, torch.Generator().manual_seed(0))
    rows = 40
    resting = Observation(np.zeros((rows, 8), np.float32), (TASK.instruction,) * rows, state=np.zeros(
        (rows, 1, 11), np.float32))  # fmt: skip
    receding = RecedingPolicy(policy, 1, best_of=best_of, choose="past")
    state, closed = receding.initial_state(rows), torch.full((rows,), 30)
    generators = [torch.Generator().manual_seed(row) for row in range(rows)]
    with torch.no_grad():
        features = policy.encode(resting)
        for decision in range(30):
            candidates, state = receding.propose(features, state, 1, generators)
            closes = candidates.chunks[:, 0, 0, 6] > 0
            closed = torch.where(closes, closed.clamp(max=decision), closed)
    return float(closed.float().std())


def test_a_policy_without_memory_counts_its_rests_by_what_it_remembers():
    # Without, each decision closes with the same probability, so the rest is as long as chance will have it.
    assert longest_rest(best_of=16) < 0.6 * longest_rest(best_of=1)
