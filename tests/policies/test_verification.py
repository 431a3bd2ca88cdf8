import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.policies import SmallPolicyConfig
from hone.policies.base import Candidates, Features
from hone.policies.heads import BinsHeadConfig
from hone.policies.receding import Memory, RecedingPolicy
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


ARRIVE, REST, CLOSE = np.eye(7, dtype=np.float32)[[0, 1, 6]]
"""Actions: on the way, standing still (told apart from the others by a number of its own), closing the hand."""
ARRIVING, RESTS = 4, 2


def rest_then_close(seed: int) -> Episode:
    """Nothing changes while the hand rests; how long it has rested can only be remembered."""
    actions = np.stack([ARRIVE] * ARRIVING + [REST] * RESTS + [CLOSE] * 3)
    proprio = np.zeros((len(actions), 8), np.float32)
    proprio[:ARRIVING, 0] = np.linspace(-1.0, -0.2, ARRIVING)
    proprio[-2:, 6] = [0.5, 1.0]  # the fingers move after they were told to
    proprio += 0.001 * np.random.default_rng(seed).normal(size=proprio.shape).astype(np.float32)
    state = np.zeros((len(actions), 1, 11), np.float32)
    return Episode(TASK, Placement("sampled", seed), "success", proprio, actions, actions, state=state)


def rests_taken(best_of: int) -> torch.Tensor:
    """How many of 8 decisions (one action each) pass until the policy closes, in 20 rows that have just arrived and
    see the hand at rest all the time."""
    rows, decisions = 20, 8
    head = BinsHeadConfig(bins=3, width=32)
    policy = SmallPolicyConfig(inputs="state", chunk_length=1, past_length=3, head=head).build(0)
    cloning = BehaviorCloningConfig(steps=200, batch_size=32, learning_rate=1e-2)
    clone(policy, [rest_then_close(seed) for seed in range(4)], cloning, torch.Generator().manual_seed(0))
    state = np.zeros((rows, 1, 11), np.float32)
    resting = Observation(np.zeros((rows, 8), np.float32), (TASK.instruction,) * rows, state=state)
    receding = RecedingPolicy(policy, 1, best_of=best_of, choose="past")
    arrived = Memory(executed=(torch.from_numpy(ARRIVE),) * 3)
    memories, closed = [arrived] * rows, torch.full((rows,), decisions)
    generators = [torch.Generator().manual_seed(row) for row in range(rows)]
    with torch.no_grad():
        features = policy.encode(resting)
        for decision in range(decisions):
            candidates, memories = receding.propose(features, memories, 1, generators)
            closes = candidates.chunks[:, 0, 0, 6] > 0.5
            closed = torch.where(closes, closed.clamp(max=decision), closed)
    return closed.float()


def test_a_policy_without_memory_counts_its_rests_by_what_it_remembers():
    # Without, it closes at a third of its decisions, whatever it did before: often too early, sometimes never.
    alone, verified = rests_taken(best_of=1), rests_taken(best_of=16)
    assert (alone < RESTS).sum() >= 6
    assert (verified < RESTS).sum() <= 1
    assert (verified - RESTS).abs().mean() < 0.6 * (alone - RESTS).abs().mean()
