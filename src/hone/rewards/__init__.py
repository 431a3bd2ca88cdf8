"""How well it went. A reward is a callable over finished trajectories; add one to `REWARDS` to choose it by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hone.errors import unknown_name
from hone.rewards.base import RewardFn, Trajectory, WitnessedTrajectory
from hone.rewards.outcome import SuccessReward
from hone.rewards.synthesis import AdaptiveReward, SynthesisConfig, SynthesizedReward, Verdict

REWARDS: dict[str, Callable[[SynthesisConfig], RewardFn[Any]]] = {
    "success": lambda config: SuccessReward(),
    "synthesized": SynthesizedReward,
}
"""`synthesized` reads the facts of every look (`WitnessedTrajectory`) and never the success flag."""


def build_reward(name: str, synthesis: SynthesisConfig | None = None) -> RewardFn[Any]:
    """The reward called `name`; raises `HoneError` with the known names if there is none."""
    if name not in REWARDS:
        raise unknown_name("reward", name, REWARDS)
    return REWARDS[name](synthesis or SynthesisConfig())


__all__ = [
    "REWARDS",
    "AdaptiveReward",
    "RewardFn",
    "SuccessReward",
    "SynthesisConfig",
    "SynthesizedReward",
    "Trajectory",
    "Verdict",
    "WitnessedTrajectory",
    "build_reward",
]
