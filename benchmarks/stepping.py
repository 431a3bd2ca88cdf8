"""Control steps per second of LIBERO scenes: hf-libero, the NumPy reference, and the native engine.

    python benchmarks/stepping.py --tasks libero_object:0 libero_spatial:0 --slots 8 --rounds 3

The contestants take turns within one run (absolute numbers drift with the machine's load, ratios much less) and act
from the same official states with the same random actions. `native` steps the stripped model of the scene cache,
`sleep` adds MuJoCo's sleeping. Prints a table and appends a JSON line per task to benchmarks/results/stepping.jsonl.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from hone.envs.libero import hf, suites
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.engine import Engine, Slot, build_stepper
from hone.envs.libero.scene import Scene, load_scene

RESULTS = Path(__file__).parent / "results" / "stepping.jsonl"
CHUNK = 8


def stepping_rate(
    engine: Engine, model: mujoco.MjModel, scene: Scene, num_slots: int, num_threads: int, steps: int
) -> Callable[[], float]:
    """A function that runs `steps` control steps in each slot and returns control steps per second."""
    stepper = build_stepper(engine, num_threads)
    slots = [Slot(model, scene.robot, scene.goal) for _ in range(num_slots)]
    chunks = np.random.default_rng(0).uniform(-1, 1, (num_slots, steps, 7))
    limits = np.full(num_slots, CHUNK)

    def run() -> float:
        for slot, state in zip(slots, scene.official_states, strict=False):
            slot.reset(state)
        start = time.perf_counter()
        for t in range(0, steps, CHUNK):
            stepper.step(slots, chunks[:, t : t + CHUNK], limits, stop_at_success=False)
        return num_slots * steps / (time.perf_counter() - start)

    return run


def hf_libero_rate(control_env: Any, initial_state: np.ndarray, steps: int) -> Callable[[], float]:
    """The same for hf-libero's `ControlEnv` (one environment, no rendering)."""
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 7))

    def run() -> float:
        control_env.seed(0)
        hf.reset(control_env)
        control_env.set_init_state(initial_state)
        start = time.perf_counter()
        for action in actions:
            control_env.step(action)
            control_env.check_success()
        return steps / (time.perf_counter() - start)

    return run


def contestants(scene: Scene, control_env: Any, num_slots: int, steps: int) -> dict[str, Callable[[], float]]:
    sleeping = copy.copy(scene.model)
    sleeping.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    return {
        "hf-libero": hf_libero_rate(control_env, scene.official_states[0], steps),
        "numpy": stepping_rate("numpy", scene.model, scene, 1, 1, steps),
        "native, 1 thread": stepping_rate("native", scene.model, scene, num_slots, 1, steps),
        "native, 2 threads": stepping_rate("native", scene.model, scene, num_slots, 2, steps),
        "native sleep, 1 thread": stepping_rate("native", sleeping, scene, num_slots, 1, steps),
        "native sleep, 2 threads": stepping_rate("native", sleeping, scene, num_slots, 2, steps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["libero_object:0", "libero_spatial:0"], metavar="SUITE:INDEX")
    parser.add_argument("--assets", default="standin", help="asset pack: standin, original, or a folder")
    parser.add_argument("--slots", type=int, default=8, help="slots per native batch")
    parser.add_argument("--steps", type=int, default=80, help="control steps per slot and round")
    parser.add_argument("--rounds", type=int, default=3, help="turns each contestant takes; the median counts")
    arguments = parser.parse_args()

    pack = asset_pack(arguments.assets)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    for name in arguments.tasks:
        suite, index = name.split(":")
        task = suites.task(suite, int(index))
        scene, control_env = load_scene(task, pack), hf.compose(task, pack.folder)
        runs = contestants(scene, control_env, arguments.slots, arguments.steps)
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(arguments.rounds):
            for contestant, run in runs.items():
                rates[contestant].append(run())
        control_env.close()

        medians = {contestant: statistics.median(values) for contestant, values in rates.items()}
        print(f"\n{name}  ({pack.name} assets, load {os.getloadavg()[0]:.1f})\n  {'':26}control steps/s   x hf-libero")
        for contestant, rate in medians.items():
            print(f"  {contestant:26}{rate:15.0f}{rate / medians['hf-libero']:14.1f}")
        line = {
            "benchmark": "stepping",
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": commit.stdout.strip(),
            "task": name,
            "assets": f"{pack.name}-{pack.digest}",
            "slots": arguments.slots,
            "steps": arguments.steps,
            "control_steps_per_s": {key: [round(v, 1) for v in values] for key, values in rates.items()},
            "mujoco": mujoco.__version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "load": os.getloadavg()[0],
        }
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
