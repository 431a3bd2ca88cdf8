"""What can be learned beside a head's own cloning loss: one idea per file, each with a weight."""

from __future__ import annotations

from dataclasses import dataclass, field

from hone.training.objectives.batch import CloningBatch
from hone.training.objectives.mee import MinimumErrorEntropy
from hone.training.objectives.pmi import PointwiseMutualInformation


@dataclass(frozen=True)
class Terms:
    """The terms there are, by name. One whose weight is 0 (all of them, by default) is left out."""

    mee: MinimumErrorEntropy = field(default_factory=MinimumErrorEntropy)
    """Minimum error entropy: robust against bad labels."""
    pmi: PointwiseMutualInformation = field(default_factory=PointwiseMutualInformation)
    """Pointwise mutual information: against ignoring the instruction."""

    @property
    def chosen(self) -> tuple[MinimumErrorEntropy | PointwiseMutualInformation, ...]:
        """Those that count."""
        return tuple(term for term in (self.mee, self.pmi) if term.weight)


__all__ = ["CloningBatch", "MinimumErrorEntropy", "PointwiseMutualInformation", "Terms"]
