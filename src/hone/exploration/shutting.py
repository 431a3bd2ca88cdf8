"""How to say what shuts a drawer: closed fingers come down before its handle, leaning back, and push."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from hone.envs.libero.facts import Facts
from hone.exploration.geometry import highest_on_the_way
from hone.primitives.articulated import PUSH_LEAN_DEG, UP, opening_direction, outermost
from hone.primitives.conditions import open_end
from hone.primitives.grasps import TIP_M

BEFORE_M = 0.06
"""How far before the handle the fingertips come down."""
ALIGNED_M = 0.025
"""How far off the line of the push they may be."""
AHEAD_M = 0.10
"""How far a push goes at one look."""
OVER_M = 0.12
"""Between the grip site of a leaning hand and what it passes over."""


@dataclass(frozen=True)
class Motion:
    """Where the grip site is to go (m) and how the hand is to turn (rotation vector, rad), in the world frame."""

    offset: Float64[np.ndarray, " 3"]
    turn: Float64[np.ndarray, " 3"]


def shut(facts: Facts, name: str) -> Motion:
    """The next bit of shutting the drawer on joint `name`."""
    joint = facts.joints[name]
    push = -opening_direction(joint)
    handle, _ = outermost(facts, joint.part, -push)
    lean = np.deg2rad(np.interp(abs(joint.position) / abs(open_end(joint)), (0.0, 1.0), PUSH_LEAN_DEG))
    approach = np.cos(lean) * -UP + np.sin(lean) * push
    sideways = np.cross(push, UP)
    now = facts.eef.rotation
    choices = [np.column_stack([s * sideways, np.cross(approach, s * sideways), approach]) for s in (1.0, -1.0)]
    rotation = max(choices, key=lambda choice: float(np.trace(choice.T @ now)))
    turn = Rotation.from_matrix(rotation @ now.T).as_rotvec()

    tips = facts.eef.position + TIP_M * now[:, 2]
    to_handle = handle - tips
    along = float(to_handle @ push)
    off = to_handle - along * push
    if np.linalg.norm(off) < ALIGNED_M and along < 2 * BEFORE_M:
        return Motion(off + AHEAD_M * push, turn)
    before = to_handle - BEFORE_M * push
    if np.linalg.norm(before[:2]) < ALIGNED_M:
        return Motion(before, turn)
    over = highest_on_the_way(facts, facts.eef.position, facts.eef.position + before) + OVER_M - facts.eef.position[2]
    return Motion(np.append(before[:2] * (0.3 if over > 0.04 else 1.0), over), turn)
