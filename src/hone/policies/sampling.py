"""How a learned policy's chunks are drawn and executed: what can be chosen when it is run, without training."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from hone.errors import HoneError
from hone.policies.heads.eqm import EqMHead
from hone.policies.learned import LearnedPolicy
from hone.policies.receding import Choice, RecedingPolicy


@dataclass(frozen=True)
class Sampling:
    """Settings that change how a policy acts; the default leaves it as it was saved."""

    execute: int | None = None
    """Actions executed of each chunk before the policy looks again; all of them if not given."""
    best_of: int = 1
    """Candidates drawn at each look, of which the best is executed; needs a sampled decoding."""
    choose: Choice = "agreement"
    """Which one is the best: `agreement`, the one nearest to all others; or `past`, the one that remembers best what
    was executed (self-verification of a policy cloned with a past_length)."""
    trust: float | None = None
    """Warm start: how far the next decoding trusts the rest of the last chunk, in (0, 1]; for the heads flow, eqm and
    score."""
    residual: float | None = None
    """Where the descent of the head eqm stops, in place of what it was built with; 0: never."""
    exploration: float | None = None
    """Scale of the sampling noise, in place of the one it was saved with."""

    @property
    def label(self) -> str:
        """What was chosen, in words for the protocol card; empty for the default."""
        chosen = ((f.name, getattr(self, f.name)) for f in fields(self))
        return ", ".join(f"{name} {value}" for name, value in chosen if value != getattr(AS_SAVED, name))

    def apply(self, policy: LearnedPolicy) -> LearnedPolicy | RecedingPolicy:
        """The policy with these settings (its head's are changed in place), as it is to be run."""
        head = policy.head
        if self.exploration is not None:
            policy.exploration = self.exploration
        if self.residual is not None:
            if not isinstance(head, EqMHead):
                raise HoneError(f"a {type(head).__name__} has no residual to stop at; use it with the head eqm.")
            head.config = replace(head.config, residual=self.residual)
        if self.execute is None and self.best_of == 1 and self.trust is None:
            return policy
        execute = policy.chunk_length if self.execute is None else self.execute
        return RecedingPolicy(policy, execute, self.trust, best_of=self.best_of, choose=self.choose)


AS_SAVED = Sampling()
