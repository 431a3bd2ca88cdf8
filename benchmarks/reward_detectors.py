"""What reward programs say of episodes whose outcome is known: do they rise with the expert, do they see success?

    python benchmarks/reward_detectors.py --suites libero_object libero_goal

The grammar reads each task's instruction, the plan becomes a program, and the program scores episodes from sampled
placements, looked at every eight control steps: the expert undisturbed (clean), disturbed where it can bear it
(noisy), disturbed everywhere with a hand that opens now and then (wild), and a robot that does nothing (idle). The
truth is LIBERO's success check at every control step; an episode goes on after it, since a hand that has not let go
yet has not delivered. `cut` is the program's claim where the episode ends at the first moment of truth, as in
evaluation.

One row per task and kind in results/reward_detectors.jsonl; it resumes. `--table` prints what is there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import tyro

from hone.envs.libero.environment import LiberoConfig, LiberoEnvironment
from hone.envs.libero.facts import Facts
from hone.envs.libero.suites import tasks
from hone.errors import HoneError
from hone.evaluation.run_folder import read_rows
from hone.language.grammar import decompose
from hone.primitives.expert import Expert, correlated_noise
from hone.rewards.detectors import DetectorConfig, Quality, quality
from hone.rewards.planned import from_plan
from hone.rewards.program import RewardProgram
from hone.rewards.scoring import score, score_sightings
from hone.seeding import derive_seed, numpy_generator
from hone.types import Placement, Status, Task
from rows import RESULTS, append_row, finished

NAME = "reward_detectors"
LOOK = 8
IDLE_STEPS = 24
OPEN_STEPS = 8
REST = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])


@dataclass(frozen=True)
class Kind:
    """How an episode is played: noise (action units), where the expert may not be disturbed too, and slips a step."""

    placement: int
    noise: float = 0.0
    everywhere: bool = False
    slips: float = 0.0


KINDS = {
    "clean": Kind(1500),
    "wild": Kind(1600, noise=0.4, everywhere=True, slips=0.005),
    "idle": Kind(1600),
    "noisy": Kind(1700, noise=0.3),
}
DETECTORS = {
    "exact": DetectorConfig(),
    "noisy 10 %": DetectorConfig("noisy", flip=0.1),
    "delayed 2 looks": DetectorConfig("delayed", looks=2),
    "wrong (held is delivered)": DetectorConfig("wrong", early=3),
}


@dataclass(frozen=True)
class Config:
    suites: tuple[str, ...] = ("libero_object", "libero_spatial", "libero_goal", "libero_10")
    kinds: tuple[str, ...] = tuple(KINDS)
    table: bool = False
    """Print the tables of what is there and measure nothing."""


@dataclass(frozen=True)
class Asked:
    task: Task
    seed: int


@dataclass(frozen=True)
class Played:
    """An episode: facts at every look and after the last step, and at the first moment of truth, if there was one."""

    request: Asked
    facts: tuple[Facts, ...]
    at_truth: tuple[Facts, ...] | None
    steps: int
    status: Status = "failure"

    @property
    def executed(self) -> np.ndarray:
        return np.full(len(self.facts) - 1, LOOK)


def main(config: Config) -> None:
    if not config.table:
        env = LiberoConfig(images=False, physics="fast", stop_at_success=False).build(1)
        for kind in config.kinds:
            for index, suite in product(range(10), config.suites):
                keys = {"suite": suite, "task": index, "kind": kind}
                if not finished(NAME, **keys):
                    append_row(NAME, {**keys, **measure(env, tasks(suite)[index], kind)})
                    print(keys, file=sys.stderr, flush=True)
    print_tables(read_rows(RESULTS / f"{NAME}.jsonl"))


def measure(env: LiberoEnvironment, task: Task, kind: str) -> dict[str, Any]:
    played = play(env, task, kind)
    return assess(from_plan(decompose(task.instruction, played.facts[0]), played.facts[0]), played)


def play(env: LiberoEnvironment, task: Task, name: str) -> Played:
    kind = KINDS[name]
    generator = numpy_generator(0, name, task.suite, task.name, 0)
    env.reset([0], [task], [Placement("sampled", kind.placement)])
    expert, noise, slipping, steps = Expert(), np.zeros(6), 0, 0
    facts = env.facts([0])[0]
    looks, at_truth = [facts], None
    while steps < (IDLE_STEPS if name == "idle" else env.config.cap(task.suite)):
        action = REST
        if name != "idle":
            command = expert.act(facts)
            if command is None:
                break
            action = command.action.copy()
            noise = correlated_noise(noise, kind.noise, generator)
            freedom = 1.0 if kind.everywhere else command.freedom
            action[:6] = np.clip(action[:6] + freedom * noise, -1.0, 1.0)
            if kind.slips:
                if not slipping and action[6] > 0 and generator.random() < kind.slips:
                    slipping = OPEN_STEPS
                if slipping:
                    slipping, action[6] = slipping - 1, -1.0
        env.step([0], action.astype(np.float32)[None, None])
        steps += 1
        facts = env.facts([0])[0]
        if at_truth is None and all(facts.satisfied):
            at_truth = (*looks, facts)
        if steps % LOOK == 0:
            looks.append(facts)
    if steps % LOOK:
        looks.append(facts)
    return Played(Asked(task, derive_seed(0, NAME, name, task.suite, task.name)), tuple(looks), at_truth, steps)


def assess(program: RewardProgram, played: Played) -> dict[str, Any]:
    exact = score(program, played.facts)
    seen = {name: score_sightings(program, config.build()(program, played)) for name, config in DETECTORS.items()}
    return {
        "steps": played.steps,
        "truth": played.at_truth is not None,
        "total": exact.total,
        "totals": [score(program, played.facts[: end + 1]).total for end in range(len(played.facts))],
        "reached": list(exact.reached),
        "claimed": {name: scored.succeeded for name, scored in seen.items()},
        "milestones": {name: [look is not None for look in scored.reached] for name, scored in seen.items()},
        "cut": None if played.at_truth is None else score(program, played.at_truth).succeeded,
    }


# -------------------------------------------------------------------------------------------------------------- tables


def print_tables(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        raise HoneError("nothing has been measured yet; run it without --table.")
    print(
        "| suite | episodes of the expert | driven to the end | total never falls | claims where cut at truth | idle |"
    )
    print("|---|---|---|---|---|---|")
    for suite in dict.fromkeys(row["suite"] for row in rows):
        expert = [row for row in rows if (row["suite"], row["kind"]) == (suite, "clean")]
        idle = [row["total"] for row in rows if (row["suite"], row["kind"]) == (suite, "idle")]
        solved = [e for e in expert if e["truth"]]
        rising = sum(e["totals"] == sorted(e["totals"]) for e in expert)
        ended = sum(e["claimed"]["exact"] and e["total"] == 1.0 for e in solved)
        print(
            f"| {suite} | {len(expert)}, {len(solved)} succeed | {ended} of {len(solved)} | {rising} of {len(expert)} "
            f"| {sum(e['cut'] for e in solved)} of {len(solved)} | at most {max(idle, default=0.0):.3f} |"
        )
    print("\n| suite | detector | episodes | true | precision | recall | milestones: precision | recall |")
    print("|---|---|---|---|---|---|---|---|")
    for suite in dict.fromkeys(row["suite"] for row in rows):
        moved = [row for row in rows if row["suite"] == suite and row["kind"] != "idle"]
        for detector in DETECTORS:
            final = quality([e["claimed"][detector] for e in moved], [e["truth"] for e in moved])
            every = _milestones(moved, detector)
            print(
                f"| {suite} | {detector} | {len(moved)} | {sum(e['truth'] for e in moved)} | {_rates(final)} "
                f"| {'- | -' if detector == 'exact' else _rates(every)} |"
            )


def _milestones(episodes: Sequence[dict[str, Any]], detector: str) -> Quality:
    """All milestones of all episodes, a detector's verdicts beside those of the exact one."""
    claimed = [seen for e in episodes for seen in e["milestones"][detector]]
    true = [seen for e in episodes for seen in e["milestones"]["exact"]]
    return quality(claimed, true)


def _rates(found: Quality) -> str:
    hits = found.true_positives
    precision = f"{_share(found.precision)} ({hits}/{hits + found.false_positives})"
    return f"{precision} | {_share(found.recall)} ({hits}/{hits + found.false_negatives})"


def _share(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.0f} %"


if __name__ == "__main__":
    main(tyro.cli(Config))
