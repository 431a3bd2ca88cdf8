"""Best of N: the policy proposes, a verifier scores, the best chunk is executed. No tree.

Three verifiers. `ByValue`: a value of state and chunk (V-GPS, arXiv:2410.13816), without a simulator. `ByOutcome`: the
chunk, and then the policy, are simulated, and what comes of it is held against the plan that was read from the
instruction (runtime reasoning-action alignment, "Do What You Say", arXiv:2510.16281; there a vision-language model
judges an imagined picture, here the plan's milestones are measured on facts, which is privileged). `ByConsistency`:
how smoothly a chunk goes on from what was done last (the coherence of Bidirectional Decoding, arXiv:2408.17355; a
chunk is executed whole here, so only its seam can be compared).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Float64

from hone.envs.base import Environment
from hone.errors import HoneError
from hone.language.grammar import decompose
from hone.language.plan import Decomposer, Refusal
from hone.planning.candidates import CandidateConfig, propose
from hone.planning.macros import MacroLibrary, primitives_alone
from hone.planning.value import ValueHead
from hone.policies.base import Candidate, Features, Policy
from hone.rewards.planned import from_plan
from hone.rewards.program import RewardProgram
from hone.rewards.scoring import score
from hone.seeding import torch_generator
from hone.training.rollout import EpisodeRequest, Foreseen
from hone.training.workers import Builder
from hone.types import Observation

By = Literal["value", "outcome", "consistency"]


@dataclass(frozen=True)
class Choice:
    """What a verifier is asked: `K` chunks in each of `n` slots. `last` is each slot's last executed chunk, if any."""

    env: Environment
    slots: Sequence[int]
    observation: Observation
    features: Features
    chunks: Float32[np.ndarray, "n K H 7"]
    last: Sequence[np.ndarray | None]


@runtime_checkable
class Verifier(Protocol):
    """`scores [n, K]`: the higher, the better. `steps` of each slot were simulated for it."""

    def score(self, choice: Choice, alive: Callable[[], None]) -> Float64[np.ndarray, "n K"]: ...

    def finish(self, slot: int) -> int:
        """The episode in this slot has ended; returns the control steps that were simulated for it."""
        ...

    def close(self) -> None: ...


class ByValue:
    """A value head with inputs `chunk`."""

    def __init__(self, value: ValueHead) -> None:
        if value.config.inputs != "chunk":
            raise HoneError(f"re-ranking needs a value of chunks, not of '{value.config.inputs}'; train one with it.")
        self._value = value

    def score(self, choice: Choice, alive: Callable[[], None]) -> Float64[np.ndarray, "n K"]:
        columns = [
            self._value.of(choice.features, choice.observation, torch.from_numpy(choice.chunks[:, k]))
            for k in range(choice.chunks.shape[1])
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def finish(self, slot: int) -> int:
        return 0

    def close(self) -> None: ...


class ByConsistency:
    """Minus the root mean square jump from the last action to a chunk's first, and minus that of the hand's command."""

    def score(self, choice: Choice, alive: Callable[[], None]) -> Float64[np.ndarray, "n K"]:
        scores = np.zeros(choice.chunks.shape[:2])
        for row, last in enumerate(choice.last):
            if last is not None:
                scores[row] = -np.sqrt(((choice.chunks[row, :, 0] - last[-1]) ** 2).mean(-1))
        return scores

    def finish(self, slot: int) -> int:
        return 0

    def close(self) -> None: ...


class ByOutcome:
    """What comes of a chunk, and of `follow` more of the policy's own, in copies of the simulator: how much of the plan
    is then done, as the reward program of the plan counts it (`hone.rewards.scoring`). A refused plan scores nothing.
    """

    def __init__(
        self, copies: Environment, policy: Policy, count: int, follow: int = 2, decomposer: Decomposer = decompose
    ) -> None:
        self._copies, self._policy, self._count, self._follow = copies, policy, count, follow
        self._decompose = decomposer
        self._programs: dict[int, RewardProgram | None] = {}
        self._seen: dict[int, list[Any]] = {}
        self._steps: dict[int, int] = {}

    @torch.no_grad()
    def score(self, choice: Choice, alive: Callable[[], None]) -> Float64[np.ndarray, "n K"]:
        facts = choice.env.facts(choice.slots)
        for slot, instruction, now in zip(choice.slots, choice.observation.instructions, facts, strict=True):
            if slot not in self._programs:
                self._programs[slot] = self._program(instruction, now)
            self._seen.setdefault(slot, []).append(now)
        rows = [row for row, slot in enumerate(choice.slots) if self._programs[slot] is not None]
        scores = np.zeros((len(choice.slots), self._count))
        if not rows:
            return scores
        pairs = [(row, k) for row in rows for k in range(self._count)]
        here = [choice.slots[row] * self._count + k for row, k in pairs]
        snapshots = choice.env.snapshot([choice.slots[row] for row in rows])
        self._copies.restore(here, [snapshots[rows.index(row)] for row, _ in pairs])
        chunks = np.stack([choice.chunks[row, k] for row, k in pairs])
        after: list[list[Any]] = [[] for _ in pairs]
        going = np.arange(len(pairs))
        for turn in range(1 + self._follow):
            alive()
            copies = [here[i] for i in going]
            if turn:
                seen = replace(
                    self._copies.observe(copies),
                    instructions=tuple(choice.observation.instructions[pairs[i][0]] for i in going),
                )
                chosen, _ = self._policy.propose(self._policy.encode(seen), None, 1, None)
                chunks = chosen.chunks[:, 0].numpy().astype(np.float32)
            result = self._copies.step(copies, chunks)
            for k, i in enumerate(going):
                slot = choice.slots[pairs[i][0]]
                self._steps[slot] = self._steps.get(slot, 0) + int(result.steps[k])
                after[i].append(self._copies.facts([here[i]])[0])
            going = going[~result.done]
            if not len(going):
                break
        for (row, k), later in zip(pairs, after, strict=True):
            slot = choice.slots[row]
            program = self._programs[slot]
            assert program is not None
            scores[row, k] = score(program, [*self._seen[slot], *later]).total
        return scores

    def finish(self, slot: int) -> int:
        self._programs.pop(slot, None)
        self._seen.pop(slot, None)
        return self._steps.pop(slot, 0)

    def close(self) -> None:
        self._copies.close()

    def _program(self, instruction: str, facts: Any) -> RewardProgram | None:
        try:
            return from_plan(self._decompose(instruction, facts), facts)
        except Refusal:
            return None


@dataclass(frozen=True)
class BestOfPlanning:
    """All that a worker needs to choose among a policy's samples. `value`, of chunks, for `by` value; `copies` for `by`
    outcome."""

    by: By
    copies: Builder
    candidates: CandidateConfig = field(default_factory=lambda: CandidateConfig(library=0))
    value: ValueHead | None = None
    library: MacroLibrary | None = None

    def build(self, policy: Policy, num_slots: int) -> BestOf:
        count = self.candidates.count
        if self.by == "value":
            if self.value is None:
                raise HoneError("best-of-N by value needs a value of chunks; train one with `hone value`.")
            return BestOf(self, policy, ByValue(self.value))
        if self.by == "consistency":
            return BestOf(self, policy, ByConsistency())
        return BestOf(self, policy, ByOutcome(self.copies.build(num_slots * count), policy, count))


class BestOf:
    """The `Lookahead` of `BestOfPlanning`; of candidates that score alike, the first: the policy's own chunk."""

    def __init__(self, planning: BestOfPlanning, policy: Policy, verifier: Verifier) -> None:
        if policy.initial_state(1) is not None:
            raise HoneError("choosing among samples needs a policy without memory of its own.")
        self._config, self._policy, self._verifier = planning.candidates, policy, verifier
        self._library = planning.library or primitives_alone(policy.chunk_length)
        self._last: dict[int, np.ndarray] = {}
        self._decisions: dict[int, int] = {}
        self._changed: dict[int, int] = {}

    def decide(
        self,
        env: Environment,
        slots: Sequence[int],
        requests: Sequence[EpisodeRequest],
        observation: Observation,
        features: Features,
        own: Candidate,
        alive: Callable[[], None],
    ) -> Candidate:
        if self._config.count == 1:
            return own
        turns = [self._decisions.get(slot, 0) for slot in slots]
        generators = [torch_generator(r.seed, "best of", turn) for r, turn in zip(requests, turns, strict=True)]
        known = propose(self._policy, features, (own.chunk, own.sample), self._config, self._library, generators)
        last = [self._last.get(slot) for slot in slots]
        scores = self._verifier.score(Choice(env, slots, observation, features, known.chunks, last), alive)
        best = scores.argmax(1)
        for row, slot in enumerate(slots):
            self._last[slot] = known.chunks[row, best[row]]
            self._decisions[slot] = turns[row] + 1
            self._changed[slot] = self._changed.get(slot, 0) + int(best[row] > 0)
        rows = np.arange(len(slots))
        drawn = torch.full_like(own.sample, torch.nan)  # a chunk of the library has no likelihood
        for row in rows:
            if best[row] < known.samples.shape[1]:
                drawn[row] = known.samples[row, best[row]]
        return Candidate(torch.from_numpy(known.chunks[rows, best]), drawn)

    def finish(self, slot: int) -> Foreseen:
        self._last.pop(slot, None)
        report = {
            "simulator_steps": self._verifier.finish(slot),
            "decisions": self._decisions.pop(slot, 0),
            "chose_another": self._changed.pop(slot, 0),
        }
        return Foreseen({"search": report})

    def close(self) -> None:
        self._verifier.close()
