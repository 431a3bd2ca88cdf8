"""Makes tests/golden/dmp.json: what the package `movement_primitives` 0.9.1 fits to and rolls out from demonstrations.

    python -m venv golden && golden/bin/pip install movement_primitives==0.9.1 numpy scipy pytransform3d
    golden/bin/python tests/golden/make_golden_dmp.py

The package runs in an environment of its own; the tests read its numbers alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytransform3d.rotations as rotations  # pyright: ignore[reportMissingImports]
from movement_primitives.dmp import DMP, CartesianDMP  # pyright: ignore[reportMissingImports]

DURATION, NUM_BASIS, RIDGE = 2.0, 12, 1e-8
FINE_DT, KEPT = 0.001, 50
"""The package's roll-outs depend on their step; they are made finely, and every fiftieth point is kept."""


def demonstration() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times `[T]`, positions `[T, 3]` and unit quaternions `[T, 4]` of a curved reach that turns."""
    times = np.linspace(0.0, DURATION, 101)
    s = times / DURATION
    rise = 10 * s**3 - 15 * s**4 + 6 * s**5
    positions = np.column_stack(
        [0.4 * rise, -0.2 * rise + 0.05 * np.sin(2 * np.pi * s) * rise, 0.15 * np.sin(np.pi * s) ** 2]
    )
    vectors = np.outer(rise, [0.3, 1.0, -0.4]) + np.outer(0.2 * np.sin(np.pi * rise), [1.0, 0.0, 0.0])
    turns = np.array([rotations.quaternion_from_compact_axis_angle(vector) for vector in vectors])
    return times, positions, turns


def main() -> None:
    times, positions, turns = demonstration()
    cases = []
    for smooth in (False, True):
        line = DMP(3, DURATION, FINE_DT, NUM_BASIS, smooth_scaling=smooth)
        line.imitate(times, positions, RIDGE)
        hand = CartesianDMP(DURATION, FINE_DT, NUM_BASIS, smooth_scaling=smooth)
        hand.imitate(times, np.column_stack([positions, turns]), RIDGE)
        case = {
            "smooth_scaling": smooth,
            "weights": line.get_weights().reshape(3, NUM_BASIS).tolist(),
            "turn_weights": hand.forcing_term_rot.weights_.tolist(),
        }
        goal = positions[-1] + [0.1, 0.15, -0.05]
        turned = rotations.concatenate_quaternions(
            rotations.quaternion_from_compact_axis_angle(np.array([0.0, 0.0, 0.5])), turns[-1]
        )
        for name, end, end_turn in (("path", positions[-1], turns[-1]), ("path_to_new_goal", goal, turned)):
            line.configure(start_y=positions[0], goal_y=end)
            line.reset()
            case[name] = line.open_loop(run_t=DURATION)[1][::KEPT].tolist()
            hand.configure(start_y=np.concatenate([positions[0], turns[0]]), goal_y=np.concatenate([end, end_turn]))
            hand.reset()
            case[f"turn_{name}"] = hand.open_loop(run_t=DURATION)[1][::KEPT, 3:].tolist()
        case["new_goal"], case["new_turn"] = goal.tolist(), turned.tolist()
        cases.append(case)
    golden = {
        "version": "movement_primitives 0.9.1",
        "ridge": RIDGE,
        "kept_dt": FINE_DT * KEPT,
        "times": times.tolist(),
        "positions": positions.tolist(),
        "turns": turns.tolist(),
        "cases": cases,
    }
    path = Path(__file__).with_name("dmp.json")
    path.write_text(json.dumps(golden) + "\n", encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
