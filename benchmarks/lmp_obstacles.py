"""Do the weights of a language movement primitive lead it past what stands in its way? By whom they are chosen.

    python benchmarks/lmp_obstacles.py

Scenes: LIBERO-Object tasks 0 to 2 at freshly sampled placements. None, one or two of the tall things (13 to 15 cm) are
put on the straight line from the thing to be carried to the basket, before the episode starts. All is drawn from the
scene's number. Every way of choosing weights gets the same scenes, one attempt each: reach, carry, release. `skills`
is the expert's typed pick and place, also with one attempt.

`success` is LIBERO's rule (the goal holds at any step), `held` that it holds at the end, `clean` that it does so and
nothing else was moved by more than 2 cm. Everything is privileged: poses, grasps and clearances come from the
simulator.

One row per scene and contestant is appended to results/lmp_obstacles.jsonl; it resumes. At the end a table is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, product
from typing import Any

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.assets import asset_pack
from hone.envs.libero.engine import Slot, SlotSnapshot, build_stepper
from hone.envs.libero.facts import FactReader, Facts
from hone.envs.libero.perturb_state import rectangle
from hone.envs.libero.scene import Scene, ensure_placements, load_scene, set_physics
from hone.envs.libero.suites import task as find_task
from hone.evaluation.run_folder import read_rows
from hone.evaluation.stats import paired_bootstrap, verdict, wilson_interval
from hone.primitives.execution import choose_grasp
from hone.primitives.grasps import Grasp
from hone.primitives.lmp import LmpConfig, LmpParameters
from hone.primitives.lmp_proposers import (
    Movement,
    Proposer,
    RandomWeights,
    SearchedWeights,
    goal_error,
    jerk,
    rule_based_weights,
    zero_weights,
)
from hone.primitives.lmp_skills import transfer
from hone.primitives.skills import Command, Skill, pick, place
from hone.types import Placement
from rows import RESULTS, append_row, finished

NAME = "lmp_obstacles"
TASKS = (0, 1, 2)
SCENES = 17
"""Per task."""
FIRST_PLACEMENT = 100
WAIT_STEPS, STEP_CAP = 10, 280
NO_OP = np.array([0, 0, 0, 0, 0, 0, -1.0])
TALL_M = 0.12
"""Least height of a thing that is put in the way."""
ALONG, ASIDE_M = (0.3, 0.65), 0.015
"""Where it is put: share of the way from the thing to the basket, and largest distance from the line."""
ROOM_M = 0.03
"""Least gap between it and anything else."""
KNOCKED_M = 0.02
"""A thing that nobody should touch, and that moved this far, was knocked."""


Corners = tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]]


@dataclass(frozen=True)
class Contestant:
    """Who chooses the weights, and of which form."""

    who: str
    bases: int = 11
    gate: bool = True
    obstacles: int = 1


CONTESTANTS = (
    *(Contestant(who, obstacles=0) for who in ("zero", "random", "rule", "skills")),
    *(Contestant(who, obstacles=n) for n in (1, 2) for who in ("zero", "random", "rule", "skills", "search")),
    *(Contestant("rule", bases, gate, obstacles=2) for bases in (5, 20) for gate in (True, False)),
    Contestant("rule", gate=False, obstacles=2),
    Contestant("random", gate=False),
)


def start_state(scene: Scene, number: int, obstacles: int) -> tuple[Float64[np.ndarray, " S"], list[str]]:
    """The start of an episode, and the names of what was put in the way."""
    state = scene.initial_state(Placement("sampled", FIRST_PLACEMENT + number))
    generator = np.random.default_rng([scene.task.index, number, obstacles])
    slot = Slot(scene.model, scene.robot, scene.goal)
    slot.reset(state)
    thing, basket = scene.of_interest
    boxes = {name: rectangle(scene, slot.data, name) for name in scene.objects}
    middle = {name: (low + high)[:2] / 2 for name, (low, high) in boxes.items()}
    tall = [n for n in scene.objects if n not in (thing, basket) and np.ptp(boxes[n], axis=0)[2] > TALL_M]
    line = middle[basket] - middle[thing]
    across = np.array([-line[1], line[0]]) / np.linalg.norm(line)
    for _ in range(1000):
        moved, names = state.copy(), [tall[i] for i in generator.permutation(len(tall))[:obstacles]]
        standing = [boxes[name] for name in scene.objects if name not in names]
        for name in names:
            place = middle[thing] + generator.uniform(*ALONG) * line + generator.uniform(-ASIDE_M, ASIDE_M) * across
            shift = np.append(place - middle[name], 0.0)
            standing.append((boxes[name][0] + shift, boxes[name][1] + shift))
            address = 1 + scene.model.joint(f"{name}_joint0").qposadr[0]
            moved[address : address + 2] += place - middle[name]
        if all(_apart(a, b) for a, b in combinations(standing, 2) if obstacles):
            return moved, names
    raise RuntimeError(f"no room for {obstacles} in the way of scene {number} of task {scene.task.index}")


def _apart(a: Corners, b: Corners) -> bool:
    """Whether two boxes are `ROOM_M` apart, seen from above."""
    return bool(np.any(a[0][:2] > b[1][:2] + ROOM_M) or np.any(a[1][:2] < b[0][:2] - ROOM_M))


@dataclass(frozen=True)
class Start:
    """What the contestants of a scene share: the settled start, and the grasp that the expert would try first."""

    slot: Slot
    snapshot: SlotSnapshot
    facts: Facts
    grasp: Grasp
    obstacles: list[str]


@cache
def prepare(task: int, number: int, obstacles: int) -> Start:
    scene = scene_of(task)
    state, names = start_state(scene, number, obstacles)
    slot = Slot(scene.model, scene.robot, scene.goal)
    slot.reset(state)
    wait(slot, WAIT_STEPS)
    facts = FactReader(scene).read(slot)
    grasp = choose_grasp(facts, scene.of_interest[0], facts.regions[facts.goal[0][2]].pose.position, [])
    assert grasp is not None, f"nothing to take hold of in scene {number} of task {task}"
    return Start(slot, slot.snapshot(), facts, grasp, names)


@cache
def scene_of(task: int) -> Scene:
    scene = load_scene(find_task("libero_object", task), asset_pack("standin"))
    ensure_placements(scene, asset_pack("standin"), range(FIRST_PLACEMENT, FIRST_PLACEMENT + SCENES))
    return replace(scene, model=set_physics(scene.model, "fast"))


def wait(slot: Slot, steps: int) -> None:
    build_stepper().step([slot], np.tile(NO_OP, (1, steps, 1)), np.array([steps]), stop_at_success=False)


def typed_skills(facts: Facts, grasp: Grasp, thing: str, over: Float64[np.ndarray, " 3"]) -> Skill:
    """The expert's pick and place, one attempt."""
    facts, held = yield from pick(facts, grasp)
    if not held:
        return facts, False
    return (yield from place(facts, thing, over))


def play(task: int, number: int, contestant: Contestant) -> dict[str, Any]:
    """One episode: what was planned and what became of it."""
    scene, start = scene_of(task), prepare(task, number, contestant.obstacles)
    slot, facts, stepper, reader = start.slot, start.facts, build_stepper(), FactReader(scene)
    slot.restore(start.snapshot)
    (thing, basket), over = scene.of_interest, facts.regions[facts.goal[0][2]].pose.position
    config = LmpConfig(contestant.bases, contestant.gate)
    planned: list[dict[str, float]] = []

    def note(movement: Movement, parameters: LmpParameters) -> None:
        path = movement.path(parameters)
        planned.append(
            {
                "clearance": round(min(movement.clearance(path), 1.0), 5),
                "goal_error": round(goal_error(movement, path), 6),
                "jerk": round(jerk(path), 3),
                "length": round(float(np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1).sum()), 4),
            }
        )

    skill: Generator[Command, Facts, tuple[Facts, bool]] = (
        typed_skills(facts, start.grasp, thing, over)
        if contestant.who == "skills"
        else transfer(facts, start.grasp, thing, over, proposer(contestant.who, task, number), config, note)
    )
    done, success, steps = False, False, 0
    knocked: set[str] = set()
    try:
        command = next(skill)
        while steps < STEP_CAP:
            result = stepper.step([slot], command.action[None, None], np.array([1]), stop_at_success=False)
            steps += 1
            success |= bool(result.success[0])
            facts = reader.read(slot)
            knocked |= {
                n for n in facts.objects if n not in (thing, basket) and _moved(start.facts, facts, n) > KNOCKED_M
            }
            command = skill.send(facts)
    except StopIteration as end:
        done = end.value[1]
    wait(slot, 20)
    return {
        "success": success or slot.success,
        "held": slot.success,
        "completed": done,
        "knocked": sorted(knocked),
        "clean": slot.success and not knocked,
        "steps": steps,
        "in_the_way": start.obstacles,
        "reach": planned[0] if planned else None,
        "carry": planned[1] if len(planned) > 1 else None,
    }


def _moved(before: Facts, after: Facts, name: str) -> float:
    return float(np.linalg.norm(after.objects[name].position - before.objects[name].position))


def proposer(who: str, task: int, number: int) -> Proposer:
    return {
        "zero": zero_weights,
        "random": RandomWeights(np.random.default_rng([7, task, number])),
        "rule": rule_based_weights,
        "search": SearchedWeights(seed=number + 1),
    }[who]


def print_table(rows: list[dict[str, Any]]) -> None:
    print("| weights | bases | gate | in way | n | clean [95 %] | success [95 %] | held | knocked | clean minus zero |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    zero = {(r["task"], r["number"], r["obstacles"]): r["clean"] for r in rows if r["who"] == "zero"}
    for contestant in CONTESTANTS:
        own = [row for row in rows if all(row[key] == value for key, value in vars(contestant).items())]
        if not own:
            continue
        cells = [contestant.who, contestant.bases, "on" if contestant.gate else "off"]
        cells += [contestant.obstacles, len(own)]
        cells += [_rate([row[key] for row in own]) for key in ("clean", "success")]
        cells += [sum(row["held"] for row in own), sum(bool(row["knocked"]) for row in own)]
        scenes = [(row["task"], row["number"], row["obstacles"]) for row in own]
        pairs = [(zero[scene], row["clean"]) for scene, row in zip(scenes, own, strict=True) if scene in zero]
        if pairs and contestant.who != "zero":
            outcomes = np.array(pairs, bool)
            difference = paired_bootstrap(outcomes[:, 0], outcomes[:, 1])
            interval = f"[{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
            cells.append(f"{100 * difference.mean:+.1f} {interval} {verdict(difference)}")
        else:
            cells.append("")
        print("| " + " | ".join(map(str, cells)) + " |")
    print(
        "\n| weights | bases | gate | in way | part | n | clearance mm | clears | goal error mm | jerk m | length m |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for contestant in CONTESTANTS:
        own = [row for row in rows if all(row[key] == value for key, value in vars(contestant).items())]
        for part in ("reach", "carry"):
            plans = [row[part] for row in own if row[part]]
            if not plans:
                continue
            median = {key: float(np.median([plan[key] for plan in plans])) for key in plans[0]}
            clears = sum(plan["clearance"] > 0 for plan in plans)
            cells = [contestant.who, contestant.bases, "on" if contestant.gate else "off"]
            cells += [contestant.obstacles, part, len(plans)]
            cells += [f"{1e3 * median['clearance']:.0f}", f"{clears}/{len(plans)}"]
            cells += [f"{1e3 * median['goal_error']:.1f}", f"{median['jerk']:.0f}", f"{median['length']:.2f}"]
            print("| " + " | ".join(map(str, cells)) + " |")


def _rate(outcomes: list[bool]) -> str:
    low, high = wilson_interval(sum(outcomes), len(outcomes))
    return f"{100 * np.mean(outcomes):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    if not arguments.table:
        # Scene by scene, so that what is there after an interruption is paired.
        for number, task, contestant in product(range(SCENES), TASKS, CONTESTANTS):
            keys = {"task": task, "number": number, **vars(contestant)}
            if not finished(NAME, **keys):
                append_row(NAME, {**keys, **play(task, number, contestant)})
    print_table(read_rows(RESULTS / f"{NAME}.jsonl"))


if __name__ == "__main__":
    main()
