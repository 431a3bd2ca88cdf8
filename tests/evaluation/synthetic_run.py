"""A made-up run on disk: what `hone improve` would leave behind, without any simulation."""

from __future__ import annotations

import math
from dataclasses import asdict

import imageio.v3 as imageio
import numpy as np

from hone.evaluation.protocol import ProtocolCard
from hone.evaluation.results import Cost, EpisodeResult, EvaluationResult, paired_difference
from hone.evaluation.run_folder import RunFolder, RunLog, write_json
from hone.evaluation.stats import wilson_interval
from hone.types import Placement

TASKS = tuple(
    f"pick_up_the_{thing}_and_place_it_in_the_basket" for thing in ("alphabet_soup", "cream_cheese", "salad_dressing")
)


def make_card(**changes: object) -> ProtocolCard:
    fields: dict[str, object] = {
        "suite": "libero_object",
        "tasks": TASKS,
        "placement_kind": "official",
        "placements": tuple(range(50)),
        "step_cap": 280,
        "executed_chunk_length": 16,
        "asset_pack": "standin-0123",
        "physics_profile": "libero",
        "render_profile": "cheap",
        "fixture_table": "with the scene",
        "cameras": ("agentview", "robot0_eye_in_hand"),
        "image_size": 84,
        "image_orientation": "upright",
        "text_encoder": "hashed n-grams",
        "versions": {"python": "3.11", "mujoco": "3.8.1"},
    }
    return ProtocolCard(**{**fields, **changes})  # type: ignore[arg-type]


def make_result(rates: tuple[float, ...], *, seed: int, faults: int = 0, placements: int = 50) -> EvaluationResult:
    """Each task succeeds as often as `rates` says; the last `faults` episodes of the last task are faults."""
    generator = np.random.default_rng(seed)
    episodes = []
    for task, rate in zip(TASKS, rates, strict=True):
        won = generator.permutation(placements) < round(rate * placements)
        for index in range(placements):
            fault = task == TASKS[-1] and index >= placements - faults
            status = "error" if fault else "success" if won[index] else "failure"
            held = bool(generator.random() < 0.95) if status == "success" else False
            steps = 150 if status == "success" else 280
            episodes.append(
                EpisodeResult(task, Placement("official", index), status, held, steps, math.ceil(steps / 16), 0)
            )
    cost = Cost(sum(e.steps for e in episodes), sum(e.decisions for e in episodes), 0, 31.5)
    return EvaluationResult(
        tuple(episodes), make_card(placements=tuple(range(placements))), cost, "small", "0123456789ab"
    )


def make_run(folder: RunFolder) -> RunFolder:
    before, after = make_result((0.52, 0.36, 0.94), seed=1, faults=1), make_result((0.96, 0.94, 1.0), seed=2)
    write_json(folder.config, {"suite": "libero_object", "tasks": [0, 1, 2], "demonstrations": 3, "seed": 0})
    before.save(folder.evaluation_before)
    after.save(folder.evaluation_after)
    generator = np.random.default_rng(0)
    with RunLog(folder, track=()) as log:
        for iteration in range(1, 41):
            done = iteration / 40
            rate = 0.39 + 0.43 * (1 - math.exp(-3 * done)) / (1 - math.exp(-3))
            log.training(
                {
                    "iteration": iteration,
                    "rollouts": 72 * iteration,
                    "env_steps": 11_000 * iteration,
                    "minutes": 2.1 + 6.4 * done + 0.2 * done**2,
                    "train_success": float(np.clip(generator.normal(rate, 0.06), 0, 1)),
                    "kl": float(abs(generator.normal(1.0, 0.3))),
                    "lr": 5e-5 * 1.5 ** float(generator.normal(0, 0.5)),
                    "clip_fraction": float(generator.uniform(0.3, 0.7)),
                    "dead_groups": int(generator.integers(0, 5)),
                    "alive_groups": int(generator.integers(4, 9)),
                    "exploration": 0.1 - 0.05 * done,
                }
            )
            if iteration % 8 == 0:
                wins = int(generator.binomial(60, 0.6 + 0.36 * done))
                low, high = wilson_interval(wins, 60)
                log.evaluation(
                    {
                        "iteration": iteration,
                        "rollouts": 72 * iteration,
                        "minutes": 2.1 + 6.6 * done,
                        "mode": "greedy",
                        "successes": wins,
                        "episodes": 60,
                        "low": low,
                        "high": high,
                        "per_task": {},
                    }
                )
    difference = paired_difference(before, after)
    write_json(
        folder.summary,
        {
            "before": before.summary(),
            "after": after.summary(),
            "paired_difference": {"mean": difference.mean, "low": difference.low, "high": difference.high},
            "minutes": 8.7,
            "env_steps": 440_000,
            "rollouts": 2880,
            "faults": 1,
            "cost": {"evaluation before": asdict(before.cost), "training": asdict(Cost(440_000, 55_000, 0, 610.0))},
            "protocol": before.protocol.to_json(),
            "commit": "0123456789ab",
        },
    )
    probes = {
        "normal": after,
        "blank": make_result((0.4, 0.3, 0.5), seed=4),
        "other_task": make_result((0.1, 0.0, 0.2), seed=5),
    }
    write_json(folder.probes, {name: result.summary() for name, result in probes.items()})
    index = []
    for task in TASKS:
        for stage in ("before", "after"):
            file = f"{task}-{stage}.mp4"
            frames = np.full((12, 128, 256, 3), 40, np.uint8)
            for t, frame in enumerate(frames):
                frame[30:60, 5 * t : 5 * t + 24] = (200, 120, 60) if stage == "before" else (60, 180, 140)
            folder.videos.mkdir(exist_ok=True)
            imageio.imwrite(folder.videos / file, frames, fps=10)
            won = stage == "after"
            index.append(
                {
                    "task": task,
                    "stage": stage,
                    "file": file,
                    "success": won,
                    "steps": 148 if won else 280,
                    "placement": "official 0",
                }
            )
    write_json(folder.video_index, index)
    return folder
