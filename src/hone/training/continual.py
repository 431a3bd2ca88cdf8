"""One task after another: what was learned before helps, or is lost; with and without memory.

An arm says what a task starts from, and who acts on an earlier task when it is looked at again:

    memory             the base policy, and what memory has for the instruction (nearest tasks first)
    random_retrieval   the base policy, and anything from memory (a control)
    no_memory          the base policy, always
    sequential         the policy of the task before; whoever learned last acts on everything (LIBERO's lower bound)

All success rates are greedy, on validation placements in the training environment, so that those during a task and
those after later ones compare. Departure from LIBERO: what is carried on and looked at again is the policy of a task's
last update and not of its best evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from hone.errors import HoneError, unknown_name
from hone.evaluation.lifelong import area_under_curve, forward_transfer, negative_backward_transfer
from hone.evaluation.progress import SILENT, Progress
from hone.evaluation.run_folder import RunFolder, open_run, read_json, read_rows, write_json
from hone.evaluation.runner import Setup, evaluate, protocol_card
from hone.memory import Memory, Retrieval
from hone.policies import load_policy
from hone.policies.learned import LearnedPolicy
from hone.seeding import torch_generator
from hone.training.checkpoint import load_latest
from hone.training.improve import VALIDATION_SEEDS, ImproveConfig, improve
from hone.training.warm_start import warm_start
from hone.training.workers import RolloutPool
from hone.types import Task

ARMS: Mapping[str, Retrieval | None] = {
    "memory": "similar",
    "random_retrieval": "random",
    "no_memory": "none",
    "sequential": None,
}
"""How each arm asks its memory; `None` carries the policy on instead."""


def learn_in_turn(practice: ImproveConfig, arm: str, folder: Path, progress: Progress = SILENT) -> dict[str, Any]:
    """Practise `practice.chosen_tasks` in their order from `practice.policy`, in `folder` or what is left of it.

    Each task is one run of `improve`, `folder/0`, `folder/1`, … Returns LIBERO's measures with what they are made of.
    """
    if arm not in ARMS:
        raise unknown_name("arm", arm, ARMS)
    tasks = practice.chosen_tasks
    if len(tasks) < 2 or practice.policy is None:
        raise HoneError("learning in turn needs at least two tasks (tasks), and a policy to start from (policy).")
    open_run(RunFolder(folder), {**asdict(practice), "arm": arm})
    curves, later, rollouts = [], np.full((len(tasks), len(tasks)), np.nan), 0
    for turn, task in enumerate(tasks):
        config = settings(practice, arm, folder, turn)
        rollouts += improve(config, progress)["rollouts"]
        points = read_rows(RunFolder(config.output).evaluations)
        curves.append([point["per_task"][task.name]["success_rate"] for point in points])
        looked = folder / f"after-{turn}.json"
        if not looked.exists():
            found = {other.name: success(config, arm, folder, turn, other) for other in tasks[:turn]}
            write_json(looked, found)
        for column, rate in enumerate(read_json(looked).values()):
            later[turn, column] = rate
    learned = np.array(curves)
    return {
        "arm": arm,
        "tasks": [task.name for task in tasks],
        "forward_transfer": forward_transfer(learned),
        "negative_backward_transfer": negative_backward_transfer(learned, later),
        "area_under_curve": area_under_curve(learned, later),
        "curves": curves,
        "later": [[None if np.isnan(rate) else rate for rate in row] for row in later.tolist()],
        "rollouts": rollouts,
    }


def settings(practice: ImproveConfig, arm: str, folder: Path, turn: int) -> ImproveConfig:
    """The run of one task."""
    task, retrieval = practice.chosen_tasks[turn], ARMS[arm]
    config = replace(practice, tasks=(task.index,), output=folder / str(turn))
    if retrieval is not None:
        return replace(config, memory=folder / "memory", retrieval=retrieval)
    return config if turn == 0 else replace(config, policy=_last_policy(folder / str(turn - 1)))


def success(config: ImproveConfig, arm: str, folder: Path, turn: int, task: Task) -> float:
    """Success on an earlier task once the task of this turn was learned."""
    policy = _acting(config, arm, folder, turn, task)
    env = config.env.seen_by(policy.spec).for_practice(config.train_step_cap, stop_at_success=True)
    setup = Setup((task,), "sampled", tuple(VALIDATION_SEEDS[: config.curve_placements]), seed=config.seed)
    with RolloutPool(env, policy, config.workers, config.slots) as pool:
        found = evaluate(pool, policy, setup, lambda s: protocol_card(s, env, policy), hold=False)
    return found.summary()["success_rate"]


def _acting(config: ImproveConfig, arm: str, folder: Path, turn: int, task: Task) -> LearnedPolicy:
    retrieval = ARMS[arm]
    if retrieval is None:
        return load_policy(_last_policy(folder / str(turn)))
    assert config.policy is not None
    policy = load_policy(config.policy)
    policy.train_encoder = config.train_encoder
    generator = torch_generator(config.seed, "recall", turn, task.index)
    warm_start(Memory.open(folder / "memory"), policy, [task], retrieval, generator)
    return policy


def _last_policy(run: Path) -> Path:
    checkpoint = load_latest(run)
    assert checkpoint is not None, f"{run} has no checkpoint"
    return checkpoint.policy_folder
