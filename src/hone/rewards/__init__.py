"""How well it went. A reward is a callable over finished trajectories; add one to `REWARDS` to choose it by name."""

from __future__ import annotations

from collections.abc import Callable

from hone.errors import unknown_name
from hone.rewards.base import RewardFn, Trajectory
from hone.rewards.outcome import SuccessReward

REWARDS: dict[str, Callable[[], RewardFn]] = {
    "success": SuccessReward,
}


def build_reward(name: str) -> RewardFn:
    """The reward called `name`; raises `HoneError` with the known names if there is none."""
    if name not in REWARDS:
        raise unknown_name("reward", name, REWARDS)
    return REWARDS[name]()


__all__ = ["REWARDS", "RewardFn", "SuccessReward", "Trajectory", "build_reward"]
