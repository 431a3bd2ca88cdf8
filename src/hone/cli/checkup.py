"""The parts of `hone doctor` that simulate: the machine's own check-up, and a policy's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np

from hone.cli.doctor import Check
from hone.envs.libero import golden
from hone.envs.libero.assets import ORIGINAL_ASSETS_VARIABLE, asset_pack
from hone.envs.libero.engine import NativeStepper, Slot
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.scene import load_scene
from hone.envs.libero.suites import task as find_task
from hone.errors import HoneError
from hone.evaluation import diagnosis
from hone.policies import load_policy
from hone.specs import SpecMismatchError, check_compatible
from hone.training.rollout import EpisodeRequest
from hone.types import Placement


def assets() -> Check:
    """The asset packs at hand."""
    try:
        packs = [asset_pack("standin")]
        if ORIGINAL_ASSETS_VARIABLE in os.environ:
            packs.append(asset_pack("original"))
    except HoneError as error:
        return Check("asset packs", "failed", str(error), f"correct or unset ${ORIGINAL_ASSETS_VARIABLE}")
    return Check("asset packs", "ok", ", ".join(f"{pack.name} {pack.digest[:8]}" for pack in packs))


def simulation() -> Iterator[Check]:
    """Replay the recorded episode natively, and see what a second thread is worth."""
    try:
        yield golden_episode(golden.replay(golden.Golden.load()))
        yield stepping_threads(*stepping_speeds())
    except HoneError as error:
        yield Check("recorded episode", "failed", str(error), "mend the lines above first")


def golden_episode(found: golden.Replay) -> Check:
    when = "fails" if found.success_step is None else f"succeeds at step {found.success_step}"
    text = f"{when} (recorded: {found.recorded_step}), positions within {found.deviation:.0e}"
    if found.agrees:
        return Check("recorded episode", "ok", text)
    recorded, present = golden.Golden.load().mujoco, metadata.version("mujoco")
    todo = f"pip install mujoco=={recorded}" if present != recorded else "delete the cache folder and try again"
    return Check("recorded episode", "failed", f"{text}, tolerance {golden.FREE_TOLERANCE:.0e}", todo)


def stepping_speeds(slots: int = 8, steps: int = 8, repeats: int = 3) -> tuple[float, float]:
    """Control steps per second with one and with two stepping threads: the best of `repeats`, taken in turns."""
    recorded = golden.Golden.load()
    scene = load_scene(find_task(recorded.suite, recorded.task), asset_pack("standin"))
    running = [Slot(scene.model, scene.robot, scene.goal) for _ in range(slots)]
    chunks = np.tile(recorded.actions[None, :steps], (slots, 1, 1))
    best = {1: 0.0, 2: 0.0}
    for _ in range(repeats):
        for threads in best:
            for slot in running:
                slot.reset(recorded.start)
            started = time.perf_counter()
            NativeStepper(threads).step(running, chunks, np.full(slots, steps), stop_at_success=False)
            best[threads] = max(best[threads], slots * steps / (time.perf_counter() - started))
    return best[1], best[2]


def stepping_threads(one: float, two: float) -> Check:
    found = f"1 thread {one:.0f} control steps/s, 2 threads x{two / one:.2f}"
    return Check("stepping threads", "ok", f"{found}: {'faster' if two > 1.2 * one else 'no gain here'}")


def check_policy(folder: Path, suite: str, task_index: int, episodes: int, assets: str) -> Iterator[Check]:
    """What the policy's files say, then what a few episodes from sampled placements show."""
    if episodes < 1:
        raise HoneError(f"episodes is {episodes}; try the policy in at least one.")

    def check(finding: diagnosis.Finding) -> Check:
        return Check(finding.name, "ok" if finding.ok else "failed", finding.found, "" if finding.ok else finding.todo)

    try:
        policy = load_policy(folder)
    except HoneError as error:
        yield Check("checkpoint", "failed", str(error), "save it again with save_pretrained")
        return
    yield Check("checkpoint", "ok", f"{type(policy).__name__}, chunks of {policy.chunk_length}")
    yield from map(check, diagnosis.check_files(policy))
    spec = policy.spec
    env = LiberoConfig(assets, "fast", image_size=spec.image_size, image_orientation=spec.image_orientation)
    env = env.seen_by(spec)
    try:
        check_compatible(spec, env.spec)
    except SpecMismatchError as error:
        yield Check("conventions", "failed", str(error), "no episode was run")
        return
    pictures = f"; pictures: {spec.image_size} px, {spec.image_orientation}" if spec.cameras else ""
    yield Check("conventions", "ok", f"policy and environment declare the same{pictures}")
    task, cap = find_task(suite, task_index), env.cap(suite)
    requests = [EpisodeRequest(i, task, Placement("sampled", i), seed=i, greedy=True) for i in range(episodes)]
    environment = replace(env, step_cap=cap + cap // 2).build(len(requests))
    yield from map(check, diagnosis.check_episodes(environment, policy, requests, cap))
    environment.close()
