"""Does `hone doctor --checkpoint` name what is wrong? A trained policy is broken in one convention after another.

    python benchmarks/diagnosis.py --policy runs/demo/checkpoints/000028/policy

The policy must be one that solves the task. Leaves one row for each way of breaking it in results/diagnosis.jsonl, with
every check that failed. `expected` is the check that should.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import tyro
from scipy.spatial.transform import Rotation
from torch import Tensor

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import task
from hone.errors import HoneError
from hone.evaluation.diagnosis import (
    AS_IT_IS,
    POSITION_M,
    ROTATION_RAD,
    Turned,
    Variant,
    check_episodes,
    check_files,
    gripper_negated,
)
from hone.policies import load_policy
from hone.policies.base import Policy
from hone.training.rollout import EpisodeRequest
from hone.types import Placement
from rows import append_row


@dataclass(frozen=True)
class Config:
    policy: Path
    """Folder of a policy."""
    suite: str = "libero_object"
    task: int = 0
    episodes: int = 6
    """As `hone doctor` runs them: from sampled placements."""
    only: tuple[str, ...] = ()
    """Ways of breaking it, by the start of their names; all if none are named."""


def in_metres(chunks: Tensor, proprio: Tensor) -> Tensor:
    return torch.cat([chunks[..., :3] * POSITION_M, chunks[..., 3:6] * ROTATION_RAD, chunks[..., 6:]], dim=-1)


def as_poses(chunks: Tensor, proprio: Tensor) -> Tensor:
    """The poses (m, rotation vector in rad) that the deltas of a chunk would lead to, one upon the other."""
    deltas = in_metres(chunks.clamp(-1, 1), proprio)
    positions = proprio[:, None, None, :3] + deltas[..., :3].cumsum(dim=-2)
    rotations = np.empty((*chunks.shape[:-1], 3), np.float32)
    for row in np.ndindex(*chunks.shape[:2]):
        rotation = Rotation.from_rotvec(proprio[row[0], 3:6].numpy())
        for step, turn in enumerate(deltas[row][:, 3:6].numpy()):
            rotation = Rotation.from_rotvec(turn) * rotation
            rotations[(*row, step)] = rotation.as_rotvec()
    return torch.cat([positions, torch.from_numpy(rotations), chunks[..., 6:]], dim=-1)


def larger(chunks: Tensor, proprio: Tensor) -> Tensor:
    return torch.cat([(20 * chunks[..., :6]).clamp(-1, 1), chunks[..., 6:]], dim=-1)


def slower(chunks: Tensor, proprio: Tensor) -> Tensor:
    return torch.cat([chunks[..., :6] / 3, chunks[..., 6:]], dim=-1)


def millimetres(mean: Tensor, std: Tensor) -> None:
    for numbers in (mean, std):
        numbers[[0, 1, 2, 9, 10]] *= 1000


def never_fitted(mean: Tensor, std: Tensor) -> None:
    mean.fill_(0)
    std.fill_(1)


def of_another_scene(mean: Tensor, std: Tensor) -> None:
    mean[2] += 0.7  # LIBERO's tables are as much higher than the floor of libero_object


@dataclass(frozen=True)
class Break:
    """One way of breaking a policy, and the check that should fail for it (empty: none)."""

    name: str
    expected: str
    turned: Variant = AS_IT_IS
    statistics: Callable[[Tensor, Tensor], None] | None = None


BREAKS = (
    Break("nothing", ""),
    Break("pictures turned", "pictures turned by 180 degrees", Variant("", "", images=lambda p: p[:, :, ::-1, ::-1])),
    Break("pictures flipped", "pictures flipped upside down", Variant("", "", images=lambda p: p[:, :, ::-1])),
    Break("pictures mirrored", "pictures mirrored", Variant("", "", images=lambda p: p[:, :, :, ::-1])),
    Break("gripper sign", "gripper sign negated", Variant("", "", actions=gripper_negated)),
    Break("metres and radians", "actions taken for metres and radians", Variant("", "", actions=in_metres)),
    Break("absolute poses", "actions taken for absolute poses", Variant("", "", actions=as_poses)),
    Break("actions 20 times too large", "action scale", Variant("", "", actions=larger)),
    Break("a third of the speed", "step cap", Variant("", "", actions=slower)),
    Break("statistics in millimetres", "statistics of normalizer", statistics=millimetres),
    Break("statistics 0 and 1", "statistics of normalizer", statistics=never_fitted),
    Break("statistics of another scene", "first inputs of normalizer", statistics=of_another_scene),
)


def broken(folder: Path, way: Break) -> tuple[Policy, Any]:
    """The policy so broken, and the module whose files are checked."""
    module: Any = load_policy(folder)
    if way.statistics is not None:
        way.statistics(module.normalizer.mean, module.normalizer.std)
        return module, module
    return cast(Policy, Turned(module, way.turned)), module


def main(config: Config) -> None:
    ways = [way for way in BREAKS if not config.only or way.name.startswith(config.only)]
    if not ways:
        raise HoneError(f"no way of breaking starts with {config.only}; there are {[way.name for way in BREAKS]}.")
    chosen = task(config.suite, config.task)
    requests = [EpisodeRequest(i, chosen, Placement("sampled", i), i, greedy=True) for i in range(config.episodes)]
    for way in ways:
        started = time.perf_counter()
        policy, module = broken(config.policy, way)
        size, orientation = policy.spec.image_size, policy.spec.image_orientation
        env = LiberoConfig(physics="fast", image_size=size, image_orientation=orientation)
        cap = env.cap(config.suite)
        environment = replace(env.seen_by(policy.spec), step_cap=cap + cap // 2).build(len(requests))
        findings = check_files(module) + check_episodes(environment, policy, requests, cap)
        environment.close()
        failed = [finding for finding in findings if not finding.ok and finding.name != "episodes"]
        row = {
            "broken": way.name,
            "expected": way.expected,
            "failed": [finding.name for finding in failed],
            "named": [finding.name for finding in failed] == [way.expected] * bool(way.expected),
            "found": {finding.name: finding.found for finding in findings},
            "suite": config.suite,
            "task": config.task,
            "seconds": round(time.perf_counter() - started, 1),
        }
        append_row("diagnosis", row)
        print(f"{way.name:30} {row['found']['episodes']:20} {'; '.join(row['failed']) or '-'}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config))
