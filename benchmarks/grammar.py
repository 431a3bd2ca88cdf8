"""Does the offline planner read every LIBERO instruction as LIBERO means it?

    python benchmarks/grammar.py --suite libero_spatial

For each task the instruction is grounded at official placements and the plan is compared with the task's goal, which
the planner itself never sees. Then paraphrases (`hone.language.paraphrase`), and the wording in the task's own file
where it differs, are grounded at the first placement and compared with the instruction's plan.

Appends JSON lines to benchmarks/results/grammar.jsonl, one per task, skips tasks that have one for this version of the
planner, and prints the sums.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import hone.language
from hone.envs.libero.environment import LiberoConfig, LiberoEnvironment
from hone.envs.libero.facts import Facts
from hone.envs.libero.suites import SUITES, bddl_file, tasks
from hone.evaluation.run_folder import read_rows
from hone.language.grammar import decompose
from hone.language.paraphrase import paraphrase
from hone.language.plan import Beside, Plan, Refusal, Subgoal
from hone.language.relations import DIRECTIONS, extent
from hone.types import Placement, Task
from rows import RESULTS, append_row, finished

NAME = "grammar"
LEVELS = (1, 2, 3)
LANGUAGE = Path(hone.language.__file__).parent
PARTS = ("grammar", "lexicon", "names", "paraphrase", "relations", "syntax", "wishes")


def version() -> str:
    """A digest of the planner's source."""
    sources = [(LANGUAGE / f"{name}.py").read_bytes() for name in PARTS]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:12]


def examine(env: LiberoEnvironment, task: Task, placements: int, seeds: int) -> dict[str, Any]:
    """How often the plan is what the goal asks for, and how many other wordings give the same plan."""
    outcomes: Counter[str] = Counter()
    notes: list[str] = []
    first: Facts | None = None
    for index in range(placements):
        env.reset([0], [task], [Placement("official", index)])
        facts = env.facts([0])[0]
        first = first or facts
        outcome, seen = judge(task.instruction, facts)
        outcomes[outcome] += 1
        notes += [note for note in seen if note not in notes]
    assert first is not None
    same = {
        str(level): sum(
            means(paraphrase(task.instruction, level, np.random.default_rng(seed)), first)
            == means(task.instruction, first)
            for seed in range(seeds)
        )
        for level in LEVELS
    }
    own = file_wording(task)
    return {
        "placements": placements,
        "outcomes": dict(outcomes),
        "notes": notes,
        "paraphrases": seeds,
        "same": same,
        "file_wording": own if own != task.instruction else None,
        "file_wording_same": means(own, first) == means(task.instruction, first),
    }


def judge(instruction: str, facts: Facts) -> tuple[str, list[str]]:
    """One of "right", "wrong", "refused"; and what the plan and the goal do not share, in words."""
    try:
        plan = decompose(instruction, facts)
    except Refusal as refusal:
        return "refused", [f"{refusal.reason}: {refusal}"]
    asked = [subgoal for subgoal in plan.subgoals if subgoal.verb != "pick"]
    notes, right = [], True
    for atom, holds in zip(facts.goal, facts.satisfied, strict=True):
        matching = [subgoal for subgoal in asked if achieves(subgoal, atom, facts)]
        if matching:
            asked.remove(matching[0])
        elif holds:
            notes.append(f"the goal has {' '.join(atom)}, which is true from the start and not said")
        else:
            right = False
            notes.append(f"the goal has {' '.join(atom)}, the plan does not")
    for subgoal in asked:
        if subgoal.verb.startswith("place") or subgoal.verb == "push":
            right = False
        notes.append(f"the plan has {subgoal.verb} {subgoal.thing} {subgoal.target or ''}, the goal does not")
    return "right" if right else "wrong", notes


def achieves(subgoal: Subgoal, atom: tuple[str, ...], facts: Facts) -> bool:
    """Whether a sub-goal asks for a literal of the goal.

    A place beside a thing is the goal's region on the table if the region lies to that side of the thing.
    """
    if atom[0] not in ("in", "on"):
        return subgoal.verb.replace("_", "") == atom[0] and subgoal.thing == atom[1]
    target = subgoal.target
    if subgoal.thing != atom[1] or target is None:
        return False
    if not isinstance(target, Beside):
        return target == atom[2]
    region = facts.regions.get(atom[2])
    if region is None or region.parent is not None:
        return False
    low, high = extent(facts, target.anchor)
    away = (region.pose.position - (low + high) / 2)[:2]
    return bool(np.dot(away, DIRECTIONS[target.side]) > 0.7 * np.linalg.norm(away))


def means(sentence: str, facts: Facts) -> list[tuple[Any, ...]] | str:
    """The plan without the words it was read from, or why there is none."""
    try:
        plan: Plan = decompose(sentence, facts)
    except Refusal as refusal:
        return refusal.reason
    return [(subgoal.verb, subgoal.thing, subgoal.target) for subgoal in plan.subgoals]


def file_wording(task: Task) -> str:
    """The sentence in the task's file; in 29 tasks it is not the official one."""
    found = re.search(r"\(:language (.*?)\)", bddl_file(task).read_text())
    assert found is not None
    return found[1].strip().lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", nargs="+", default=list(SUITES), choices=SUITES)
    parser.add_argument("--placements", type=int, default=50, help="official placements per task, at most 50")
    parser.add_argument("--seeds", type=int, default=20, help="paraphrases per task and level")
    arguments = parser.parse_args()
    config = LiberoConfig(images=False, physics="fast")
    for task in [task for suite in arguments.suite for task in tasks(suite)]:
        keys = {"suite": task.suite, "index": task.index, "version": version(), "assets": config.asset_label}
        if finished(NAME, **keys):
            continue
        env = config.build(1)
        append_row(
            NAME, keys | {"instruction": task.instruction} | examine(env, task, arguments.placements, arguments.seeds)
        )
        env.close()
    rows = [row for row in read_rows(RESULTS / f"{NAME}.jsonl") if row["version"] == version()]
    for suite in arguments.suite:
        of_suite = [row for row in rows if row["suite"] == suite]
        print(json.dumps({"suite": suite, "tasks": len(of_suite)} | sums(of_suite)), flush=True)


def sums(rows: list[dict[str, Any]]) -> dict[str, Any]:
    outcomes = sum((Counter(row["outcomes"]) for row in rows), Counter())
    same = {level: sum(row["same"][str(level)] for row in rows) for level in LEVELS}
    worded = [row["file_wording_same"] for row in rows if row["file_wording"] is not None]
    return {
        "outcomes": dict(outcomes),
        "same": same,
        "paraphrases": sum(row["paraphrases"] for row in rows),
        "file_wordings_same": f"{sum(worded)} of {len(worded)}",
    }


if __name__ == "__main__":
    main()
