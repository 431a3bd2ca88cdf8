"""Self-verification: of several candidates, the one that remembers what was really done."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Features
from hone.policies.steering import Score


def remembers(executed: Float[Tensor, "B P A"], known: Bool[Tensor, "B P"]) -> Score:
    """A score for `best_first`: minus the mean squared difference between the first `P` actions of a candidate, which
    are those it takes to have happened, and those that were `executed`.

    `k* = argmin_k |past_k - executed|^2` (past-token prediction, Torne et al. 2025, arXiv:2505.09561; known to us by
    its abstract and the settings of the authors' code). Where a step is not `known`, an episode having just begun,
    it does not count; where none is, all candidates score the same and stay in their order.
    """

    def score(chunks: Tensor, features: Features) -> Tensor:
        if executed.shape[0] != len(chunks) or executed.shape[1] >= chunks.shape[2]:
            raise HoneError(
                f"executed actions {list(executed.shape)} do not fit candidates {list(chunks.shape)}; give one row per "
                "observation, and fewer steps than a candidate has."
            )
        past = chunks[:, :, : executed.shape[1]]
        error = (past - executed[:, None].to(past)).square().mean(-1)
        weights = known[:, None].to(error)
        return -(error * weights).sum(-1) / weights.sum(-1).clamp(min=1)

    return score
