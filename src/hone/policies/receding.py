"""Executing only the start of the best of several chunks, and starting the next decoding from the rest of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hone.errors import HoneError
from hone.policies.base import Candidate, Candidates, Features, LogProb, PolicyState
from hone.policies.heads.base import SamplingHooks
from hone.policies.learned import LearnedPolicy
from hone.policies.steering import agreement, best_first, check_start, start_from
from hone.policies.verification import remembers
from hone.types import Observation

Choice = Literal["agreement", "past"]
"""Which candidate is the best: the one nearest to all others, or the one that remembers best what was executed."""


@dataclass(frozen=True)
class Memory:
    """What a row carries from one decision to the next.

    `chunk` is what the head decoded, its past included; `executed` the last actions, oldest first, at most as many as
    the head decodes; `evaluations` is what each decision has cost.
    """

    chunk: Float[Tensor, "H A"] | None = None
    evaluations: tuple[int, ...] = ()
    executed: tuple[Float[Tensor, " A"], ...] = ()

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

    Of `best_of` candidates the best is executed, by `choose`. The candidates share their features.
    """

    def __init__(
        self,
        policy: LearnedPolicy,
        execute: int,
        trust: float | None = None,
        hooks: SamplingHooks | None = None,
        *,
        best_of: int = 1,
        choose: Choice = "agreement",
    ) -> None:
        if not 1 <= execute <= policy.chunk_length:
            raise HoneError(f"execute is {execute}, but the policy's chunks have {policy.chunk_length} actions.")
        if trust is not None:
            check_start(policy.head, trust)
        if best_of < 1:
            raise HoneError(f"best_of is {best_of}; draw at least one candidate.")
        if best_of > 1 and choose == "past" and not policy.past_length:
            raise HoneError(
                "this policy predicts no past actions that candidates could be compared by; clone one with a "
                "past_length, or choose by agreement."
            )
        self.policy = policy
        self.head = policy.head
        self.spec = policy.spec
        self.chunk_length = execute
        self.trust = trust
        self.hooks = hooks or SamplingHooks()
        self.best_of = best_of
        self.choose: Choice = choose

    def encode(self, observation: Observation) -> Features:
        return self.policy.encode(observation)

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        return self.policy.log_prob(features, candidate)

    def initial_state(self, num_rows: int) -> PolicyState:
        return [Memory() for _ in range(num_rows)]

    def propose(
        self, features: Features, state: PolicyState, k: int, generators: Sequence[torch.Generator] | None
    ) -> tuple[Candidates, PolicyState]:
        """The `k` best candidates of each row, the best one first; that is the one taken to be executed."""
        memories: list[Memory] = state or [Memory() for _ in range(len(features))]
        warm = [self.trust is not None and memory.chunk is not None for memory in memories]
        # A warm chain may be shorter than a cold one, so the two are drawn apart.
        parts, order = [], []
        for kind in (False, True):
            rows = [row for row, is_warm in enumerate(warm) if is_warm == kind]
            if rows:
                hooks = self._hooks([memories[row] for row in rows], warm=kind)
                own = None if generators is None else [generators[row] for row in rows]
                parts.append(self.head.sample(features[torch.tensor(rows)], max(k, self.best_of), own, hooks))
                order += rows
        back = torch.tensor(order).argsort()
        whole = torch.cat([part.chunks for part in parts])[back]
        samples = torch.cat([part.samples for part in parts])[back]
        past = self.policy.past_length
        chunks = whole[:, :k, past : past + self.chunk_length]
        spent = self.head.evaluations(samples).sum(-1).tolist()
        following = [
            self._after(memory, whole[row, 0].detach(), chunks[row, 0].detach(), spent[row])
            for row, memory in enumerate(memories)
        ]
        return Candidates(chunks, samples[:, :k]), following

    def _after(self, memory: Memory, chunk: Float[Tensor, "L A"], executed: Float[Tensor, "H A"], spent: int) -> Memory:
        done = (*memory.executed, *executed)
        kept = done[max(len(done) - self.policy.past_length, 0) :]
        return Memory(chunk, (*memory.evaluations, spent), kept)

    def _hooks(self, memories: Sequence[Memory], *, warm: bool) -> SamplingHooks:
        """The hooks given, and those of warm rows and of several candidates after them."""
        hooks = self.hooks
        if warm and self.trust is not None:
            theirs, start = hooks.before, start_from(self.head, self._tails(memories), self.trust)

            def before(noise: Tensor, features: Features) -> Tensor:
                return start(theirs(noise, features) if theirs else noise, features)

            hooks = replace(hooks, before=before)
        if self.best_of > 1:
            given, score = hooks.after, remembers(*self._past(memories)) if self.choose == "past" else agreement

            def after(candidates: Candidates, features: Features) -> Candidates:
                return best_first(score)(given(candidates, features) if given else candidates, features)

            hooks = replace(hooks, after=after)
        return hooks

    def _tails(self, memories: Sequence[Memory]) -> Float[Tensor, "B H A"]:
        """What each remembered chunk had left, its last action held."""
        chunks = torch.stack([memory.chunk for memory in memories if memory.chunk is not None])
        last = chunks.shape[1] - 1
        return chunks[:, (torch.arange(last + 1) + self.chunk_length).clamp(max=last)]

    def _past(self, memories: Sequence[Memory]) -> tuple[Float[Tensor, "B P A"], Bool[Tensor, "B P"]]:
        """The actions executed last, as many as the head decodes, and which of them there were."""
        length, action_dim = self.policy.past_length, self.spec.action_dim
        executed = torch.zeros(len(memories), length, action_dim)
        known = torch.zeros(len(memories), length, dtype=torch.bool)
        for row, memory in enumerate(memories):
            if memory.executed:
                executed[row, -len(memory.executed) :] = torch.stack(memory.executed)
                known[row, -len(memory.executed) :] = True
        return executed, known
