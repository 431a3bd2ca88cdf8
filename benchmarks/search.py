"""Search before acting: success against simulator steps, from one half-trained policy, on paired initial states.

    python benchmarks/search.py             # the named matrix: docs/algorithms/search.md
    python benchmarks/search.py --table     # what is there of it, as a table and as docs/search.svg

Per suite and seed: a state-token policy is cloned from a few demonstrations until it half works, rolled out on sampled
placements, and a value and a library of chunks are fitted to that. Then every arm acts on the official initial states
with at most as many simulated control steps an episode as the others. One row per suite, seed, arm and budget in
results/search.jsonl; policies and values are kept in runs/, and it resumes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.suites import task as find_task
from hone.envs.libero.suites import tasks as suite_tasks
from hone.evaluation.results import EvaluationResult
from hone.evaluation.run_folder import read_json, read_rows, write_json
from hone.evaluation.runner import Setup, evaluate, protocol_card
from hone.evaluation.stats import paired_bootstrap, verdict, wilson_interval
from hone.planning.candidates import CandidateConfig
from hone.planning.macros import MacroLibrary
from hone.planning.mcts import MctsConfig
from hone.planning.planners import ModelError, label, settings
from hone.planning.preparation import LIBRARY, VALUES, PreparationConfig, fit, practice_requests
from hone.planning.teaching import TeachingConfig, taught, teach
from hone.planning.tree_search import SearchConfig, SearchPlanning
from hone.planning.value import ShuffledValue, ValueConfig, ValueHead
from hone.policies import load_policy
from hone.policies.learned import LearnedPolicy
from hone.seeding import torch_generator
from hone.training.workers import RolloutPool
from hone.types import Task
from rows import RESULTS, append_row, finished
from search_start import Start, half_trained

log = logging.getLogger(__name__)

NAME = "search"


SUITES = {
    "libero_object": Start(1, (20, 25, 32, 40, 50, 64, 80)),
    "libero_10": Start(8, (700, 1000, 1400, 2000, 2800, 4000), state_tokens="objects_v2"),
}
ARMS = ("policy", "best-of-n", "vlaps", "v-vlaps", "v-vlaps-0.2", "v-vlaps-0", "shuffled-value", "oracle-value")
"""`v-vlaps` has lambda 0.5, as does its control with shuffled values; numbers are other lambdas, 0 without rollouts."""
NEVER_GIVES_UP = "v-vlaps-never-gives-up"
"""`v-vlaps` whose value says where to branch, and not when a rollout has failed."""
WRONG = ModelError(friction=0.6, mass=1.5)
WRONG_ARMS = ("vlaps-wrong-model", "v-vlaps-wrong-model")
TAUGHT_ARMS = ("taught-visits", "taught-executed")
"""The policy alone, after what VLAPS found in practice was distilled into it: by visits, or what was executed."""


@dataclass(frozen=True)
class Config:
    suites: tuple[str, ...] = ("libero_object", "libero_10")
    seeds: tuple[int, ...] = (110, 111, 112)
    """Named beforehand; 200 and above are for tuning."""
    arms: tuple[str, ...] = (*ARMS, NEVER_GIVES_UP, *WRONG_ARMS, *TAUGHT_ARMS)
    budgets: tuple[int, ...] = (500, 2500)
    """Simulated control steps an episode."""
    placements: int = 10
    """Per task."""
    tasks: tuple[int, ...] = ()
    """All of the suite if none is given."""
    sampled: bool = False
    """Sampled placements of the validation range in place of the official initial states: for tuning."""
    practice: int = 8
    """Sampled placements per task that the taught arms practise on."""
    slots: int = 16
    preparation: PreparationConfig = field(default_factory=PreparationConfig)
    value: ValueConfig = field(default_factory=ValueConfig)
    candidates: CandidateConfig = field(default_factory=CandidateConfig)
    mcts: MctsConfig = field(default_factory=lambda: MctsConfig(simulations=300, wave=1))
    """Rollouts of a wave would share the budget, and none would come to an end."""
    output: Path = Path("runs/benchmark-search")
    table: bool = False
    """Print the table of what is there, draw `docs/search.svg`, and run nothing."""


def main(config: Config) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    if config.table:
        rows = [row for row in read_rows(RESULTS / f"{NAME}.jsonl") if row["placement_kind"] == "official"]
        print_table([*rows, *pooled(rows)])
        draw(rows, Path(__file__).parents[1] / "docs" / "search.svg")
        return
    for seed in config.seeds:
        for suite in config.suites:
            policy, folder, metrics = prepared(config, suite, seed)
            for budget in config.budgets:
                for arm in config.arms:
                    keys = {"suite": suite, "seed": seed, "arm": arm, "placement_kind": kind(config)}
                    keys |= {"budget": 0 if arm == "policy" else budget, "episodes": episodes(config, suite)}
                    if not finished(NAME, **keys):
                        log.info("%s", keys)
                        row = {**keys, **run_arm(config, arm, budget, policy, folder, suite), **metrics}
                        append_row(NAME, {**row, **compared(row, read_rows(RESULTS / f"{NAME}.jsonl"))})


def environment(suite: str) -> LiberoConfig:
    return LiberoConfig(physics="fast", images=False, state_tokens=SUITES[suite].state_tokens)


def kind(config: Config) -> str:
    return "sampled" if config.sampled else "official"


def chosen_tasks(config: Config, suite: str) -> tuple[Task, ...]:
    return tuple(find_task(suite, index) for index in config.tasks) or suite_tasks(suite)


def episodes(config: Config, suite: str) -> int:
    return config.placements * len(chosen_tasks(config, suite))


def prepared(config: Config, suite: str, seed: int) -> tuple[LearnedPolicy, Path, dict[str, Any]]:
    """The policy, its value and its library, made where they are not there yet; and how good the value is."""
    folder = config.output / f"{suite}-{seed}"
    env = environment(suite)
    policy = half_trained(folder / "policy", suite, SUITES[suite], env, config.slots, seed)
    preparation = replace(config.preparation, seed=seed)
    where = folder / "value"
    if not (where / "metrics.json").exists():
        acting = load_policy(str(folder / "policy"))
        assert isinstance(acting, LearnedPolicy)
        acting.train_encoder = False
        acting.exploration = preparation.noise
        with RolloutPool(env, acting, 0, config.slots) as pool:
            seen = pool.collect(practice_requests(suite_tasks(suite), preparation), keep="features")
        write_json(where / "metrics.json", fit(seen, config.value, preparation, where))
    metrics = read_json(where / "metrics.json")
    log.info("%s seed %d: %s", suite, seed, metrics)
    start = read_json(folder / "start.json")
    return policy, where, {"value_auc": metrics["states"]["auc"], "value": metrics["states"], "start": start}


def run_arm(config: Config, arm: str, budget: int, policy: LearnedPolicy, folder: Path, suite: str) -> dict[str, Any]:
    """One row: success, what it cost, and where it failed."""
    started = time.process_time()
    search, error = searching(config, arm, budget)
    planner = "best-of-n" if arm == "best-of-n" else "vlaps" if search.rollout_share == 1 else "vvlaps"
    tasks, env = chosen_tasks(config, suite), environment(suite)
    practice: dict[str, Any] = {}
    if arm in TAUGHT_ARMS:
        policy, practice = after_teaching(config, arm, search, folder, tasks, env)
    alone = arm == "policy" or arm in TAUGHT_ARMS
    setup = Setup(tasks, "sampled" if config.sampled else "official", tuple(range(config.placements)))
    planning = None if alone else arm_planning(arm, search, error, folder, env)
    said = "" if alone else f"{arm}: {label(planner, search, error)}"
    with RolloutPool(env, policy, 0, config.slots) as pool:
        result = evaluate(
            pool,
            policy,
            setup,
            lambda s: replace(protocol_card(s, env, policy), planner=said),
            planning=planning,
            hold=False,
        )
    return {
        **measured(result),
        **practice,
        "rollout_share": None if alone else search.rollout_share,
        "planner": said,
        "perfect_simulator": error.none,
        "cpu_seconds": time.process_time() - started,
    }


def searching(config: Config, arm: str, budget: int) -> tuple[SearchConfig, ModelError]:
    """What an arm searches with. An arm without rollouts spreads its budget over the decisions of an episode; one
    with rollouts spends it as it goes, as VLAPS does."""
    error = WRONG if arm in WRONG_ARMS else ModelError()
    base = SearchConfig(config.mcts, config.candidates, step_budget=budget)
    if arm == "best-of-n":
        noise = config.preparation.noise  # whole episodes at the search's own noise fail more often
        return settings("best-of-n", replace(base, candidates=replace(config.candidates, noise=noise))), error
    if arm.startswith("vlaps") or arm in TAUGHT_ARMS:
        return settings("vlaps", base), error
    if arm == NEVER_GIVES_UP:
        return replace(base, give_up=0.0), error
    share = {"v-vlaps-0.2": 0.2, "v-vlaps-0": 0.0, "oracle-value": 0.0}.get(arm, base.rollout_share)
    if share > 0:
        return replace(base, rollout_share=share), error
    spread = max(4, budget // 250)
    return replace(base, rollout_share=0.0, mcts=replace(base.mcts, simulations=spread)), error


def after_teaching(
    config: Config, arm: str, search: SearchConfig, folder: Path, tasks: tuple[Task, ...], env: LiberoConfig
) -> tuple[LearnedPolicy, dict[str, Any]]:
    """A copy of the policy, taught by VLAPS on sampled placements, and what the practice cost."""
    policy = load_policy(str(folder.parent / "policy"))
    assert isinstance(policy, LearnedPolicy)
    policy.train_encoder = False
    planning = SearchPlanning(search, env, None, MacroLibrary.load(folder / LIBRARY), keep_targets=True)
    asked = [
        replace(request, greedy=True)
        for request in practice_requests(tasks, PreparationConfig(config.practice, seed=1))
    ]
    with RolloutPool(env, policy, 0, config.slots) as pool:
        found = pool.collect(asked, keep="features", planning=planning)
    teaching = TeachingConfig(visits=arm == "taught-visits")
    metrics = teach(policy, taught(found, teaching), teaching, torch_generator(0, "teach"))
    spent = sum((trajectory.report or {})["search"]["simulator_steps"] for trajectory in found)
    practice = {"episodes": len(found), "solved": sum(t.success for t in found), "simulator_steps": spent}
    return policy, {"practice": practice, "teaching": metrics}


def arm_planning(arm: str, search: SearchConfig, error: ModelError, folder: Path, env: LiberoConfig) -> SearchPlanning:
    copies = replace(env, friction=error.friction, mass=error.mass)
    library = MacroLibrary.load(folder / LIBRARY)
    value = None
    if arm == "shuffled-value":
        value = ShuffledValue(np.load(folder / VALUES, allow_pickle=False), seed=0)
    elif arm.startswith("v-vlaps"):
        value = ValueHead.load(folder)
    return SearchPlanning(search, copies, value, library, faithful=error.none, oracle=arm == "oracle-value")


def measured(result: EvaluationResult) -> dict[str, Any]:
    summary = result.summary()
    reports = [(e, e.report["search"]) for e in result.episodes if e.report is not None and "search" in e.report]
    row: dict[str, Any] = {key: summary[key] for key in ("success_rate", "low", "high", "successes", "faults")}
    row["per_task"] = {name: tally["success_rate"] for name, tally in summary["per_task"].items()}
    row["outcomes"] = "".join(str(int(episode.success)) for episode in result.episodes)
    row["env_steps"] = summary["cost"]["env_steps"]
    row["simulator_steps"] = summary["cost"]["simulator_steps"] / len(result.episodes)
    row["core_seconds"] = summary["cost"]["core_seconds"]
    row["protocol_hash"] = summary["protocol_hash"]
    if reports:
        row["search"] = summary["search"]
        for name, good in (("solved", True), ("failed", False)):
            of = [report for episode, report in reports if episode.success == good]
            spreads = [spread for report in of for spread in report["root_value_spread"]]
            depths = [depth for report in of for depth in report["depths"]]
            row[f"root_value_spread_{name}"] = float(np.mean(spreads)) if spreads else None
            row[f"depth_{name}"] = float(np.mean(depths)) if depths else None
    return row


def compared(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Paired differences to those of `rows` that it is held against: the policy, and VLAPS and best-of-n at the same
    budget."""
    names = [name for name in row["per_task"] for _ in range(row["episodes"] // len(row["per_task"]))]
    found: dict[str, Any] = {}
    for other, budget in (("policy", 0), ("vlaps", row["budget"]), ("best-of-n", row["budget"])):
        same = {key: row[key] for key in ("suite", "seed", "placement_kind", "episodes")}
        wanted = {**same, "arm": other, "budget": budget}
        theirs = [r for r in rows if all(r.get(k) == v for k, v in wanted.items())]
        if theirs and row["arm"] not in ("policy", other):
            difference = paired_bootstrap(_bits(theirs[-1]), _bits(row), tasks=names)
            found[f"over_{other}"] = {**asdict(difference), "verdict": verdict(difference)}
    return found


def _bits(row: Mapping[str, Any]) -> np.ndarray:
    return np.array([letter == "1" for letter in row["outcomes"]])


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line per suite, seed, budget and arm; differences are paired, in points, and bold where they are shown."""
    others = ("policy", "vlaps", "best-of-n")
    print("| suite, seed | budget | arm | success, % | simulated | " + " | ".join(f"over {o}" for o in others) + " |")
    print("|---|---|---|---|---|---|---|---|")
    for row in sorted(
        rows, key=lambda row: (row["suite"] != "libero_object", len(str(row["seed"])), row["seed"], row["budget"])
    ):
        held = compared(row, rows)  # also against what was run later
        differences = [_points(held.get(f"over_{other}")) for other in others]
        rate = f"{row['success_rate']:.1%} [{row['low']:.1%}, {row['high']:.1%}]".replace("%", "")
        cells = [f"{row['suite']}, {row['seed']}", f"{row['budget']:,}", row["arm"], rate]
        print("| " + " | ".join([*cells, f"{row['simulator_steps']:,.0f}", *differences]) + " |")


def pooled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each arm and budget that several seeds of a suite have, over all their episodes."""
    found = []
    for suite, arm, budget in dict.fromkeys((row["suite"], row["arm"], row["budget"]) for row in rows):
        of = [row for row in rows if (row["suite"], row["arm"], row["budget"]) == (suite, arm, budget)]
        if len(of) > 1:
            solved, count = sum(row["successes"] for row in of), sum(row["episodes"] for row in of)
            low, high = wilson_interval(solved, count)
            found.append(
                {
                    **{"suite": suite, "arm": arm, "budget": budget, "placement_kind": of[0]["placement_kind"]},
                    **{"seed": " and ".join(str(row["seed"]) for row in of), "episodes": count},
                    **{"success_rate": solved / count, "low": low, "high": high},
                    "simulator_steps": float(np.mean([row["simulator_steps"] for row in of])),
                    "outcomes": "".join(row["outcomes"] for row in of),
                    "per_task": {f"{row['seed']} {name}": rate for row in of for name, rate in row["per_task"].items()},
                }
            )
    return found


def _points(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return ""
    said = f"{100 * difference['mean']:+.0f} [{100 * difference['low']:+.0f}, {100 * difference['high']:+.0f}]"
    return said if difference["verdict"] == "inconclusive" else f"**{said}**"


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Success with 95 % intervals against simulated steps an episode: a panel per suite and seed, a colour per arm.
    Each line begins at the policy alone."""
    from matplotlib import pyplot

    pyplot.rcParams.update(
        {"svg.hashsalt": "hone", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    panels = sorted({(row["suite"], row["seed"]) for row in rows}, key=lambda key: (key[0] != "libero_object", key))
    arms = [arm for arm in Config().arms if any(row["arm"] == arm for row in rows)]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.4 * len(panels), 3.6), sharey=True, squeeze=False)
    for axis, (suite, seed) in zip(axes[0], panels, strict=True):
        of = [row for row in rows if (row["suite"], row["seed"]) == (suite, seed)]
        for number, arm in enumerate(arms):
            line = sorted((row for row in of if row["arm"] in (arm, "policy")), key=lambda row: row["simulator_steps"])
            if not any(row["arm"] == arm for row in line):
                continue
            steps, success, low, high = (
                np.array([row[name] for row in line]) for name in ("simulator_steps", "success_rate", "low", "high")
            )
            axis.errorbar(
                steps,
                100 * success,
                100 * np.stack([success - low, high - success]),
                color=f"C{number % 10}",
                marker="os"[number // 10],
                markersize=4,
                elinewidth=0.6,
                capsize=2,
                label=arm,
            )
        axis.set(title=f"{suite}, seed {seed}", xlabel="simulated steps an episode", ylim=(0, 102))
        axis.set_xlim(left=-20)
    axes[0, 0].set_ylabel("success, %")
    handles = {label: h for axis in axes[0] for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
