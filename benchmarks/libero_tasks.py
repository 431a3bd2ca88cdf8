"""Every LIBERO task on the stand-in assets: does it compose, do its stored states settle, can the expert solve it?

    python benchmarks/libero_tasks.py --suite libero_10 --originals FOLDER

For each task the 50 stored initial states are loaded, and every fifth is held for 20 control steps without a command.
With a folder of LIBERO's original assets the same is done there, and the positions of all movable things are compared.
When all scenes are done, the scripted expert plays a few official placements of each task.

Appends JSON lines to benchmarks/results/libero_tasks.jsonl, one per task for the scene and one for the expert, skips
what has a line for these assets, and at the end writes docs/libero_tasks.md from all lines.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float64

from hone.envs.libero.assets import AssetPack, asset_pack
from hone.envs.libero.engine import Slot, build_stepper
from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.scene import Scene, load_scene
from hone.envs.libero.suites import SUITES, tasks
from hone.errors import HoneError
from hone.evaluation.run_folder import read_rows
from hone.primitives.expert import Expert
from hone.types import Placement, Task
from rows import RESULTS, append_row, finished

NAME = "libero_tasks"
TABLE = Path(__file__).parent.parent / "docs" / "libero_tasks.md"
NO_OP = np.array([0, 0, 0, 0, 0, 0, -1.0])
WAIT_STEPS = 10
"""What LIBERO's protocol waits before the policy acts."""
TABLES = ("table", "living_room_table", "study_table")
NEAR_M = 0.01
HELD = slice(0, 50, 5)
"""Which of the stored states are held for a while."""


@dataclass(frozen=True)
class Settling:
    """Positions (m) of the movable things of the `n` held states, after one and after two waits."""

    names: tuple[str, ...]
    waited: Float64[np.ndarray, "n things 3"]
    later: Float64[np.ndarray, "n things 3"]
    loaded: int
    """How many of all stored states were loaded."""
    deepest_m: float
    """Deepest overlap, in any of them, of a movable thing with anything."""
    floor_m: float
    """Height of what the things stand on."""


def settle(scene: Scene) -> Settling:
    """Load every stored state, hold some. Raises `HoneError` where a state does not fit the model."""
    model, states = scene.model, scene.official_states
    slot, stepper = Slot(model, scene.robot, scene.goal), build_stepper("native", 1)
    bodies = [model.body(f"{name}_main").id for name in scene.objects]
    chunk, limit = np.tile(NO_OP, (1, WAIT_STEPS, 1)), np.array([WAIT_STEPS])
    deepest = 0.0
    for state in states:
        slot.reset(state)
        deepest = max(deepest, _deepest_overlap(model, slot.data, bodies))
    positions = []
    for state in states[HELD]:
        slot.reset(state)
        for _ in range(2):
            stepper.step([slot], chunk, limit, stop_at_success=False)
            positions.append(slot.data.xpos[bodies].copy())
    waited, later = np.array(positions[::2]), np.array(positions[1::2])
    return Settling(scene.objects, waited, later, len(states), deepest, _surface(model, slot.data))


def _deepest_overlap(model: mujoco.MjModel, data: mujoco.MjData, bodies: list[int]) -> float:
    roots = model.body_rootid[model.geom_bodyid[data.contact.geom[: data.ncon]]]
    of_things = np.isin(roots, model.body_rootid[bodies]).any(axis=1)
    return float(max(-data.contact.dist[: data.ncon][of_things], default=0.0))


def _surface(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Height of the table's top, or of the floor where there is no table."""
    tops = [0.0]
    for geom in range(model.ngeom):
        root = model.body(model.body_rootid[model.geom_bodyid[geom]]).name
        if root in TABLES:
            upwards = np.abs(data.geom_xmat[geom].reshape(3, 3)[2]) @ model.geom_aabb[geom, 3:]
            tops.append(data.geom_xpos[geom, 2] + upwards)
    return float(max(tops))


def examine(task: Task, standin: AssetPack, original: AssetPack | None) -> dict[str, Any]:
    """What a task's scene is like."""
    began = time.perf_counter()
    try:
        scene = load_scene(task, standin)
        scene.goal.bind(scene.model)
    except HoneError as error:
        return {"composes": False, "error": str(error)}
    row: dict[str, Any] = {"composes": True, "seconds_to_load": round(time.perf_counter() - began, 2)}
    ours = settle(scene)
    row["states"] = ours.loaded
    row["finite"] = bool(np.isfinite(ours.later).all())
    row["moved_mm"] = _millimetres(np.linalg.norm(ours.later - ours.waited, axis=-1).max())
    row["below_surface"] = int((ours.later[..., 2] < ours.floor_m - 0.05).sum())
    row["deepest_mm"] = _millimetres(ours.deepest_m)
    row["original"] = None
    if original is not None:
        try:
            theirs = settle(load_scene(task, original))
        except HoneError:
            theirs = None
        if theirs is not None:
            assert theirs.names == ours.names
            apart = np.linalg.norm(ours.later - theirs.later, axis=-1)
            worst = np.unravel_index(apart.argmax(), apart.shape)
            row["original"] = {
                "median_mm": _millimetres(np.median(apart)),
                "far": int((apart > NEAR_M).sum()),
                "things": apart.size,
                "worst_mm": _millimetres(apart.max()),
                "worst": [int(worst[0]), ours.names[worst[1]]],
                "moved_mm": _millimetres(np.linalg.norm(theirs.later - theirs.waited, axis=-1).max()),
                "below_surface": int((theirs.later[..., 2] < theirs.floor_m - 0.05).sum()),
                "deepest_mm": _millimetres(theirs.deepest_m),
            }
    return row


def _millimetres(metres: float) -> float:
    return round(1000 * float(metres), 1)


def play(task: Task, placements: int) -> list[bool] | None:
    """The expert's success on the first official placements, or None where it does not know how."""
    env = LiberoConfig(images=False, physics="fast").build(1)
    successes = []
    for index in range(placements):
        env.reset([0], [task], [Placement("official", index)])
        expert, success = Expert(), False
        try:
            while (command := expert.act(env.facts([0])[0])) is not None:
                result = env.step([0], command.action.astype(np.float32)[None, None])
                success = bool(result.terminated[0])
                if result.done[0]:
                    break
        except HoneError:
            return None
        successes.append(success)
    return successes


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    scenes = {(row["suite"], row["index"]): row for row in rows if row["kind"] == "scene"}
    played = {(row["suite"], row["index"]): row["successes"] for row in rows if row["kind"] == "expert"}
    lines = [HEADER]
    for suite in SUITES:
        keys = [(suite, task.index) for task in tasks(suite) if (suite, task.index) in scenes]
        if not keys:
            continue
        solved = [success for key in keys for success in played.get(key) or []]
        lines.append(f"\n## {suite}\n")
        lines.append(
            f"{len(keys)} of {len(tasks(suite))} tasks examined; "
            f"{sum(scenes[key]['composes'] for key in keys)} of them compose; "
            f"{sum(scenes[key].get('states', 0) for key in keys)} of {50 * len(keys)} stored states load"
            + (f"; the expert solves {sum(solved)} of {len(solved)} placements.\n" if solved else ".\n")
        )
        lines += [COLUMNS, "|" + "---|" * (COLUMNS.count("|") - 1)]
        lines += [_line(scenes[key], played.get(key, [])) for key in keys]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


HEADER = """# The 130 LIBERO tasks on the stand-in assets

Made by `python benchmarks/libero_tasks.py`; the raw rows are in `benchmarks/results/libero_tasks.jsonl`.
Where a cell has two numbers, the second is that of LIBERO's original assets.

- **states**: how many of the 50 stored initial states load. Every fifth is then held for 20 control steps without a
  command.
- **moves**: the largest movement of a movable thing from step 10, where an episode begins, to step 20 (mm). LIBERO
  stores tall things of its living room partly in the floor: they jump up, and at step 10 they still fall.
- **overlap**: the deepest overlap of a movable thing with anything when a state is loaded (mm).
- **fell**: things more than 5 cm below the table's top, or the floor, at step 20.
- **apart**: how far things are from where they are on the original assets at step 20: the median in mm, and how many
  are more than 1 cm off. A dash: no original assets at hand. Only LIBERO's descriptions shape the physics; meshes are
  for the eye, and where one was not at hand a placeholder took its place.
- **expert**: official placements that the scripted expert solves within the step cap. A dash: it does not
  know how.
"""
COLUMNS = "| # | task | composes | states | moves | overlap | fell | apart | expert |"


def _line(row: dict[str, Any], expert: list[bool] | None) -> str:
    if not row["composes"]:
        return f"| {row['index']} | {row['task']} | no | - | - | - | - | - | - |"
    original = row["original"]
    pair = {
        key: f"{row[key]:g}" + (f" / {original[key]:g}" if original else "")
        for key in ("moved_mm", "deepest_mm", "below_surface")
    }
    apart = f"{original['median_mm']:g}; {original['far']} of {original['things']}" if original else "-"
    solved = "-" if expert is None else f"{sum(expert)} of {len(expert)}" if expert else "not run"
    cells = (row["index"], row["task"], "yes", f"{row['states']} of 50", *pair.values(), apart, solved)
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", nargs="+", default=list(SUITES), choices=SUITES)
    parser.add_argument("--originals", help="folder of LIBERO's original assets, to compare with")
    parser.add_argument("--placements", type=int, default=2, help="official placements the expert plays")
    arguments = parser.parse_args()
    standin = asset_pack("standin")
    original = asset_pack(arguments.originals) if arguments.originals else None
    wanted = [task for suite in arguments.suite for task in tasks(suite)]
    for kind in ("scene", "expert"):
        for task in wanted:
            row: dict[str, Any] = {"kind": kind, "suite": task.suite, "index": task.index, "assets": standin.digest}
            if finished(NAME, **row):
                continue
            if kind == "scene":
                row |= {"task": task.name} | examine(task, standin, original)
            else:
                row |= {"successes": play(task, arguments.placements)}
            append_row(NAME, row)
            print(json.dumps(row), flush=True)
    write_table(read_rows(RESULTS / f"{NAME}.jsonl"), TABLE)


if __name__ == "__main__":
    main()
