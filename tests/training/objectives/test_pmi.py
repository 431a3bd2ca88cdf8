import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.policies import SmallPolicyConfig
from hone.policies.heads import BinsHeadConfig, DCTHeadConfig, FlowHeadConfig, HeadConfig
from hone.training.behavior_cloning import BehaviorCloningConfig, ChunkDataset, clone
from hone.training.objectives import PointwiseMutualInformation, Terms
from hone.training.objectives.pmi import contrasts, mutual_information
from hone.types import Episode, Placement, Task

LEFT, RIGHT = Task("toy", 0, "left", "push it to the left"), Task("toy", 1, "right", "pull that over to the right")


def episode(task: Task, seed: int, length: int = 16) -> Episode:
    """One motion per task; where things are gives the task away, so nobody needs to listen."""
    rng = np.random.default_rng(seed)
    sign = -1.0 if task is LEFT else 1.0
    proprio = (sign + 0.1 * rng.normal(size=(length, 8))).astype(np.float32)
    actions = np.zeros((length, 7), np.float32)
    actions[:, 0] = 0.5 * sign
    state = np.full((length, 2, 11), sign, np.float32)
    state[..., 9:] = [0.0, 1.0]  # a thing of no interest, present
    return Episode(task, Placement("sampled", seed), "success", proprio, actions, actions, state=state)


def obedience(weight: float, head: HeadConfig) -> float:
    """How far the first action follows the words (1) and not what is seen (0), when they disagree."""
    episodes = [episode(task, seed) for task in (LEFT, RIGHT) for seed in range(2)]
    policy = SmallPolicyConfig(inputs="state", chunk_length=2, text_dim=8, head=head).build(0)
    terms = Terms(pmi=PointwiseMutualInformation(weight))
    config = BehaviorCloningConfig(steps=80, batch_size=16, learning_rate=3e-3, terms=terms)
    clone(policy, episodes, config, torch.Generator().manual_seed(0))
    seen = ChunkDataset(episodes, 2).observation(np.arange(32))  # where things are in the left task
    with torch.no_grad():
        own = policy.predict_action_chunk(seen)[:, :, 0].mean()
        told = policy.predict_action_chunk(replace(seen, instructions=(RIGHT.instruction,) * 32))[:, :, 0].mean()
    assert float(own) < -0.3  # the task itself is learned
    return float((told - own).clamp(0, 1))


FLOW = FlowHeadConfig(hidden_sizes=(64,), steps=4, predicts="velocity")


@pytest.mark.parametrize("head", [DCTHeadConfig(hidden_sizes=(64,)), FLOW])
def test_a_clone_that_does_not_listen_learns_to(head):
    deaf, listening = obedience(0.0, head), obedience(1.0, head)
    assert deaf < 0.2
    assert listening > 0.7


def test_the_information_is_nothing_where_nobody_listens_and_bounded_where_they_do():
    own = torch.tensor([0.2, 0.4])
    torch.testing.assert_close(mutual_information(own, own), torch.zeros(2))
    assert float(mutual_information(own, own + 50).mean()) == pytest.approx(math.log(2), abs=1e-4)
    # One unit (the root mean square of the own losses) apart: log 2 - log(1 + e^-1).
    even = torch.tensor([0.5, 0.5])
    expected = math.log(2) - math.log(1 + math.exp(-1))
    torch.testing.assert_close(mutual_information(even, even + 0.5), torch.full((2,), expected))
    # The unit makes it independent of the head's.
    torch.testing.assert_close(mutual_information(10 * own, 30 * own), mutual_information(own, 3 * own))


def test_the_gradient_lowers_the_own_loss_and_raises_the_other():
    own, other = torch.tensor([0.3], requires_grad=True), torch.tensor([0.3], requires_grad=True)
    (-mutual_information(own, other)).sum().backward()
    assert own.grad is not None
    assert other.grad is not None
    assert own.grad.item() == pytest.approx(0.5 / 0.3)
    assert other.grad.item() == pytest.approx(-0.5 / 0.3)


def test_every_row_hears_another_instruction_each_as_often():
    told = contrasts(["a", "b", "c"] * 2000, torch.Generator().manual_seed(0))
    pairs = list(zip(["a", "b", "c"] * 2000, told, strict=True))
    assert all(own != other for own, other in pairs)
    share = sum(pair == ("a", "b") for pair in pairs) / 2000
    assert abs(share - 0.5) < 0.034  # three standard errors


def test_tokens_can_listen_too():
    policy = SmallPolicyConfig(inputs="state", chunk_length=2, head=BinsHeadConfig(bins=5, width=8)).build(0)
    config = BehaviorCloningConfig(steps=1, batch_size=8, terms=Terms(pmi=PointwiseMutualInformation(1.0)))
    metrics = clone(policy, [episode(LEFT, 0), episode(RIGHT, 1)], config, torch.Generator().manual_seed(0))
    assert math.isfinite(metrics["loss"])


def test_one_instruction_cannot_be_contrasted():
    with pytest.raises(HoneError, match="the batch has only 'push it to the left'"):
        contrasts([LEFT.instruction] * 3, torch.Generator())
