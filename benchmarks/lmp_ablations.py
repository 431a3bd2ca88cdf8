"""What each part of `--policy lmp` is worth: one thing changed at a time, on the same starts.

    python benchmarks/lmp_ablations.py

Starts: `obstacles` are the scenes of `lmp_obstacles.py` with two tall things on the straight way; the others are whole
tasks of LIBERO suites. All at freshly sampled placements (never the official states), stand-in assets, `fast` physics,
the whole policy from the instruction, with its four grasps and its second try. An arm is `Planning` with the fields in
`ARMS` changed. An episode ends when the goal holds, the policy has given up, or after 500 control steps.

`clean`: success, and nothing that the task does not name moved by more than 2 cm. `clearance_m`, `goal_error_m` and
`jerk_m` are of the paths as planned, one number per movement. Privileged, as the policy is.

One row per arm and start in results/lmp_ablations.jsonl, all arms of a start together; it resumes. `--table` prints
what is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import tyro

from hone.envs.libero.assets import asset_pack
from hone.envs.libero.engine import Slot, SlotSnapshot, build_stepper
from hone.envs.libero.facts import FactReader, Facts
from hone.envs.libero.scene import Scene, ensure_placements, load_scene, set_physics
from hone.envs.libero.suites import task as find_task
from hone.envs.libero.suites import tasks as suite_tasks
from hone.evaluation.run_folder import read_rows
from hone.evaluation.stats import paired_bootstrap, verdict, wilson_interval
from hone.policies.scripted import Planning, pilot
from hone.types import Placement
from lmp_obstacles import KNOCKED_M, prepare, scene_of, wait
from rows import RESULTS, append_row, finished

NAME = "lmp_ablations"
STEP_CAP, WAIT_STEPS = 500, 10
FIRST_PLACEMENT = 200
"""Placements from here on were used for nothing else."""
ARMS: dict[str, dict[str, Any]] = {
    "rule": {},
    "zero weights": {"weights": "zero"},
    "zero at first, told what it touched": {"weights": "heed"},
    "random weights": {"weights": "random"},
    "CMA-ES": {"weights": "search"},
    "5 bases": {"bases": 5},
    "20 bases": {"bases": 20},
    "no gate": {"gate": False},
    "random weights, no gate": {"weights": "random", "gate": False},
    "not told what failed": {"feedback": False},
    "no second try": {"feedback": False, "refinements": 0},
    "told the goal": {"planner": "goal"},
    "typed skills": {},
}
"""`rule` is the policy as it is; the last is the other policy."""


@dataclass(frozen=True)
class Config:
    sets: tuple[str, ...] = ("obstacles", "libero_goal", "libero_object", "libero_spatial")
    starts: int = 4
    """Per task."""
    arms: tuple[str, ...] = tuple(ARMS)
    table: bool = False


@dataclass(frozen=True)
class Start:
    scene: Scene
    slot: Slot
    snapshot: SlotSnapshot
    facts: Facts


@cache
def start_of(group: str, task: int, number: int) -> Start:
    if group == "obstacles":
        ready = prepare(task, number, 2)
        return Start(scene_of(task), ready.slot, ready.snapshot, ready.facts)
    placement = FIRST_PLACEMENT + number
    scene = load_scene(find_task(group, task), asset_pack("standin"))
    ensure_placements(scene, asset_pack("standin"), [placement])
    scene = replace(scene, model=set_physics(scene.model, "fast"))
    slot = Slot(scene.model, scene.robot, scene.goal)
    slot.reset(scene.initial_state(Placement("sampled", placement)))
    wait(slot, WAIT_STEPS)
    return Start(scene, slot, slot.snapshot(), FactReader(scene).read(slot))


def play(arm: str, start: Start) -> dict[str, Any]:
    """One episode of an arm from a start that others share."""
    scene, slot, stepper, reader = start.scene, start.slot, build_stepper(), FactReader(start.scene)
    slot.restore(start.snapshot)
    flown = pilot("skills" if arm == "typed skills" else "lmp", Planning(**ARMS[arm]))
    facts, success, steps = start.facts, False, 0
    while steps < STEP_CAP and not success:
        action = flown.act(scene.task.instruction, facts)
        if flown.has_ended:
            wait(slot, WAIT_STEPS)
            success = slot.success
            break
        success = bool(stepper.step([slot], action[None, None], np.array([1]), stop_at_success=False).success[0])
        steps += 1
        facts = reader.read(slot)
    report = flown.report()
    named = {*scene.of_interest, *(name for atom in scene.goal.atoms for name in atom.literal[1:])}
    knocked = [name for name in facts.objects if name not in named and _moved(start.facts, facts, name) > KNOCKED_M]
    movements = report.get("movements", [])
    return {
        "success": success,
        "clean": success and not knocked,
        "steps": steps,
        "refused": report["refusal"] is not None,
        "refinements": report["refinements"],
        "adjusted": report.get("adjusted", 0),
        "movements": len(movements),
        **{key: [m[key] for m in movements] for key in ("clearance_m", "goal_error_m", "jerk_m")},
    }


def _moved(before: Facts, after: Facts, name: str) -> float:
    return float(np.linalg.norm(after.objects[name].position - before.objects[name].position))


def print_table(rows: list[dict[str, Any]]) -> None:
    print(
        "| starts | arm | n | success | clean | minus rule (clean) | second tries | clearance, mm | goal error, mm "
        "| jerk, m | steps |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for group in dict.fromkeys(row["set"] for row in rows):
        ruled = {_key(row): row["clean"] for row in rows if row["set"] == group and row["arm"] == "rule"}
        for arm in ARMS:
            own = [row for row in rows if row["set"] == group and row["arm"] == arm]
            if not own:
                continue
            cells = [group, arm, len(own), *(_rate([row[key] for row in own]) for key in ("success", "clean"))]
            pairs = np.array([(ruled[_key(row)], row["clean"]) for row in own if _key(row) in ruled], bool)
            cells.append("" if arm == "rule" or not len(pairs) else _difference(pairs))
            cells.append(sum(row["refinements"] for row in own))
            for key, digits in (("clearance_m", 0), ("goal_error_m", 1), ("jerk_m", 0)):
                values = [value for row in own for value in row[key]]
                scale = 1 if key == "jerk_m" else 1000
                cells.append(f"{scale * float(np.median(values)):.{digits}f}" if values else "")
            steps = [row["steps"] for row in own if row["success"]]
            cells.append(f"{np.median(steps):.0f}" if steps else "")
            print("| " + " | ".join(map(str, cells)) + " |")


def _key(row: dict[str, Any]) -> tuple[int, int]:
    return row["task"], row["number"]


def _rate(outcomes: list[bool]) -> str:
    low, high = wilson_interval(sum(outcomes), len(outcomes))
    return f"{100 * np.mean(outcomes):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _difference(pairs: np.ndarray) -> str:
    found = paired_bootstrap(pairs[:, 0], pairs[:, 1])
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}] {verdict(found)}"


def main(config: Config) -> None:
    groups = [(group, range(3) if group == "obstacles" else range(len(suite_tasks(group)))) for group in config.sets]
    if not config.table:
        for number, (group, tasks) in product(range(config.starts), groups):
            for task, arm in product(tasks, config.arms):
                keys = {"arm": arm, "set": group, "task": task, "number": number}
                if not finished(NAME, **keys):
                    append_row(NAME, {**keys, **play(arm, start_of(group, task, number))})
    print_table(read_rows(RESULTS / f"{NAME}.jsonl"))


if __name__ == "__main__":
    main(tyro.cli(Config))
