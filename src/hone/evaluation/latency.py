"""How long one decision takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a call: median and 95th percentile, of the processor's time and of the clock's.

    They are the same on a machine with nothing else to do; where others compute beside it, the processor's time is the
    one that says something about the code.
    """

    p50: float
    p95: float
    clock_p50: float
    clock_p95: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def latency(act: Callable[[], object], *, repeats: int, warm_up: int = 3) -> Latency:
    """Of `repeats` calls, after `warm_up` that do not count. For one thread: processor time adds up over threads."""
    for _ in range(warm_up):
        act()
    taken = np.zeros((2, repeats))
    for index in range(repeats):
        processor, clock = time.process_time(), time.perf_counter()
        act()
        taken[:, index] = time.process_time() - processor, time.perf_counter() - clock
    own, wall = 1000 * taken
    return Latency(*(float(np.percentile(values, q)) for values in (own, wall) for q in (50, 95)))
