"""Which decisions answer for an episode's reward: from finished episodes to a batch to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hone.policies.base import Candidate
from hone.policies.learned import LearnedPolicy
from hone.rewards import AdaptiveReward, ProgressReward, Verdict
from hone.training.advantages import (
    GroupStats,
    group_relative_advantages,
    spread_over_decisions,
    stage_relative_advantages,
)
from hone.training.decisions import DecisionBatch
from hone.training.rollout import Trajectory, join_inputs
from hone.types import Observation

CreditKind = Literal["milestones", "episode"]
SOFTENING = 0.1
"""Added to the spread of partial rewards, so that trifles do not tell apart who came equally far."""


@dataclass(frozen=True)
class Judged:
    """What `N` episodes were worth, and whether the reward takes each for a success. `partial`: rewards are a matter of
    degree. `verdicts` tell how it came to that, where a reward has more to say than a number."""

    rewards: Float[Tensor, " N"]
    succeeded: tuple[bool, ...]
    verdicts: tuple[Verdict, ...] = ()
    partial: bool = False


def judged(reward: Any, trajectories: Sequence[Trajectory]) -> Judged:
    """Neither a synthesized reward nor a critic is asked about the simulator's success; with the plain reward, success
    is the reward."""
    if isinstance(reward, AdaptiveReward):
        verdicts = tuple(reward.judge_all(trajectories))
        return Judged(torch.tensor([v.reward for v in verdicts]), tuple(v.succeeded for v in verdicts), verdicts, True)
    if isinstance(reward, ProgressReward):
        worth, claimed = zip(*reward.judge_all(trajectories), strict=True)
        return Judged(torch.tensor(worth), claimed, partial=True)
    return Judged(torch.from_numpy(reward(trajectories)), tuple(t.success for t in trajectories))


@torch.no_grad()
def encoded(policy: LearnedPolicy, trajectory: Trajectory) -> Trajectory:
    """With features in place of observations: pictures that only the reward had to see need not be encoded again."""
    assert isinstance(trajectory.inputs, Observation)
    return replace(trajectory, inputs=policy.encode(trajectory.inputs))


def decision_batch(
    trajectories: Sequence[Trajectory], judged: Judged, credit: CreditKind
) -> tuple[DecisionBatch, GroupStats]:
    """Every decision of every episode with its advantage.

    `episode`: each decision gets its episode's advantage. `milestones`: each gets the advantage of what was collected
    after it, over decisions of its group that had reached as many milestones; only where there are verdicts. Groups
    whose episodes were all worth the same are left out in both.
    """
    groups = torch.tensor([t.request.group for t in trajectories])
    counts = torch.tensor([t.decisions for t in trajectories])
    episodes = torch.repeat_interleave(torch.arange(len(trajectories)), counts)
    softening = SOFTENING if judged.partial else 1e-6
    advantages, alive, stats = group_relative_advantages(judged.rewards, groups, eps=softening)
    per_decision, weights = spread_over_decisions(advantages, alive, episodes)
    if judged.verdicts and credit == "milestones":
        looks = list(zip(judged.verdicts, counts.tolist(), strict=True))
        to_go = np.concatenate([v.collected[-1] - v.collected[:count] for v, count in looks])
        stages = np.concatenate([v.scored.stages[:count] for v, count in looks])
        per_decision = stage_relative_advantages(
            torch.from_numpy(to_go).float(), groups[episodes], torch.from_numpy(stages), eps=SOFTENING
        )
    batch = DecisionBatch(
        inputs=join_inputs([t.inputs for t in trajectories if t.inputs is not None]),
        candidate=Candidate.cat([t.candidate for t in trajectories if t.candidate is not None]),
        old_log_prob=torch.cat([t.log_prob for t in trajectories if t.log_prob is not None]),
        advantages=per_decision,
        weights=weights,
    )
    return batch, stats
