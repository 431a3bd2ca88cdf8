"""Experience memory: a new task starts from what practice on similar tasks added to the same base weights.

    memory = Memory.open(folder)
    base = weights_of(policy)                                    # before anything is added
    recall = memory.recall(policy, instruction, "similar", generator)
    if recall is not None:
        recall.apply_to(policy)                                  # before rollout workers copy the policy
    ...                                                          # practise
    memory.remember(policy, base, task, success=0.9, iterations=30)

Nothing that is wrong with the memory stops a run: an entry that is not sound is refused, a store that cannot be
written to loses the new entry, and either says so in one warning.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hone.errors import HoneError
from hone.language.encoder import TextEncoder, build_text_encoder
from hone.memory.deltas import (
    Adaptable,
    Weights,
    add_to,
    base_key,
    difference,
    fault_in,
    trained_names,
    weighted_mean,
    weights_of,
)
from hone.memory.retrieval import Retrieval, ranked, shares
from hone.memory.store import Entry, EntryStore, cosine
from hone.types import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One entry that went into a warm start, for the run's log."""

    instruction: str
    similarity: float
    share: float
    success: float


@dataclass(frozen=True)
class Recall:
    """A warm start: the delta to add to the base weights, and what it was mixed from."""

    delta: dict[str, Tensor]
    sources: tuple[Source, ...]

    def apply_to(self, policy: Adaptable) -> None:
        """Add the delta to the policy's weights."""
        add_to(policy, self.delta)


class Memory:
    """What was learned in earlier runs, by task. See the module's docstring for its use."""

    def __init__(self, store: EntryStore, encoder: TextEncoder, top_k: int, temperature: float) -> None:
        if top_k < 1 or not temperature > 0:
            raise HoneError(f"memory top_k {top_k} must be at least 1 and temperature {temperature} positive.")
        self.store = store
        self.encoder = encoder
        self.top_k = top_k
        self.temperature = temperature

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        encoder: str = "hashed-ngrams-256",
        capacity: int = 100,
        top_k: int = 3,
        temperature: float = 0.1,
    ) -> Memory:
        """The memory in `folder`, which is made (private to the user) if it is not there.

        Defaults are the paper's. Raises `HoneError` where there can be no folder or the encoder is unknown.
        """
        return cls(EntryStore(Path(folder), capacity), build_text_encoder(encoder), top_k, temperature)

    def recall(self, policy: Adaptable, instruction: str, mode: Retrieval, generator: torch.Generator) -> Recall | None:
        """The warm start for a task, or `None` if there is none. The policy holds the base weights and is not changed.

        `generator` is drawn from by the `random` control only.
        """
        if mode == "none":
            return None
        weights = weights_of(policy)
        key = base_key(weights, self.encoder.name)
        everything = self.store.entries()
        entries = [entry for entry in everything if entry.key == key]
        if everything and not entries:
            log.warning(
                "none of the %d entries in '%s' was learned from these base weights with encoder %s; "
                "the run starts without memory.",
                *(len(everything), self.store.folder, self.encoder.name),
            )
        trained = {name: weights[name] for name in trained_names(policy)}
        query = self.encoder.encode([instruction])[0]
        entries = [entry for entry in entries if self._comparable(entry, len(query))]
        chosen: list[Entry] = []
        deltas: list[Weights] = []
        for entry in ranked(entries, query, mode, generator):
            delta = self._sound(entry, trained)
            if delta is not None:
                chosen.append(entry)
                deltas.append(delta)
            if len(chosen) == self.top_k:
                break
        if not chosen:
            return None
        parts = shares(chosen, query, mode, self.temperature)
        sources = tuple(
            Source(entry.instruction, cosine(query, entry.embedding), share, entry.success)
            for entry, share in zip(chosen, parts, strict=True)
        )
        return Recall(weighted_mean(deltas, parts), sources)

    def remember(
        self,
        policy: Adaptable,
        base_weights: Weights,
        task: Task,
        *,
        success: float,
        iterations: int,
        details: Mapping[str, Any] | None = None,
    ) -> Entry | None:
        """Keep what practice on `task` added to `base_weights`; `None`, with a warning, if it could not be kept.

        `success` is the adapted policy's rate on training or validation placements (never on official ones: who is
        kept would depend on the final evaluation). `details`: plain JSON, the run's name and seed, say.
        """
        delta = difference(policy, base_weights)
        fault = fault_in(delta, {name: base_weights[name] for name in delta})
        if not (math.isfinite(success) and 0 <= success <= 1):
            fault = f"success is {success}, not a rate"
        if fault is not None:
            log.warning("what was learned of '%s' is not remembered: %s.", task.name, fault)
            return None
        entry = Entry(
            key=base_key(base_weights, self.encoder.name),
            suite=task.suite,
            task=task.name,
            instruction=task.instruction,
            embedding=self.encoder.encode([task.instruction])[0],
            success=float(success),
            iterations=iterations,
            details=dict(details or {}),
        )
        try:
            return self.store.put(entry, delta)
        except HoneError as error:
            log.warning("what was learned of '%s' is not remembered: %s", task.name, error)
            return None

    def _comparable(self, entry: Entry, embedding_dim: int) -> bool:
        if len(entry.embedding) != embedding_dim:
            self.store.refuse(entry.id, f"its embedding has {len(entry.embedding)} numbers, not {embedding_dim}")
        return len(entry.embedding) == embedding_dim

    def _sound(self, entry: Entry, trained: Weights) -> dict[str, Tensor] | None:
        """The entry's delta if it may be added to the trained weights; else `None`, and a warning says why."""
        delta = self.store.delta(entry)
        if delta is None:
            return None
        fault = fault_in(delta, trained)
        if fault is not None:
            self.store.refuse(entry.id, fault)
            return None
        return delta
