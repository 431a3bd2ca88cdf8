"""How fast the engine is, and how exactly it is LIBERO: hf-libero and Hone in turn, on the same states and actions.

Absolute speeds drift with the load of a machine and ratios much less, so the contestants alternate within one run on
one pinned core (two for two threads) and medians count. Nothing is drawn.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64

from hone.envs.libero import hf
from hone.envs.libero.assets import AssetPack
from hone.envs.libero.engine import Slot, build_stepper
from hone.envs.libero.environment import NO_OP, LiberoConfig
from hone.envs.libero.scene import Physics, Scene, load_scene, set_physics
from hone.errors import HoneError
from hone.types import Placement, Task

CHUNK = 8
"""Control steps per call."""
OFFICIAL_STATE = 0
"""The initial state everything starts from."""

Actions = Literal["random", "expert"]


@dataclass(frozen=True)
class Contestant:
    """One way of running Hone's engine."""

    physics: Physics
    slots: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Trace:
    """What happened step by step: positions after each control step, and whether the goal was reached."""

    qpos: Float64[np.ndarray, "T nq"]
    success: Bool[np.ndarray, " T"]


def random_actions(steps: int, seed: int = 0) -> Float64[np.ndarray, "T 7"]:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (steps, 7))


def expert_actions(task: Task, assets: str, official_state: int = OFFICIAL_STATE) -> Float64[np.ndarray, "T 7"] | None:
    """LIBERO's waiting steps, then what the scripted expert does, from an official state; None where it fails."""
    from hone.primitives.expert import Expert

    config = LiberoConfig(assets=assets, images=False, stop_at_success=False, step_cap=1000)
    env, expert = config.build(1), Expert()
    actions = [NO_OP] * config.wait_steps
    env.reset([0], [task], [Placement("official", official_state)])
    while (command := expert.act(env.facts([0])[0])) is not None and len(actions) < 1000:
        actions.append(command.action.astype(np.float32))
        env.step([0], actions[-1][None, None])
    succeeded = all(env.facts([0])[0].satisfied)
    env.close()
    return np.stack(actions).astype(np.float64) if succeeded else None


def compare(
    task: Task,
    pack: AssetPack,
    actions: Float64[np.ndarray, "T 7"],
    kind: Actions,
    contestants: Sequence[Contestant],
    rounds: int,
) -> list[dict[str, Any]]:
    """One row per contestant: speeds in control steps per second (medians), ratio to hf-libero, and differences."""
    if rounds < 1:
        raise HoneError("a comparison of no rounds measures nothing; ask for at least one.")
    scene = load_scene(task, pack)
    control_env = hf.compose(task, pack.folder)
    state = scene.official_states[OFFICIAL_STATE]
    runs = {contestant: _timed(scene, contestant, actions, kind) for contestant in contestants}
    speeds: dict[Contestant, list[float]] = {contestant: [] for contestant in contestants}
    reference_speeds = []
    try:
        with _pinned(1):
            _, reference = reference_trace(control_env, scene, state, actions)
        for _ in range(rounds):
            with _pinned(1):
                seconds, _ = reference_trace(control_env, scene, state, actions)
            reference_speeds.append(len(actions) / seconds)
            for contestant, run in runs.items():
                with _pinned(contestant.threads):
                    speeds[contestant].append(run())
        profiles: set[Physics] = {contestant.physics for contestant in contestants}
        traces = {physics: trace(scene, physics, state, actions) for physics in profiles}
    finally:
        control_env.close()

    rows = []
    for contestant in contestants:
        own, ratios = traces[contestant.physics], np.array(speeds[contestant]) / np.array(reference_speeds)
        rows.append(
            {
                "suite": task.suite,
                "task": task.index,
                "assets": pack.name,
                "profile": contestant.physics,
                "actions": kind,
                "slots": contestant.slots,
                "threads": contestant.threads,
                "control_steps": len(actions),
                "steps_per_second": round(statistics.median(speeds[contestant]), 1),
                "reference_steps_per_second": round(statistics.median(reference_speeds), 1),
                "ratio": round(float(np.median(ratios)), 2),
                "max_abs_qpos_difference": float(np.abs(own.qpos - reference.qpos).max()),
                "first_success": _first(own.success),
                "reference_first_success": _first(reference.success),
                "success_flags_equal": bool(np.array_equal(own.success, reference.success)),
            }
        )
    return rows


def trace(scene: Scene, physics: Physics, state: Float64[np.ndarray, " S"], actions: np.ndarray) -> Trace:
    """Run `actions` in the native engine, one control step a call."""
    slot = Slot(set_physics(scene.model, physics), scene.robot, scene.goal)
    stepper = build_stepper("native")
    slot.reset(state)
    qpos, success = [], []
    for action in actions:
        stepper.step([slot], action[None, None], np.array([1]), stop_at_success=False)
        qpos.append(slot.data.qpos.copy())
        success.append(slot.success)
    return Trace(np.stack(qpos), np.array(success))


def reference_trace(control_env: Any, scene: Scene, state: np.ndarray, actions: np.ndarray) -> tuple[float, Trace]:
    """Seconds that hf-libero's `ControlEnv` takes, as its users run it, and what happened.

    LIBERO places fixtures anew at every reset, and not as after the first, even under the same seed; an episode begins
    as in a fresh process (design: "start of an episode"), so they are put back where the scene has them.
    """
    hf.reset(control_env)
    model = control_env.sim.model._model
    for name in scene.fixtures:
        own, theirs = scene.model.body(f"{name}_main"), model.body(f"{name}_main")
        theirs.pos, theirs.quat = own.pos, own.quat
    control_env.set_init_state(state)
    qpos, success, seconds = [], [], 0.0
    for action in actions:
        started = time.perf_counter()
        control_env.step(action)
        reached = control_env.check_success()
        seconds += time.perf_counter() - started
        qpos.append(control_env.sim.data.qpos.copy())
        success.append(reached)
    return seconds, Trace(np.stack(qpos), np.array(success, bool))


def latencies(task: Task, pack: AssetPack, repeats: int = 20) -> dict[str, float]:
    """Start of a cached task, reset to a stored state, snapshot + restore (medians), and memory per further slot."""
    scene = load_scene(task, pack)
    state = scene.official_states[OFFICIAL_STATE]

    def start() -> None:
        fresh = load_scene(task, pack)
        Slot(fresh.model, fresh.robot, fresh.goal).reset(state)

    slot, stepper = Slot(scene.model, scene.robot, scene.goal), build_stepper("native")
    slot.reset(state)
    stepper.step([slot], random_actions(20)[None], np.array([20]), stop_at_success=False)
    before = _resident_mib()
    others = [Slot(scene.model, scene.robot, scene.goal) for _ in range(16)]
    for other in others:
        other.reset(state)
        stepper.step([other], random_actions(5)[None], np.array([5]), stop_at_success=False)
    per_slot = (_resident_mib() - before) / len(others)
    return {
        "start_ms": _median_ms(start, repeats),
        "reset_ms": _median_ms(lambda: slot.reset(state), repeats),
        "snapshot_restore_us": 1e3 * _median_ms(lambda: slot.restore(slot.snapshot()), repeats),
        "mib_per_slot": per_slot,
    }


def _timed(scene: Scene, contestant: Contestant, actions: np.ndarray, kind: Actions) -> Callable[[], float]:
    """A function that runs the actions in every slot and returns control steps per second.

    Under random actions each slot starts from an official state of its own; an expert's fit one state alone.
    """
    stepper = build_stepper("native", contestant.threads)
    model = set_physics(scene.model, contestant.physics)
    slots = [Slot(model, scene.robot, scene.goal) for _ in range(contestant.slots)]
    states = scene.official_states
    chunks = np.broadcast_to(actions, (contestant.slots, *actions.shape))
    limits = np.full(contestant.slots, CHUNK)

    def run() -> float:
        for i, slot in enumerate(slots):
            slot.reset(states[i % len(states) if kind == "random" else OFFICIAL_STATE])
        started = time.perf_counter()
        for t in range(0, len(actions), CHUNK):
            stepper.step(slots, chunks[:, t : t + CHUNK], limits, stop_at_success=False)
        return contestant.slots * len(actions) / (time.perf_counter() - started)

    return run


def _first(success: np.ndarray) -> int | None:
    return int(np.argmax(success)) if success.any() else None


def _median_ms(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def _resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def _pinned(cores: int) -> Iterator[None]:
    """Keep this process on its last `cores` processors, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[-cores:]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
