import numpy as np
import pytest
import torch

from hone.errors import HoneError
from hone.policies import SmallPolicyConfig
from hone.policies.base import Features
from hone.policies.heads import EqMHeadConfig, HeadConfig, LaplaceHeadConfig
from hone.policies.heads.chain import ChainHead
from hone.policies.heads.field import Field
from hone.policies.learned import LearnedPolicy
from hone.policies.receding import RecedingPolicy
from hone.policies.sampling import AS_SAVED, Sampling
from hone.types import Observation

H = 4
EQM = EqMHeadConfig(hidden_sizes=(8,), residual=0.0, steps=12, predicts="gradient", decay_start=0.8, step_size=0.05)


class Bowl(Field):
    """A gradient towards zero."""

    def condition(self, features: Features) -> Features:
        return features

    def forward(self, x, time, given):
        return 10 * x


def make_policy(head: HeadConfig) -> tuple[LearnedPolicy, Features]:
    policy = SmallPolicyConfig(inputs="state", chunk_length=H, head=head).build()
    rng = np.random.default_rng(0)
    seen = Observation(
        rng.normal(size=(3, 8)).astype(np.float32), ("go",) * 3, state=rng.normal(size=(3, 2, 11)).astype(np.float32)
    )
    policy.fit_normalization(seen)
    return policy, policy.encode(seen)


def test_as_saved_is_the_policy_itself():
    policy, _ = make_policy(EQM)
    assert AS_SAVED.apply(policy) is policy
    assert AS_SAVED.label == ""
    assert Sampling(execute=2, best_of=8).label == "execute 2, best_of 8"


def test_each_setting_arrives():
    policy, features = make_policy(EQM)
    head = policy.head
    assert isinstance(head, ChainHead)
    head.field = Bowl()
    whole, _ = policy.propose(features, None, 1, None)
    assert head.evaluations(whole.samples).flatten().tolist() == [12] * 3
    runs = Sampling(residual=0.5, exploration=0.25, execute=2, trust=0.5, best_of=3).apply(policy)
    assert isinstance(runs, RecedingPolicy)
    assert policy.exploration == 0.25
    assert (runs.chunk_length, runs.trust, runs.best_of) == (2, 0.5, 3)
    stopped, state = runs.propose(features, runs.initial_state(3), 1, None)
    assert stopped.chunks.shape == (3, 1, 2, 7)
    assert (head.evaluations(stopped.samples) < 12).all()
    torch.testing.assert_close(runs.log_prob(features, stopped.select(torch.zeros(3, dtype=torch.long))).mask,
                               torch.zeros(3, 12, dtype=torch.bool))  # fmt: skip
    assert state is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Sampling(residual=0.1), "LaplaceHead has no residual to stop at"),
        (Sampling(trust=0.5), "LaplaceHead does not refine a chunk"),
        (Sampling(best_of=4, choose="past"), "predicts no past actions"),
        (Sampling(exploration=-1.0), "exploration is -1.0"),
    ],
)
def test_what_a_policy_cannot_do_is_said(settings: Sampling, message: str):
    policy, _ = make_policy(LaplaceHeadConfig(hidden_sizes=(8,)))
    with pytest.raises(HoneError, match=message):
        settings.apply(policy)
