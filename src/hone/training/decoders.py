"""Every action decoder under the same conditions: one data set, one backbone, one training budget.

What benchmarks/decoders.py is made of: the demonstrations of a seed, a clone of each head from them, the same weights
decoded in another way, and its success with what a decision cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hone.data.demonstrations import demonstrate, requests
from hone.data.episodes import EpisodeWriter, read_episodes, read_headers
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import tasks as suite_tasks
from hone.errors import HoneError
from hone.evaluation.results import EvaluationResult
from hone.evaluation.runner import Setup, evaluate, protocol_card
from hone.evaluation.smoothness import WatchedPolicy
from hone.evaluation.stats import Difference, paired_bootstrap
from hone.policies import load_policy
from hone.policies.heads import (
    HEADS,
    DiscreteDiffusionHeadConfig,
    EqMHeadConfig,
    FlowHeadConfig,
    HeadConfig,
    HybridHeadConfig,
    ScoreHeadConfig,
)
from hone.policies.receding import RecedingPolicy
from hone.policies.small import SmallPolicy, SmallPolicyConfig
from hone.seeding import derive_seed, torch_generator
from hone.training.behavior_cloning import BehaviorCloningConfig, ChunkDataset, clone
from hone.training.workers import RolloutPool
from hone.types import Episode, Task


@dataclass(frozen=True)
class Conditions:
    """What is the same for all heads."""

    suite: str = "libero_spatial"
    demos: int = 3
    """Demonstrations per task, undisturbed and without rests."""
    network: SmallPolicyConfig = field(default_factory=lambda: SmallPolicyConfig(inputs="state"))
    """The backbone; its head is replaced."""
    cloning: BehaviorCloningConfig = field(default_factory=lambda: BehaviorCloningConfig(steps=600))
    env: LiberoConfig = field(default_factory=LiberoConfig)
    slots: int = 50
    """Environments that run side by side, in this process."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        return suite_tasks(self.suite)


DRAWS = 8
"""Noises for each pair in the loss of a denoising head. A step then takes 45 ms, still far less than one of a token
head; the chunk of a flow was a third nearer to the demonstrated one (seed 100)."""


def configured(name: str) -> HeadConfig:
    """The head as it is cloned for comparison: by default, but for `DRAWS`."""
    head = HEADS[name]()
    if isinstance(head, FlowHeadConfig | EqMHeadConfig | ScoreHeadConfig | HybridHeadConfig):
        return replace(head, draws=DRAWS)
    return head


def demonstrations(conditions: Conditions, seed: int, folder: Path) -> list[Episode]:
    """The demonstrations of a seed, recorded in `folder` as far as they are not there yet."""
    env = replace(conditions.env.seen_by(conditions.network.spec), stop_at_success=False)
    provenance = {"suite": conditions.suite, "seed": seed, "state_tokens": env.state_tokens}
    writer = EpisodeWriter(folder, env.spec, provenance)
    if wanted := requests(conditions.tasks, conditions.demos, read_headers(folder)):
        stage = env.build(conditions.slots)
        try:
            for episode in demonstrate(stage, wanted, seed=seed):
                writer.write(episode)
        finally:
            stage.close()
    return sorted(read_episodes(folder), key=lambda e: (e.task, e.metadata["number"]))


def cloned(
    conditions: Conditions,
    head: str,
    seed: int,
    folder: Path,
    *,
    config: HeadConfig | None = None,
    snapshots: Sequence[int] = (),
) -> SmallPolicy:
    """The clone with this head in `folder/head-SEED/LAST`, learned first if it is not there. A `config` other than
    the compared one goes by a name of its own (`head`).

    On the way it leaves one in `folder/head-SEED/STEP` for each of `snapshots`. The backbone begins with the same
    weights whatever the head is.
    """
    home = folder / f"{head}-{seed}"
    last = home / str(conditions.cloning.steps)
    if not last.exists() or any(not (home / str(step)).exists() for step in snapshots):
        episodes = demonstrations(conditions, seed, folder / f"demonstrations-{seed}")
        policy = replace(conditions.network, head=config or configured(head)).build(
            derive_seed(seed, "weights") % 2**31
        )

        def keep(state: Any) -> None:
            if state.step in snapshots:
                policy.save_pretrained(home / str(state.step))

        clone(policy, episodes, conditions.cloning, torch_generator(seed, "clone"), on_step=keep)
        policy.save_pretrained(last)
    policy = load_policy(last)
    assert isinstance(policy, SmallPolicy)
    return policy


def redecoded(policy: SmallPolicy, head: HeadConfig) -> SmallPolicy:
    """The same weights under another configuration of the same head."""
    if type(head) is not type(policy.config.head):
        raise HoneError(f"a {type(policy.config.head).__name__} cannot be decoded as a {type(head).__name__}.")
    other = replace(policy.config, head=head).build()
    other.load_state_dict(policy.state_dict())
    return other


def with_budget(head: HeadConfig, evaluations: int) -> HeadConfig | None:
    """The head with so many evaluations of its iterated network for every chunk; `None` where it has no such knob.

    Equilibrium matching gets no residual stop, and a step that crosses the whole way where there are few. The tokens of
    `hybrid` come on top.
    """
    if isinstance(head, FlowHeadConfig | ScoreHeadConfig | HybridHeadConfig):
        return replace(head, steps=evaluations)
    if isinstance(head, EqMHeadConfig):
        whole_way = 1 / (head.gradient_scale * evaluations)
        return replace(head, steps=evaluations, residual=0.0, step_size=max(head.step_size, whole_way))
    if isinstance(head, DiscreteDiffusionHeadConfig):
        return replace(head, rounds=evaluations)
    return None


def chunk_error(policy: SmallPolicy, demonstrated: ChunkDataset, rows: int, generator: torch.Generator) -> float:
    """Mean absolute difference, in action units, of greedy chunks from those demonstrated at `rows` steps."""
    pairs = demonstrated.draw(rows, True, generator)
    actions, real = demonstrated.targets(pairs)
    errors = np.abs(policy.predict_action_chunk(demonstrated.observation(pairs)).numpy() - actions)
    return float(errors[real].mean())


def measure(
    conditions: Conditions,
    policy: SmallPolicy,
    setup: Setup,
    *,
    execute: int | None = None,
    trust: float | None = None,
    on_episode: Callable[[Any], None] | None = None,
) -> EvaluationResult:
    """Success of `policy` on `setup`, where it executes the first actions of each chunk (all of them, if not said) and
    starts the next one from the rest, if `trust` is given."""
    acting = WatchedPolicy(RecedingPolicy(policy, execute or policy.chunk_length, trust))
    env = conditions.env.seen_by(policy.spec)
    with RolloutPool(env, acting, 0, conditions.slots) as pool:
        return evaluate(pool, acting, setup, lambda s: protocol_card(s, env, acting), hold=False, on_episode=on_episode)


def line(result: EvaluationResult) -> dict[str, Any]:
    """Of an evaluation by `measure`: success, evaluations per decision, jerk, and how each episode ended.

    `outcomes` has a character per episode in the order of the setup: 1 success, 0 failure, x fault. With it, any two
    lines of one setup can be compared in pairs.
    """
    reports = [episode.report or {} for episode in result.episodes]
    spent = np.concatenate([report["evaluations"] for report in reports])
    summary = result.summary()
    return {
        **{key: summary[key] for key in ("success_rate", "low", "high", "episodes", "faults", "protocol_hash")},
        "per_task": {name: tally["success_rate"] for name, tally in summary["per_task"].items()},
        "evaluations": float(spent.mean()),
        "evaluations_p95": float(np.percentile(spent, 95)),
        "jerk_seam": _mean([report["jerk_seam"] for report in reports]),
        "jerk_inside": _mean([report["jerk_inside"] for report in reports]),
        "outcomes": "".join({"success": "1", "failure": "0", "error": "x"}[e.status] for e in result.episodes),
    }


def paired(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Difference:
    """Success of the second lines minus that of the first, over the episodes of the seeds that both have.

    Both are of the same setup. A pair of which one episode is a fault is left out; `HoneError` where none remains.
    """
    ends: list[tuple[str, str, str]] = []
    for first in before:
        for second in (line for line in after if line["seed"] == first["seed"]):
            if first["protocol_hash"] != second["protocol_hash"]:
                raise HoneError(f"two lines of seed {first['seed']} were measured under different protocols.")
            each = len(first["outcomes"]) // len(first["per_task"])
            names = [name for name in first["per_task"] for _ in range(each)]
            ends += zip(names, first["outcomes"], second["outcomes"], strict=True)
    valid = [end for end in ends if "x" not in end[1:]]
    if not valid:
        raise HoneError("these lines have no pair of valid episodes of the same seed to compare.")
    tasks, one, other = zip(*valid, strict=True)
    return paired_bootstrap(np.array(one) == "1", np.array(other) == "1", tasks=tasks)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
