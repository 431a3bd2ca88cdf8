"""What a loss term adds to cloning: with and without it, from the same demonstrations, with as many optimizer steps.

Two lines of the table, both with the privileged state policy, whose rollouts cost no pictures, under `fast` physics.
"goal": three tasks of libero_goal that take one bowl in one scene to different places, one demonstration of each.
"rests": libero_object, whose demonstrations rest before the hand closes and opens. Seeds, arms and budgets are named
here beforehand. Every line, arm and seed leaves a row in results/objectives.jsonl; what has one is skipped, so a run
that was stopped goes on.

    python benchmarks/objectives.py
    python benchmarks/objectives.py --table
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import tyro

from hone.data.demonstrations import collect_demonstrations
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import task
from hone.evaluation.results import EvaluationResult
from hone.evaluation.run_folder import read_rows
from hone.evaluation.runner import Instruction, Setup, evaluate, protocol_card
from hone.evaluation.stats import wilson_interval
from hone.policies.heads import DCTHeadConfig, FlowHeadConfig, HeadConfig
from hone.policies.sampling import AS_SAVED, Sampling
from hone.policies.small import SmallPolicy, SmallPolicyConfig
from hone.primitives.expert import Manner
from hone.seeding import derive_seed, torch_generator
from hone.training.behavior_cloning import BehaviorCloningConfig, clone
from hone.training.objectives import MinimumErrorEntropy, PointwiseMutualInformation, Terms
from hone.training.workers import RolloutPool
from hone.types import Episode, Task
from rows import RESULTS, append_row, finished

SEEDS = (95, 96, 97)


@dataclass(frozen=True)
class Arm:
    """What is changed: of the loss, of what is predicted, and of how it is sampled."""

    terms: Terms = field(default_factory=Terms)
    past_length: int = 0
    sampling: Sampling = AS_SAVED


@dataclass(frozen=True)
class Row:
    """One line of the table: what is cloned, and what its arms are."""

    suite: str
    tasks: tuple[int, ...]
    demos: int
    steps: int
    arms: dict[str, Arm]
    manner: Manner = field(default_factory=Manner)
    head: HeadConfig = field(default_factory=DCTHeadConfig)
    probes: tuple[Instruction, ...] = ("own",)

    @property
    def chosen_tasks(self) -> tuple[Task, ...]:
        return tuple(task(self.suite, index) for index in self.tasks)


BEST_OF_8 = Sampling(best_of=8, exploration=0.01)
ROWS = {
    "goal": Row(
        "libero_goal",
        (1, 4, 8),
        demos=1,
        steps=300,
        probes=("own", "other_task"),
        arms={
            "plain": Arm(),
            "mee": Arm(Terms(mee=MinimumErrorEntropy(0.01))),
            "pmi": Arm(Terms(pmi=PointwiseMutualInformation(0.01))),
        },
    ),
    "rests": Row(
        "libero_object",
        (0, 1, 2),
        demos=6,
        steps=3000,
        manner=Manner(longest_rest=19),
        head=FlowHeadConfig(hidden_sizes=(256, 256), steps=4),
        arms={
            "plain": Arm(),
            "mee": Arm(Terms(mee=MinimumErrorEntropy(0.01))),
            "ptp": Arm(past_length=8),
            "ptp_verified": Arm(past_length=8, sampling=replace(BEST_OF_8, choose="past")),
            "plain_best_of_8": Arm(sampling=BEST_OF_8),
        },
    ),
}


@dataclass(frozen=True)
class Config:
    rows: tuple[str, ...] = tuple(ROWS)
    """Lines of the table."""
    arms: tuple[str, ...] = ()
    """Arms; all of the row, if none is given."""
    seeds: tuple[int, ...] = SEEDS
    placements: int = 10
    """Per task."""
    placement_kind: Literal["official", "sampled"] = "official"
    """`sampled` is for choosing settings; nothing is written then."""
    table: bool = False
    """Print the table of what is there, and run nothing."""


def main(config: Config) -> None:
    if config.table:
        print_table(read_rows(RESULTS / "objectives.jsonl"))
        return
    for seed in config.seeds:
        for name in config.rows:
            row = ROWS[name]
            missing = [
                arm
                for arm in config.arms or row.arms
                if config.placement_kind == "sampled" or not finished("objectives", row=name, arm=arm, seed=seed)
            ]
            episodes = demonstrations(row, seed) if missing else []
            for arm in missing:
                line = {"row": name, "arm": arm, "seed": seed, **measured(row, row.arms[arm], seed, episodes, config)}
                if config.placement_kind == "sampled":
                    print({key: value for key, value in line.items() if key != "settings"}, flush=True)
                else:
                    append_row("objectives", {**line, "command": f"python benchmarks/objectives.py --seeds {seed}"})


def demonstrations(row: Row, seed: int) -> list[Episode]:
    env = LiberoConfig(images=False, state_tokens="objects_v1", stop_at_success=False).build(8)
    try:
        return collect_demonstrations(env, row.chosen_tasks, per_task=row.demos, seed=seed, manner=row.manner)
    finally:
        env.close()


def measured(row: Row, arm: Arm, seed: int, episodes: Sequence[Episode], config: Config) -> dict[str, Any]:
    """Clone and evaluate: one seed of one arm, CPU seconds of both beside the rates."""
    network = SmallPolicyConfig(inputs="state", past_length=arm.past_length, head=row.head)
    cloning = BehaviorCloningConfig(steps=row.steps, terms=arm.terms)
    policy = network.build(derive_seed(seed, "weights") % 2**31)
    started = time.process_time()
    metrics = clone(policy, episodes, cloning, torch_generator(seed, "clone"))
    cloned = time.process_time()
    results = {probe: evaluated(row, arm, policy, seed, probe, config) for probe in row.probes}
    return {
        "loss": metrics["loss"],
        **{f"success_{probe}": tally(result) for probe, result in results.items()},
        "clone_cpu_s": round(cloned - started, 1),
        "evaluate_cpu_s": round(time.process_time() - cloned, 1),
        "protocol_hash": results["own"].protocol.hash(),
        "settings": {"row": {k: v for k, v in asdict(row).items() if k != "arms"}, "arm": asdict(arm)},
    }


def evaluated(
    row: Row, arm: Arm, policy: SmallPolicy, seed: int, probe: Instruction, config: Config
) -> EvaluationResult:
    env = LiberoConfig(images=False, state_tokens="objects_v1", physics="fast")
    decoding = "sampled" if arm.sampling.best_of > 1 else "greedy"
    setup = Setup(row.chosen_tasks, config.placement_kind, tuple(range(config.placements)), decoding, probe, seed)
    runs = arm.sampling.apply(policy)
    with RolloutPool(env, runs, 0, 20) as pool:
        return evaluate(
            pool, runs, setup, lambda s: protocol_card(s, env, runs, arm.sampling.label), policy_name=probe, hold=False
        )


def tally(result: EvaluationResult) -> dict[str, Any]:
    summary = result.summary()
    return {key: summary[key] for key in ("successes", "episodes", "success_rate")}


def print_table(lines: Sequence[dict[str, Any]]) -> None:
    """One line per row and arm: success of all seeds together with its interval, then of each seed."""
    print("| row | arm | seeds | success, % | each | told another task, % |")
    print("|---|---|---|---|---|---|")
    for name, row in ROWS.items():
        for arm in row.arms:
            found = sorted((x for x in lines if (x["row"], x["arm"]) == (name, arm)), key=lambda x: x["seed"])
            if not found:
                continue
            seeds = ", ".join(str(x["seed"]) for x in found)
            each = ", ".join(f"{100 * x['success_own']['success_rate']:.1f}" for x in found)
            other = pooled([x["success_other_task"] for x in found]) if "other_task" in row.probes else "-"
            print(f"| {name} | {arm} | {seeds} | {pooled([x['success_own'] for x in found])} | {each} | {other} |")


def pooled(tallies: Sequence[dict[str, Any]]) -> str:
    successes, episodes = (sum(x[key] for x in tallies) for key in ("successes", "episodes"))
    low, high = wilson_interval(successes, episodes)
    return f"{100 * successes / episodes:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
