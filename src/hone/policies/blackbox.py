"""Any function from observation to chunk, as a policy: it can be evaluated and compared, not trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float32
from numpy import ndarray

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb, NoLikelihoodError, PolicyState
from hone.specs import Spec
from hone.types import Observation


class BlackBoxPolicy:
    """Wraps `act(observation) -> chunk [B, H, A]` (a remote server, a script, somebody else's model).

    `act` is called once per look, in `encode`; its chunk is the whole of the features, so all `K` candidates are
    that chunk and generators are not used.
    """

    def __init__(
        self, act: Callable[[Observation], Float32[ndarray, "B H A"]], chunk_length: int, spec: Spec | None = None
    ) -> None:
        self.act = act
        self.chunk_length = chunk_length
        self.spec = spec or Spec()

    def encode(self, observation: Observation) -> Features:
        chunk = torch.as_tensor(self.act(observation), dtype=torch.float32)
        expected = (len(observation), self.chunk_length, self.spec.action_dim)
        if chunk.shape != expected:
            raise HoneError(f"the wrapped policy returned a chunk of shape {tuple(chunk.shape)}, expected {expected}.")
        if not torch.isfinite(chunk).all():
            raise HoneError("the wrapped policy returned an action that is not a finite number.")
        no_tokens = torch.zeros(len(chunk), 0, 1)
        return Features(no_tokens, torch.ones(len(chunk), 0, dtype=torch.bool), chunk.flatten(1))

    def propose(
        self, features: Features, state: PolicyState, k: int, generators: Sequence[torch.Generator] | None
    ) -> tuple[Candidates, PolicyState]:
        samples = features.pooled.unflatten(1, (1, self.chunk_length, self.spec.action_dim)).repeat(1, k, 1, 1)
        return Candidates(samples.clamp(self.spec.action_low, self.spec.action_high), samples), state

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        raise NoLikelihoodError(
            "a black-box policy cannot score actions, so it can be evaluated but not improved with GRPO; "
            "clone it into a policy with a likelihood first."
        )

    def initial_state(self, num_rows: int) -> PolicyState:
        return None
