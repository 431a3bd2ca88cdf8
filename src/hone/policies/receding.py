"""Executing only the start of each chunk, and starting the next decoding from the rest of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb, PolicyState
from hone.policies.heads.base import SamplingHooks
from hone.policies.heads.chain import ChainHead
from hone.policies.learned import LearnedPolicy
from hone.policies.steering import start_from
from hone.types import Observation


@dataclass(frozen=True)
class Memory:
    """What a row carries from one decision to the next: the chunk it began, and what each decision has cost."""

    chunk: Float[Tensor, "H A"] | None = None
    evaluations: tuple[int, ...] = ()

    def report(self) -> dict[str, Any]:
        """For the episode's result: decisions, and evaluations of the decoder's network in all and for each."""
        return {
            "decisions": len(self.evaluations),
            "decoder_evaluations": sum(self.evaluations),
            "evaluations": list(self.evaluations),
        }


class RecedingPolicy:
    """A policy that executes the first `execute` actions of each chunk and then looks again.

    With `trust` in (0, 1] the next decoding starts from the chunk's remaining actions (the last one held to fill it
    up), mixed with noise by the head's `warm`: 1 trusts them fully. `None` always starts cold. A row's first decision
    is cold.

    The first candidate is taken for the one that is executed; an `after` hook can put the best first (`best_first`).
    """

    def __init__(
        self, policy: LearnedPolicy, execute: int, trust: float | None = None, hooks: SamplingHooks | None = None
    ) -> None:
        if not 1 <= execute <= policy.chunk_length:
            raise HoneError(f"execute is {execute}, but the policy's chunks have {policy.chunk_length} actions.")
        if trust is not None and not 0 < trust <= 1:
            raise HoneError(f"trust is {trust}; it must be in (0, 1], or None to start cold.")
        if trust is not None and not isinstance(policy.head, ChainHead):
            raise HoneError(
                f"a {type(policy.head).__name__} does not refine a chunk step by step, so it has nothing to start "
                "warm; use the head flow, eqm or score."
            )
        self.policy = policy
        self.head = policy.head
        self.spec = policy.spec
        self.chunk_length = execute
        self.trust = trust
        self.hooks = hooks or SamplingHooks()

    def encode(self, observation: Observation) -> Features:
        return self.policy.encode(observation)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        return self.policy.log_prob(features, candidate)

    def initial_state(self, num_rows: int) -> PolicyState:
        return [Memory() for _ in range(num_rows)]

    def propose(
        self, features: Features, state: PolicyState, k: int, generators: Sequence[torch.Generator] | None
    ) -> tuple[Candidates, PolicyState]:
        memories: list[Memory] = state or [Memory() for _ in range(len(features))]
        warm = [row for row, memory in enumerate(memories) if memory.chunk is not None and self.trust is not None]
        cold = [row for row in range(len(features)) if row not in warm]
        parts = []
        for rows in (cold, warm):
            if rows:
                tails = self._tails([memories[row] for row in rows]) if rows is warm else None
                own = None if generators is None else [generators[row] for row in rows]
                parts.append(self.head.sample(features[torch.tensor(rows)], k, own, self._hooks(tails)))
        back = torch.tensor([*cold, *warm]).argsort()
        chunks = torch.cat([part.chunks for part in parts])[back]
        samples = torch.cat([part.samples for part in parts])[back]
        spent = self.head.evaluations(samples).sum(-1).tolist()
        following = [
            Memory(chunk, (*memory.evaluations, cost))
            for chunk, memory, cost in zip(chunks[:, 0].detach(), memories, spent, strict=True)
        ]
        return Candidates(chunks[:, :, : self.chunk_length], samples), following

    def _tails(self, memories: Sequence[Memory]) -> Float[Tensor, "B H A"]:
        """What each remembered chunk had left, its last action held."""
        chunks = torch.stack([memory.chunk for memory in memories if memory.chunk is not None])
        last = chunks.shape[1] - 1
        return chunks[:, (torch.arange(last + 1) + self.chunk_length).clamp(max=last)]

    def _hooks(self, tails: Float[Tensor, "B H A"] | None) -> SamplingHooks:
        if tails is None or self.trust is None:
            return self.hooks
        theirs, start = self.hooks.before, start_from(self.head, tails, self.trust)

        def before(noise: Tensor, features: Features) -> Tensor:
            return start(theirs(noise, features) if theirs else noise, features)

        return replace(self.hooks, before=before)
