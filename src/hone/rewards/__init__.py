"""How well it went. A reward is a callable over finished trajectories; add one to `REWARDS` to choose it by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hone.errors import unknown_name
from hone.rewards.base import RewardFn, Trajectory, WitnessedTrajectory
from hone.rewards.outcome import SuccessReward
from hone.rewards.progress import CriticRewardConfig, ProgressReward
from hone.rewards.synthesis import AdaptiveReward, SynthesisConfig, SynthesizedReward, Verdict

REWARDS: dict[str, Callable[[SynthesisConfig, CriticRewardConfig], RewardFn[Any]]] = {
    "success": lambda synthesis, critic: SuccessReward(),
    "synthesized": lambda synthesis, critic: SynthesizedReward(synthesis),
    "critic": lambda synthesis, critic: ProgressReward.load(critic),
}
"""`synthesized` reads the facts of every look (`WitnessedTrajectory`), `critic` its pictures (`SeenTrajectory`), and
neither the success flag."""


def build_reward(
    name: str, synthesis: SynthesisConfig | None = None, critic: CriticRewardConfig | None = None
) -> RewardFn[Any]:
    """The reward called `name`; raises `HoneError` with the known names if there is none."""
    if name not in REWARDS:
        raise unknown_name("reward", name, REWARDS)
    return REWARDS[name](synthesis or SynthesisConfig(), critic or CriticRewardConfig())


__all__ = [
    "REWARDS",
    "AdaptiveReward",
    "CriticRewardConfig",
    "ProgressReward",
    "RewardFn",
    "SuccessReward",
    "SynthesisConfig",
    "SynthesizedReward",
    "Trajectory",
    "Verdict",
    "WitnessedTrajectory",
    "build_reward",
]
