"""Control steps per second with pictures: two 84-pixel cameras, looking every 8 steps, end to end, on one core.

    python benchmarks/rendering.py --contestants standin-cheap-sleep original-decimated --rounds 3

Contestants take turns within one run, from the same official state with the same random actions. `hf-libero` draws
after every step, as it always does. The rate counts the process's own core-seconds (all its threads), so it says what
one core does also where others use the machine; the rate by the clock stands beside it. Appends a row with every turn,
the medians and the load average to results/rendering.jsonl. Set MUJOCO_GL, LP_NUM_THREADS=1 and OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tyro

from hone.envs.libero import hf
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import official_initial_states, task
from hone.errors import unknown_name
from hone.types import Placement, Task
from rows import append_row

SIZE, CHUNK = 84, 8
OWN = {
    "original-exact": LiberoConfig(assets="original", render="exact"),
    "original-aliased": LiberoConfig(assets="original", render="aliased"),
    "original-decimated": LiberoConfig(assets="original", render="decimated"),
    "standin-cheap-sleep": LiberoConfig(assets="standin", render="cheap", physics="sleep"),
}
HF = "hf-libero"


@dataclass(frozen=True)
class Config:
    suite: str = "libero_object"
    task: int = 0
    contestants: tuple[str, ...] = (*OWN, HF)
    """hf-libero runs with LIBERO's original assets."""
    steps: int = 80
    """Control steps in a turn; hf-libero takes a quarter of them."""
    rounds: int = 3
    """Turns each contestant takes; the median counts."""


class Rate(NamedTuple):
    """Control steps per core-second and per second of the clock."""

    core: float
    clock: float


class Timer:
    def __init__(self) -> None:
        self._clock, self._core = time.perf_counter(), time.process_time()

    def rate(self, steps: int) -> Rate:
        return Rate(
            round(steps / (time.process_time() - self._core), 1),
            round(steps / (time.perf_counter() - self._clock), 1),
        )


def own_rate(config: LiberoConfig, chosen: Task, steps: int) -> Callable[[], Rate]:
    env = config.build(1)
    chunks = np.random.default_rng(0).uniform(-1, 1, (steps // CHUNK, 1, CHUNK, 7)).astype(np.float32)
    env.reset([0], [chosen], [Placement("official", 0)])
    env.observe([0])

    def turn() -> Rate:
        env.reset([0], [chosen], [Placement("official", 0)])
        timer, taken = Timer(), 0
        for chunk in chunks:
            env.observe([0])
            taken += int(env.step([0], chunk).steps[0])
        return timer.rate(taken)

    return turn


def hf_rate(chosen: Task, steps: int) -> Callable[[], Rate]:
    env = hf.compose(chosen, asset_pack("original").folder, SIZE)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 7))

    def turn() -> Rate:
        env.sim._render_context_offscreen.gl_ctx.make_current()
        env.set_init_state(official_initial_states(chosen)[0])
        timer = Timer()
        for action in actions:
            env.step(action)
        return timer.rate(steps)

    return turn


def main(config: Config) -> None:
    chosen = task(config.suite, config.task)
    turns: dict[str, Callable[[], Rate]] = {}
    for name in config.contestants:
        if name == HF:
            turns[name] = hf_rate(chosen, config.steps // 4)
        elif name in OWN:
            turns[name] = own_rate(OWN[name], chosen, config.steps)
        else:
            raise unknown_name("contestant", name, (*OWN, HF))
    rates: dict[str, list[Rate]] = {name: [] for name in turns}
    for _ in range(config.rounds):
        for name, turn in turns.items():
            rates[name].append(turn())
    medians = {name: statistics.median(rate.core for rate in values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:22}{medians[name]:8.0f} control steps per core-second   by the clock {[r.clock for r in values]}")
    append_row(
        "rendering",
        {
            "suite": config.suite,
            "task": config.task,
            "image_size": SIZE,
            "look_every": CHUNK,
            "steps_per_core_second": {name: [rate.core for rate in values] for name, values in rates.items()},
            "steps_per_second": {name: [rate.clock for rate in values] for name, values in rates.items()},
            "medians_per_core_second": medians,
            "load": os.getloadavg()[0],
            "niceness": os.nice(0),
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
