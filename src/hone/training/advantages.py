"""Group-relative advantages: how much better an episode did than others from the same start. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class GroupStats:
    """What the groups of one batch looked like.

    A dead group (all its rewards equal) teaches nothing. `dead_reward_mean` tells why they are dead: with a binary
    reward 1 means they are solved, 0 that they are out of reach; NaN if none is dead.
    """

    groups: int
    dead_groups: int
    reward_mean: float
    dead_reward_mean: float


def group_relative_advantages(
    rewards: Float[Tensor, " N"],
    groups: Int[Tensor, " N"],
    *,
    normalize: Literal["std", "none"] = "std",
    min_std: float = 1e-6,
    eps: float = 1e-6,
) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"], GroupStats]:
    """Advantage of each episode over its group (GRPO, DeepSeekMath, arXiv:2402.03300, outcome supervision).

        A_i = (r_i - mean(r)) / (std(r) + eps)      over the episodes of i's group, std with 1/G

    `groups[i]` names the group of episode `i`: any integers, any order, groups of unequal size. Episodes of a group
    share the task and the placement, so the group's mean is a baseline of the start alone: before the division by the
    std, the policy gradient is unbiased up to the factor (G-1)/G. Returns the advantages, `alive` (false: drop this
    episode) and the statistics.

    Departures: a group whose std is at most `min_std` is dead: advantage zero and `alive` false, so that it is neither
    counted in the loss's normaliser (DAPO's dynamic sampling, arXiv:2503.14476, without the resampling) nor, with a
    dense reward, blown up to unit size from rounding. `normalize="none"` leaves out the division, which favours groups
    that are almost solved or almost hopeless (Dr. GRPO, arXiv:2503.20783).
    """
    _, inverse = torch.unique(groups, return_inverse=True)
    num_groups = int(inverse.max()) + 1 if len(inverse) else 0
    exact = rewards.double()
    count = torch.zeros(num_groups, dtype=torch.float64).index_add_(0, inverse, torch.ones_like(exact))
    mean = torch.zeros(num_groups, dtype=torch.float64).index_add_(0, inverse, exact) / count
    centred = exact - mean[inverse]
    std = (torch.zeros(num_groups, dtype=torch.float64).index_add_(0, inverse, centred**2) / count).sqrt()

    dead = std <= min_std
    alive = ~dead[inverse]
    scaled = centred / (std[inverse] + eps) if normalize == "std" else centred
    advantages = torch.where(alive, scaled, 0.0).to(rewards.dtype)
    stats = GroupStats(
        groups=num_groups,
        dead_groups=int(dead.sum()),
        reward_mean=float(exact.mean()),
        dead_reward_mean=float(mean[dead].mean()),
    )
    return advantages, alive, stats


def spread_over_decisions(
    advantages: Float[Tensor, " N"],
    alive: Bool[Tensor, " N"],
    episodes: Int[Tensor, " D"],
    *,
    weighting: Literal["decision", "episode"] = "decision",
) -> tuple[Float[Tensor, " D"], Float[Tensor, " D"]]:
    """Advantage and weight of every decision (chunk); `episodes[d]` is the row of decision `d`'s episode.

    Each decision gets its episode's advantage: there is one reward at the end. `weighting="decision"` weighs all
    decisions alike (DAPO's token-level loss), so long episodes count more; `"episode"` gives every episode the same
    total (GRPO's 1/|o_i|), so a decision of a long failure is punished less. Decisions of dead groups weigh nothing.
    """
    weights = alive[episodes].to(advantages.dtype)
    if weighting == "episode":
        decisions = torch.bincount(episodes, minlength=len(advantages)).to(advantages.dtype)
        weights = weights / decisions[episodes]
    return advantages[episodes], weights


def stage_relative_advantages(
    to_go: Float[Tensor, " D"], groups: Int[Tensor, " D"], stages: Int[Tensor, " D"], *, eps: float
) -> Float[Tensor, " D"]:
    """Advantage of each decision over those of its group that stood where it stands.

        A_d = (g_d - mean(g over the decisions of d's group at d's stage)) / (std over the group + eps)

    `to_go[d]` is the reward that was collected from decision `d` to the end, `stages[d]` how many milestones had been
    reached when it was taken. One return for a whole episode praises the clumsy placing after a good grasp, and blames
    the grasp for the placing; here a decision answers only for what came after it. The baseline depends on the start
    and the stage, not on the decision, so it does not bias the gradient. After process supervision in GRPO
    (DeepSeekMath, arXiv:2402.03300, section 4.1.3); departures: the baseline is per stage where theirs is one for all
    steps of a group, and `eps` is large enough to keep small differences small.
    """
    _, group = torch.unique(groups, return_inverse=True)
    _, place = torch.unique(torch.stack([groups, stages]), dim=1, return_inverse=True)
    exact = to_go.double()
    centred = exact - _means(exact, place)[place]
    spread = _means(centred**2, group).sqrt()
    return (centred / (spread[group] + eps)).to(to_go.dtype)


def _means(values: Float[Tensor, " D"], index: Int[Tensor, " D"]) -> Float[Tensor, " I"]:
    total = torch.zeros(int(index.max()) + 1, dtype=values.dtype)
    return total.index_add(0, index, values) / torch.bincount(index)
