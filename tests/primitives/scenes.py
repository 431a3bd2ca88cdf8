"""A scene that needs no simulator: boxes on a table, and a hand that moves as OSC_POSE would in free space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hone.envs.libero.facts import Box, Facts, Pose, Region
from hone.primitives.grasps import downward
from hone.primitives.skills import POSITION_SCALE_M, ROTATION_SCALE_RAD, SPEED_GAIN

DT_S = 0.05
MAX_WIDTH_M, THING_WIDTH_M, FINGER_STEP_M = 0.08, 0.04, 0.02


def box(half: tuple[float, float, float], center: tuple[float, float, float] = (0, 0, 0)) -> Box:
    return Box(np.array(center, float), np.eye(3), np.array(half, float))


def upright(x: float, y: float, z: float) -> Pose:
    return Pose(np.array([x, y, z], float), np.eye(3))


BRICK = (box((0.02, 0.02, 0.03)),)
BIN = (
    box((0.07, 0.07, 0.005)),
    box((0.005, 0.07, 0.05), (0.07, 0, 0.05)),
    box((0.005, 0.07, 0.05), (-0.07, 0, 0.05)),
    box((0.07, 0.005, 0.05), (0, 0.07, 0.05)),
    box((0.07, 0.005, 0.05), (0, -0.07, 0.05)),
)


def brick_and_bin(brick_x: float = 0.0, brick_y: float = -0.1) -> Facts:
    """A brick that stands on the table (z = 0) and a bin to put it in."""
    return Facts(
        task_name="brick",
        base=upright(-0.6, 0.0, 0.0),
        eef=Pose(np.array([-0.1, 0.0, 0.25]), downward(np.pi / 2)),
        gripper_width_m=MAX_WIDTH_M,
        hand_force_n=np.zeros(3),
        table_m=0.0,
        objects={"brick": upright(brick_x, brick_y, 0.03), "bin": upright(0.0, 0.2, 0.005)},
        fixtures={},
        parts={},
        regions={"bin_inside": Region(upright(0.0, 0.2, 0.05), np.array([0.06, 0.06, 0.05]), "bin")},
        joints={},
        shapes={"brick": BRICK, "bin": BIN},
        contacts=frozenset(),
        goal=(("in", "brick", "bin_inside"),),
        satisfied=(False,),
        of_interest=("brick", "bin"),
    )


def step(facts: Facts, action: np.ndarray, slippery: bool = False) -> Facts:
    """The next facts: the hand moves, fingers close on what is between them, a held brick follows, a free one falls."""
    position = facts.eef.position + SPEED_GAIN * DT_S * POSITION_SCALE_M * action[:3]
    rotation = _rotation(SPEED_GAIN * DT_S * ROTATION_SCALE_RAD * action[3:6]) @ facts.eef.rotation
    eef = Pose(position, rotation)
    brick = facts.objects["brick"]
    reached = np.linalg.norm(brick.position - facts.eef.position) < 0.03
    least = THING_WIDTH_M if reached and not slippery else 0.0
    width = float(np.clip(facts.gripper_width_m - FINGER_STEP_M * action[6], least, MAX_WIDTH_M))
    held = reached and not slippery and width <= THING_WIDTH_M
    if held:
        moved = brick.position + position - facts.eef.position
    else:
        over_bin = np.all(np.abs(brick.position[:2] - facts.objects["bin"].position[:2]) < 0.06)
        moved = np.append(brick.position[:2], max(0.04 if over_bin else 0.03, brick.position[2] - 0.05))
    inside = facts.regions["bin_inside"]
    satisfied = bool(np.all(np.abs(moved - inside.pose.position) < inside.half_size))
    return replace(
        facts,
        eef=eef,
        gripper_width_m=width,
        objects={**facts.objects, "brick": Pose(moved, np.eye(3))},
        satisfied=(satisfied,),
    )


def _rotation(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
