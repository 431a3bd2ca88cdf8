"""How a policy should turn features into actions: nine decoders, one data set, one backbone, one training budget.

Parts (docs/algorithms/decoders.md says what each is for):

    target    what a denoising head's network is to say: the chunk, or what the papers have
    success   every head at every number of evaluations it can be given: official states, jerk at chunk seams
    modes     a target with two modes, in closed form: does the head find both, and nothing in between?
    eqm       {flow, eqm} x {fixed, residual stop} x {cold, warm start} at matched evaluations
    residual  success of flow and eqm against the residual at which they stop
    latency   one decision on one core: one row or 32, one candidate or 8
    grpo      practice from starts matched within 5 points: rollouts to 20 points more

Seeds and settings are named here beforehand; settings were chosen on seeds from 100 up and on sampled placements. Every
finished cell and seed is a line of results/decoders.jsonl; what has one is skipped, and a run that was stopped goes on.

    python benchmarks/decoders.py
    python benchmarks/decoders.py --parts latency modes --seeds 90
    python benchmarks/decoders.py --table
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from decoder_tables import draw, print_tables
from hone.cli.progress import TerminalProgress
from hone.evaluation.latency import latency
from hone.evaluation.mode_coverage import FEATURES, ModeCoverage, learn_two_modes, mode_coverage
from hone.evaluation.run_folder import RunFolder, read_rows
from hone.evaluation.runner import Setup
from hone.policies import load_policy
from hone.policies.heads import (
    HEADS,
    ChunkSpace,
    DCTHeadConfig,
    EqMHeadConfig,
    FlowHeadConfig,
    HeadConfig,
    HybridHead,
)
from hone.policies.heads.chain import ChainHead
from hone.policies.small import SmallPolicy
from hone.seeding import torch_generator
from hone.training.behavior_cloning import BehaviorCloningConfig, ChunkDataset
from hone.training.decoders import (
    Conditions,
    chunk_error,
    cloned,
    configured,
    demonstrations,
    line,
    measure,
    redecoded,
    with_budget,
)
from hone.training.improve import VALIDATION_SEEDS, ImproveConfig, improve
from hone.types import Observation
from rows import RESULTS, append_row, finished

Part = Literal["latency", "modes", "target", "success", "eqm", "residual", "grpo"]
PARTS: tuple[Part, ...] = ("latency", "modes", "target", "success", "eqm", "residual", "grpo")
SEEDS = (90, 91, 92)
STATES: dict[str, int] = {"target": 10, "success": 10, "residual": 10, "eqm": 20}
"""Official initial states of each task: 100 or 200 episodes for each cell and seed, 300 or 600 for a cell."""
BUDGETS = (1, 2, 5, 10, 20, 50, 300)
"""Evaluations for each chunk, of the heads that can be given more or fewer."""
UNSEEN = 128
"""Steps of demonstrations not learned from, where chunks are compared with the expert's."""

# target
LATE = {"decay_start": 0.8, "step_size": 0.05}
"""A gradient that is constant far from the data, as Wang & Du have it by default."""
TARGETS: dict[str, dict[str, dict[str, Any]]] = {
    "flow": {"chunk": {}, "velocity": {"predicts": "velocity"}},
    "eqm": {
        "chunk": {},
        "chunk, late decay": LATE,
        "gradient": {"predicts": "gradient"},
        "gradient, late decay": {"predicts": "gradient", **LATE},
    },
    "score": {"chunk": {}, "preconditioned": {"predicts": "preconditioned"}},
}
"""The head's own, and what differs in the others. All get `TARGET_BUDGET` evaluations."""
TARGET_BUDGET = 10

# eqm: half of each chunk is executed, and a warm start continues from the other half.
EXECUTE = 4
MATCHED = (5, 10)
"""Evaluations of a fixed descent, and the most of one with a stop."""
TRUST = {"flow": 0.5, "eqm": 0.5}
STOP = {"flow": 0.2, "eqm": 0.1}
RESIDUALS = {"flow": (0.03, 0.1, 0.3, 1.0, 3.0), "eqm": (0.02, 0.06, 0.2, 0.4, 0.6)}
"""Root mean squares: of how far the predicted chunk would still move (flow, action units), of the gradient (eqm)."""
LONGEST = 50
"""Most evaluations in part residual."""

# modes
TOY = ChunkSpace(4, 2, -1.0, 1.0)
TOY_SHARE, TOY_STEPS, TOY_BATCH, TOY_RATE = 0.7, 1000, 64, 1e-3
QUIET = 0.02
"""Noise in the steps of a chain, whose variety is that of its starts."""

# latency, measured for the first seed: weights hardly matter, but for how many tokens `fast` writes
LATENCY_CLONING = BehaviorCloningConfig(steps=40)

# grpo
SNAPSHOTS = (50, 100, 150, 200, 250, 300, 350, 400, 450, 500)
"""Cloning steps after which a start for practice is kept."""
START, MATCH, GAIN = 0.4, 0.05, 0.2
PRACTICE = ImproveConfig(
    suite="libero_spatial",
    tasks=(1, 6, 8),
    iterations=12,
    groups=9,
    evaluate_every=2,
    curve_placements=20,
    final_placements=20,
    probe_placements=1,
    train_step_cap=280,
    workers=0,
)


@dataclass(frozen=True)
class Config:
    parts: tuple[Part, ...] = PARTS
    """Parts, in this order."""
    heads: tuple[str, ...] = tuple(HEADS)
    """Heads."""
    seeds: tuple[int, ...] = SEEDS
    """Seeds, in this order."""
    states: int | None = None
    """Initial states of each task; those of the part, if not given."""
    placement: Literal["official", "sampled"] = "official"
    """Of these; sampled for tuning."""
    results: str = "decoders"
    """Name of the file of results."""
    output: Path = Path("runs") / "benchmark-decoders"
    """Folder of demonstrations, clones and practice runs."""
    conditions: Conditions = field(default_factory=Conditions)
    """What is the same for all heads."""
    table: bool = False
    """Print the tables of what is there, draw `docs/decoders.svg`, and run nothing."""


def main(config: Config) -> None:
    if config.table:
        rows = read_rows(RESULTS / f"{config.results}.jsonl")
        print_tables(rows)
        draw(rows, RESULTS.parent.parent / "docs" / "decoders.svg")
        return
    torch.set_num_threads(1)
    for part in config.parts:
        for seed in config.seeds[:1] if part == "latency" else config.seeds:
            for head in config.heads:
                for cell in CELLS[part](head):
                    keys = {"part": part, "head": head, "seed": seed, "suite": config.conditions.suite, **cell}
                    if not finished(config.results, **keys):
                        started = time.process_time(), time.monotonic()
                        row = RUN[part](config, head, seed, **cell)
                        cost = {
                            "core_seconds": round(time.process_time() - started[0], 1),
                            "clock_seconds": round(time.monotonic() - started[1], 1),
                        }
                        append_row(config.results, {**keys, **row, **cost})
                        print({**keys, **{name: row[name] for name in ("success_rate", "evaluations") if name in row}})


# ------------------------------------------------------------------------------------------------ cells and their runs


def success_cells(head: str) -> Iterator[dict[str, Any]]:
    if with_budget(HEADS[head](), 1) is None:
        yield {"budget": None}
        return
    for budget in BUDGETS:
        if head != "discrete_diffusion" or budget < 56:  # a round uncovers at least one of its 56 tokens
            yield {"budget": budget}


def run_success(config: Config, head: str, seed: int, budget: int | None) -> dict[str, Any]:
    policy = cloned_head(config, head, seed)
    if budget is not None:
        decoded = with_budget(policy.config.head, budget)
        assert decoded is not None
        policy = redecoded(policy, decoded)
    result = measure(config.conditions, policy, setup(config, "success", seed))
    return {**decided(config, policy, seed), **line(result)}


def target_cells(head: str) -> Iterator[dict[str, Any]]:
    for target in TARGETS.get(head, ()):
        yield {"target": target}


def run_target(config: Config, head: str, seed: int, target: str) -> dict[str, Any]:
    changes = TARGETS[head][target]
    name = head if not changes else f"{head}, {target}"
    policy = cloned(
        config.conditions,
        name,
        seed,
        config.output / "clones",
        config=replace(configured(head), **changes),
        snapshots=SNAPSHOTS,
    )
    decoded = with_budget(policy.config.head, TARGET_BUDGET)
    assert decoded is not None
    policy = redecoded(policy, decoded)
    return {**decided(config, policy, seed), **line(measure(config.conditions, policy, setup(config, "target", seed)))}


def eqm_cells(head: str) -> Iterator[dict[str, Any]]:
    if head in TRUST:
        for budget in MATCHED:
            for stop in ("fixed", "residual"):
                for begin in ("cold", "warm"):
                    yield {"budget": budget, "stop": stop, "start": begin}


def run_eqm(config: Config, head: str, seed: int, budget: int, stop: str, start: str) -> dict[str, Any]:
    trust = TRUST[head] if start == "warm" else None
    # A warm flow makes the last of its steps only: so many in all that the budget is left.
    steps = round(budget / (1 - trust)) if trust is not None and head == "flow" else budget
    policy = stopping(cloned_head(config, head, seed), steps, STOP[head] if stop == "residual" else 0.0)
    result = measure(config.conditions, policy, setup(config, "eqm", seed), execute=EXECUTE, trust=trust)
    return {**decided(config, policy, seed), **line(result), "executed": EXECUTE, "trust": trust}


def residual_cells(head: str) -> Iterator[dict[str, Any]]:
    for residual in RESIDUALS.get(head, ()):
        yield {"residual": residual}


def run_residual(config: Config, head: str, seed: int, residual: float) -> dict[str, Any]:
    policy = stopping(cloned_head(config, head, seed), LONGEST, residual)
    return {
        **decided(config, policy, seed),
        **line(measure(config.conditions, policy, setup(config, "residual", seed))),
    }


def stopping(policy: SmallPolicy, steps: int, residual: float) -> SmallPolicy:
    """The policy with at most so many steps, stopping at a residual (0: never)."""
    head = policy.config.head
    assert isinstance(head, FlowHeadConfig | EqMHeadConfig)
    return redecoded(policy, replace(head, steps=steps, residual=residual))


def latency_cells(head: str) -> Iterator[dict[str, Any]]:
    for batch, candidates in ((1, 1), (1, 8), (32, 1)):
        yield {"batch": batch, "candidates": candidates}


def run_latency(config: Config, head: str, seed: int, batch: int, candidates: int) -> dict[str, Any]:
    """Encoding and sampling on one thread, the head as it is by default."""
    policy = cloned(replace(config.conditions, cloning=LATENCY_CLONING), head, seed, config.output / "clones")
    observation = observations(config, seed, batch)
    generators = [torch_generator(seed, "latency", row) for row in range(batch)]
    spent: list[float] = []

    @torch.no_grad()
    def act() -> None:
        proposed, _ = policy.propose(policy.encode(observation), None, candidates, generators)
        spent.append(float(policy.head.evaluations(proposed.samples).float().mean()))

    measured = latency(act, repeats=100 if batch == 1 else 25)
    return {**measured.to_json(), "milliseconds": measured.p50, "evaluations": sum(spent) / len(spent)}


def modes_cells(head: str) -> Iterator[dict[str, Any]]:
    yield {"share": TOY_SHARE}


def run_modes(config: Config, head: str, seed: int, share: float) -> dict[str, Any]:
    """The head in its default size, but for the toy's action dimensions."""
    own = configured(head)
    if isinstance(own, DCTHeadConfig):
        own = replace(own, dim_scales=(1.0,) * TOY.action_dim)
    torch.manual_seed(seed)
    decoder = own.build(FEATURES, TOY)
    learn_two_modes(decoder, TOY, share=share, steps=TOY_STEPS, batch=TOY_BATCH, learning_rate=TOY_RATE, seed=seed)

    def covered(config: HeadConfig) -> ModeCoverage:
        again = config.build(FEATURES, TOY)
        again.load_state_dict(decoder.state_dict())
        if isinstance(again, ChainHead | HybridHead):
            again.exploration = QUIET
        return mode_coverage(again, TOY, rows=100, draws=20, seed=seed)

    budgets = {str(budget): with_budget(own, budget) for budget in BUDGETS if budget <= 20}
    by_budget = {name: covered(other).covered for name, other in budgets.items() if other is not None}
    return {**covered(own).to_json(), "by_budget": by_budget}


def grpo_cells(head: str) -> Iterator[dict[str, Any]]:
    yield {}


def run_grpo(config: Config, head: str, seed: int) -> dict[str, Any]:
    """Practice with the exploration that is the head's own, from the snapshot nearest to the common start."""
    steps, before = matched_start(config, head, seed)
    begin = config.output / "clones" / f"{head}-{seed}" / str(steps)
    practice = replace(
        PRACTICE,
        suite=config.conditions.suite,
        policy=begin,
        output=config.output / "grpo" / f"{head}-{seed}",
        seed=seed,
    )
    summary = improve(practice, TerminalProgress())
    curve = [(row["rollouts"], row["success_rate"]) for row in read_rows(RunFolder(practice.output).evaluations)]
    reached = next((rollouts for rollouts, success in curve if success >= curve[0][1] + GAIN), None)
    return {
        "cloning_steps": steps,
        "matched_on": before,
        "matched": abs(before - START) <= MATCH,
        "exploration": load_policy(begin).head.practice,
        "rollouts_until": reached,
        "rollouts": summary["rollouts"],
        "curve": curve,
        "success_rate": summary["after"]["success_rate"],
        "low": summary["after"]["low"],
        "high": summary["after"]["high"],
        "episodes": summary["after"]["episodes"],
        "success_before": summary["before"]["success_rate"],
        "gain": summary["paired_difference"],
        "faults": summary["faults"],
    }


def matched_start(config: Config, head: str, seed: int) -> tuple[int, float]:
    """The number of cloning steps whose snapshot comes nearest to the common start, and its success on the placements
    the curve is measured on. By bisection: more steps are taken to be better."""
    cloned_head(config, head, seed)
    measured: dict[int, float] = {}
    low, high = 0, len(SNAPSHOTS) - 1
    placements = tuple(VALIDATION_SEEDS[: PRACTICE.curve_placements])
    practised = tuple(config.conditions.tasks[index] for index in PRACTICE.tasks)
    while low <= high:
        middle = (low + high) // 2
        policy = load_policy(config.output / "clones" / f"{head}-{seed}" / str(SNAPSHOTS[middle]))
        assert isinstance(policy, SmallPolicy)
        found = measure(config.conditions, policy, Setup(practised, "sampled", placements, seed=seed)).summary()
        measured[SNAPSHOTS[middle]] = found["success_rate"]
        if found["success_rate"] < START:
            low = middle + 1
        else:
            high = middle - 1
    best = min(measured, key=lambda steps: abs(measured[steps] - START))
    return best, measured[best]


CELLS = {
    "latency": latency_cells,
    "modes": modes_cells,
    "target": target_cells,
    "success": success_cells,
    "eqm": eqm_cells,
    "residual": residual_cells,
    "grpo": grpo_cells,
}
RUN: dict[str, Callable[..., dict[str, Any]]] = {
    "latency": run_latency,
    "modes": run_modes,
    "target": run_target,
    "success": run_success,
    "eqm": run_eqm,
    "residual": run_residual,
    "grpo": run_grpo,
}


# ------------------------------------------------------------------------------------------------- what the runs share


def cloned_head(config: Config, head: str, seed: int) -> SmallPolicy:
    return cloned(config.conditions, head, seed, config.output / "clones", snapshots=SNAPSHOTS)


def setup(config: Config, part: Part, seed: int) -> Setup:
    states = tuple(range(config.states or STATES[part]))
    return Setup(config.conditions.tasks, config.placement, states, seed=seed)


def pairs(config: Config, seed: int) -> ChunkDataset:
    """The demonstrations that a seed's clones learn from."""
    episodes = demonstrations(config.conditions, seed, config.output / "clones" / f"demonstrations-{seed}")
    return ChunkDataset(episodes, config.conditions.network.chunk_length)


def observations(config: Config, seed: int, rows: int) -> Observation:
    """What was seen at `rows` steps of them."""
    dataset = pairs(config, seed)
    return dataset.observation(dataset.draw(rows, True, torch_generator(seed, "observations")))


def decided(config: Config, policy: SmallPolicy, seed: int) -> dict[str, float]:
    """Of greedy decisions: milliseconds for one row in the processor's time, and how far the chunks are from what the
    expert did in demonstrations that were not learned from (those of the next seed)."""
    observation = observations(config, seed, 1)
    unseen = pairs(config, seed + 1)
    return {
        "milliseconds": latency(lambda: policy.predict_action_chunk(observation), repeats=25).p50,
        "chunk_error": chunk_error(policy, unseen, UNSEEN, torch_generator(seed, "unseen")),
    }


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
