"""Control steps per second with pictures: two 84-pixel cameras, looking every 8 steps, end to end, on one core.

    python benchmarks/rendering.py --contestants standin-cheap original-decimated --rounds 3

Contestants take turns within one run, from the same official state with the same random actions. `hf-libero` draws
after every step, as it always does. Appends a row with every turn, the medians and the load average to
results/rendering.jsonl. Set MUJOCO_GL, LP_NUM_THREADS=1 and OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

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


def own_rate(config: LiberoConfig, chosen: Task, steps: int) -> Callable[[], float]:
    env = config.build(1)
    chunks = np.random.default_rng(0).uniform(-1, 1, (steps // CHUNK, 1, CHUNK, 7)).astype(np.float32)
    env.reset([0], [chosen], [Placement("official", 0)])
    env.observe([0])

    def turn() -> float:
        env.reset([0], [chosen], [Placement("official", 0)])
        start, taken = time.perf_counter(), 0
        for chunk in chunks:
            env.observe([0])
            taken += int(env.step([0], chunk).steps[0])
        return taken / (time.perf_counter() - start)

    return turn


def hf_rate(chosen: Task, steps: int) -> Callable[[], float]:
    env = hf.compose(chosen, asset_pack("original").folder, SIZE)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 7))

    def turn() -> float:
        env.sim._render_context_offscreen.gl_ctx.make_current()
        env.set_init_state(official_initial_states(chosen)[0])
        start = time.perf_counter()
        for action in actions:
            env.step(action)
        return steps / (time.perf_counter() - start)

    return turn


def main(config: Config) -> None:
    chosen = task(config.suite, config.task)
    turns: dict[str, Callable[[], float]] = {}
    for name in config.contestants:
        if name == HF:
            turns[name] = hf_rate(chosen, config.steps // 4)
        elif name in OWN:
            turns[name] = own_rate(OWN[name], chosen, config.steps)
        else:
            raise unknown_name("contestant", name, (*OWN, HF))
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(config.rounds):
        for name, turn in turns.items():
            rates[name].append(round(turn(), 1))
    for name, values in rates.items():
        print(f"{name:22}{statistics.median(values):8.0f} control steps/s   {values}")
    append_row(
        "rendering",
        {
            "suite": config.suite,
            "task": config.task,
            "image_size": SIZE,
            "look_every": CHUNK,
            "control_steps_per_s": rates,
            "medians": {name: statistics.median(values) for name, values in rates.items()},
            "load": os.getloadavg()[0],
            "niceness": os.nice(0),
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
