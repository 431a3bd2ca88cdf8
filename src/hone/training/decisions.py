"""What a policy-gradient update learns from: the decisions of one collection, and where methods may change them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from hone.policies.base import Candidate, Features, LogProb
from hone.types import Observation


@dataclass(frozen=True)
class DecisionBatch:
    """`D` decisions (one per look at the scene and chunk drawn), from all episodes of one collection.

    `inputs` are the stored `Features` where the encoder is frozen (nothing is encoded twice, no image is kept), or the
    `Observation` to encode again where it is trained. `old_log_prob` is the total the policy gave while acting.
    `advantages` are the episode's; `weights >= 0` need not sum to one; a decision of weight 0 is not trained on, but
    still counts when the KL is measured.
    """

    inputs: Features | Observation
    candidate: Candidate
    old_log_prob: Float[Tensor, " D"]
    advantages: Float[Tensor, " D"]
    weights: Float[Tensor, " D"]

    def __post_init__(self) -> None:
        assert len(self.inputs) == len(self.candidate.chunk) == len(self), (
            "inputs, candidates and log-probs differ in length"
        )
        for name in ("old_log_prob", "advantages", "weights"):
            assert bool(getattr(self, name).isfinite().all()), f"{name} has values that are not finite"

    def __len__(self) -> int:
        return len(self.old_log_prob)

    def rows(self, index: Int[Tensor, " n"]) -> DecisionBatch:
        """The decisions at `index`, in that order."""
        inputs = self.inputs
        return DecisionBatch(
            inputs=inputs[index] if isinstance(inputs, Features) else inputs.rows(index.numpy()),
            candidate=self.candidate[index],
            old_log_prob=self.old_log_prob[index],
            advantages=self.advantages[index],
            weights=self.weights[index],
        )


@dataclass(frozen=True)
class LearningHooks:
    """The three places where a method may change what is learned from a batch. Each list is applied in order.

    `batch`: returns another batch (relabelled, filtered, joined with replayed decisions).
    `advantage`: returns `[D]` to add to the advantages (an exploration bonus, a learned progress term).
    `loss`: given a micro-batch, its features and its log-probs, returns `[D]` to add to each decision's loss; it is
    weighted like the surrogate, so it too does not depend on the micro-batch split.
    """

    batch: tuple[Callable[[DecisionBatch], DecisionBatch], ...] = ()
    advantage: tuple[Callable[[DecisionBatch], Tensor], ...] = ()
    loss: tuple[Callable[[DecisionBatch, Features, LogProb], Tensor], ...] = ()
