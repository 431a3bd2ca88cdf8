from dataclasses import dataclass

import numpy as np
import pytest

from hone.errors import HoneError
from hone.rewards import REWARDS, build_reward
from hone.types import Status


@dataclass(frozen=True)
class Finished:
    status: Status
    steps: int = 100

    @property
    def success(self) -> bool:
        return self.status == "success"


def test_success_is_worth_one_and_failure_nothing():
    rewards = build_reward("success")([Finished("success"), Finished("failure"), Finished("success", 3)])
    assert rewards.tolist() == [1, 0, 1]
    assert rewards.dtype == np.float32


def test_no_trajectory_no_reward():
    assert build_reward("success")([]).shape == (0,)


def test_a_fault_is_not_scored():
    with pytest.raises(ValueError, match=r"trajectories \[1\] ended in a fault"):
        build_reward("success")([Finished("success"), Finished("error")])


def test_unknown_reward_names_the_nearest():
    with pytest.raises(HoneError, match=r"unknown reward 'sucess'\. Did you mean 'success'"):
        build_reward("sucess")
    assert set(REWARDS) == {"success", "synthesized", "critic"}
