"""The policy-gradient mathematics: clipped surrogate and estimates of the KL divergence. Pure functions of log-probs.

Everything is a weighted *sum*. The caller divides the weights once by the total of the whole batch, so that the
gradient does not depend on how the batch is split into micro-batches. (Dividing by the valid count of each micro-batch,
as is common, weighs a decision by the company it happens to keep.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""exp(20) = 5e8. Beyond it `exp` nears overflow, and 0 * inf in the backward pass would turn the gradient to NaN."""


@dataclass(frozen=True)
class SurrogateLoss:
    """`loss` to descend; `clip_fraction` is the weight of the decisions whose gradient the clip has set to zero."""

    loss: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]


def clipped_surrogate(
    log_prob: Float[Tensor, " D"],
    old_log_prob: Float[Tensor, " D"],
    advantages: Float[Tensor, " D"],
    weights: Float[Tensor, " D"],
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> SurrogateLoss:
    """PPO's clipped surrogate (arXiv:1707.06347) with an asymmetric range ("clip-higher", DAPO, arXiv:2503.14476).

        rho_d = exp(log pi(a_d|s_d) - log pi_old(a_d|s_d))
        loss  = - sum_d w_d min(rho_d A_d, clip(rho_d, 1 - clip_low, 1 + clip_high) A_d)

    One ratio per decision: the joint density of the whole chunk, exact where the head's log-prob is. A wider upper
    range lets unlikely but good chunks grow. The minimum never clips a ratio that has moved the *wrong* way; where
    A < 0 the term is then unbounded in rho, and `dual_clip = c > 1` bounds it by c A (arXiv:1912.09729). At rho = 1 the
    gradient is REINFORCE's: - sum_d w_d A_d grad log pi.
    """
    ratio = torch.exp((log_prob - old_log_prob).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO))
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    objective = torch.minimum(ratio * advantages, clipped * advantages)
    stopped = ((advantages > 0) & (ratio > 1.0 + clip_high)) | ((advantages < 0) & (ratio < 1.0 - clip_low))
    if dual_clip is not None:
        negative = advantages < 0
        objective = torch.where(negative, torch.maximum(objective, dual_clip * advantages), objective)
        stopped = stopped | (negative & (ratio > dual_clip))
    return SurrogateLoss(loss=-(weights * objective).sum(), clip_fraction=(weights * stopped).sum().detach())


def kl_k1(log_prob: Float[Tensor, " D"], old_log_prob: Float[Tensor, " D"]) -> Float[Tensor, " D"]:
    """Per-sample estimate of KL(pi_old || pi) from samples of pi_old: `-log rho`. Unbiased, noisy, can be negative.

    http://joschu.net/blog/kl-approx.html names the estimators.
    """
    return old_log_prob - log_prob


def kl_k3(log_prob: Float[Tensor, " D"], old_log_prob: Float[Tensor, " D"]) -> Float[Tensor, " D"]:
    """Per-sample estimate of KL(pi_old || pi) from samples of pi_old: `rho - 1 - log rho`. Unbiased, never negative."""
    log_ratio = log_prob - old_log_prob
    return torch.exp(log_ratio.clamp(max=MAX_LOG_RATIO)) - 1.0 - log_ratio
