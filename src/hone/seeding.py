"""Independent randomness from one run seed: every episode, worker and stage derives its own generator by name.

A seed derived from *names* does not depend on how many numbers were drawn before, in which order, or by which worker,
so episode 17 of iteration 3 sees the same noise whether it runs alone or in a batch. Nothing here touches global state.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch


def derive_seed(seed: int, *keys: str | int) -> int:
    """A 63-bit seed from the run's `seed` and the names or ids of what it is for: `derive_seed(seed, "episode", 17)`.

    The same arguments give the same seed on every machine and Python version; `"1"` and `1` are different keys, and
    `("ab", "c")` differs from `("a", "bc")`.
    """
    path = json.dumps([int(seed), *(key if isinstance(key, str) else int(key) for key in keys)])
    digest = hashlib.sha256(path.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def torch_generator(seed: int, *keys: str | int) -> torch.Generator:
    """A CPU generator of its own. (Torch seeds it with the low 32 bits: enough to keep a run's episodes apart.)"""
    return torch.Generator().manual_seed(derive_seed(seed, *keys))


def numpy_generator(seed: int, *keys: str | int) -> np.random.Generator:
    """A NumPy generator of its own."""
    return np.random.default_rng(derive_seed(seed, *keys))
