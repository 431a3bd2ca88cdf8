"""Which adaptations a new task starts from, and how much of each. Pure functions.

    theta_init = theta_base + sum_{j in top k} softmax_j(cos(e_new, e_j) / temperature) delta_j

(Agentic-VLA, arXiv 2605.22896, eqs. 8-10, there for whole weights; the same for deltas from one base, since the
softmax sums to one.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32

from hone.memory.store import Entry, cosine

Retrieval = Literal["similar", "random", "none"]
"""`similar`: the nearest instructions, as in the paper. Controls: `random`, any entries with equal weights; `none`."""


def ranked(
    entries: Sequence[Entry], query: Float32[np.ndarray, " E"], mode: Retrieval, generator: torch.Generator
) -> list[Entry]:
    """The entries in the order in which they are considered."""
    if mode == "none":
        return []
    if mode == "random":
        return [entries[i] for i in torch.randperm(len(entries), generator=generator).tolist()]
    return sorted(entries, key=lambda entry: -cosine(query, entry.embedding))


def shares(
    chosen: Sequence[Entry], query: Float32[np.ndarray, " E"], mode: Retrieval, temperature: float
) -> list[float]:
    """How much of each chosen entry goes into the mean; they sum to one."""
    if mode == "random":
        return [1 / len(chosen)] * len(chosen)
    return softmax([cosine(query, entry.embedding) for entry in chosen], temperature)


def softmax(scores: Sequence[float], temperature: float) -> list[float]:
    """`exp(s_i / temperature) / sum_j exp(s_j / temperature)`."""
    scaled = np.array(scores, np.float64) / temperature
    powers = np.exp(scaled - scaled.max())
    return (powers / powers.sum()).tolist()
