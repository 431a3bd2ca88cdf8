"""Doors on a vertical hinge with a bar for a handle (LIBERO's microwave): pull the bar open, push the panel shut."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts, Joint
from hone.primitives.articulated import UP, Vector, come_to, drag, straight
from hone.primitives.conditions import is_closed, is_open, open_end
from hone.primitives.grasps import TIP_M, downward, nearest_yaw, opening_yaw, point_cloud
from hone.primitives.skills import CLOSE, OPEN, Reach, Skill, about_vertical, close_fingers, release

PUSH_RADIUS_M = 0.17
"""From the hinge."""
FINGERS_M = 0.03
"""From the middle of closed fingers to what they push, with a little room."""
BELOW_TOP_M = 0.02
PUSH_LEAD_RAD = 0.35
PULL_LEAD_RAD = 0.45
WIDE_OPEN = 0.7
"""Share of a door's way; LIBERO calls it open from 0.62."""


def close_door(facts: Facts, name: str) -> Skill:
    """Push the panel's outer face with closed fingers that point down, until the door is shut."""
    joint = facts.joints[name]

    def fingers(facts: Facts, ahead: float, off: float) -> tuple[Vector, Float64[np.ndarray, "3 3"]]:
        """Where the fingers are to be: at the panel as it will be when it has turned `ahead` rad further."""
        panel = point_cloud(facts.shapes[joint.part], facts.parts[joint.part])
        along = about_vertical(-ahead * np.sign(open_end(joint))) @ _radial(panel, joint)
        way = _tangent(along, -np.sign(open_end(joint)))
        flat = joint.anchor + PUSH_RADIUS_M * along - (FINGERS_M + off) * way
        height = float(panel[:, 2].max()) - BELOW_TOP_M + TIP_M
        yaw = nearest_yaw(float(np.arctan2(along[1], along[0])), opening_yaw(facts.eef.rotation))
        return np.append(flat[:2], height), downward(yaw)

    facts, arrived = yield from come_to(facts, *fingers(facts, 0.0, 0.04), CLOSE)
    if not arrived:
        return facts, False
    facts, shut = yield from drag(
        facts, lambda now: fingers(now, PUSH_LEAD_RAD, 0.0), lambda now: is_closed(now.joints[name]), CLOSE, 160
    )
    position, rotation = fingers(facts, 0.0, 0.06)
    facts, _ = yield from straight(facts, position, rotation, CLOSE, tolerance=0.02)
    return facts, shut


def open_door(facts: Facts, name: str) -> Skill:
    """Pinch the handle's upper end from above and lead it round the hinge, turning with it."""
    joint = facts.joints[name]
    handle = _handle(facts, joint)
    along = _unit(handle - joint.anchor)
    yaw = nearest_yaw(float(np.arctan2(along[1], along[0])), opening_yaw(facts.eef.rotation))
    above = handle + 0.06 * UP
    facts, arrived = yield from come_to(facts, above, downward(yaw), OPEN)
    if not arrived:
        return facts, False
    facts, arrived = yield from straight(facts, handle, downward(yaw), OPEN)
    if not arrived:
        return facts, False
    facts = yield from close_fingers(facts, Reach(handle, downward(yaw), handle[2]))
    start, arm = facts.joints[name].position, handle - joint.anchor

    def onwards(facts: Facts) -> tuple[Vector, Float64[np.ndarray, "3 3"]]:
        angle = facts.joints[name].position - start + PULL_LEAD_RAD * np.sign(open_end(joint))
        return joint.anchor + about_vertical(angle) @ arm, downward(yaw + 0.7 * angle)

    def wide_open(facts: Facts) -> bool:
        return abs(facts.joints[name].position) > WIDE_OPEN * abs(open_end(joint))

    facts, _ = yield from drag(facts, onwards, wide_open, CLOSE, 200)
    facts, _ = yield from release(facts, opening_yaw(facts.eef.rotation), rise=0.10)
    return facts, is_open(facts.joints[name])


def _handle(facts: Facts, joint: Joint) -> Vector:
    """Where to pinch: the top of the upright box farthest from the hinge, 2 cm down."""
    pose = facts.parts[joint.part]
    uprights = [box for box in facts.shapes[joint.part] if box.half_size.max() > 0.05]
    clouds = [point_cloud([box], pose) for box in uprights]
    bar = max(clouds, key=lambda cloud: float(np.linalg.norm((cloud.mean(0) - joint.anchor)[:2])))
    return np.append(bar[:, :2].mean(0), bar[:, 2].max() - 0.02 + TIP_M / 2)


def _radial(panel: Float64[np.ndarray, "_ 3"], joint: Joint) -> Vector:
    """Level direction from the hinge along the door."""
    return _unit(panel.mean(0) - joint.anchor)


def _unit(vector: Vector) -> Vector:
    level = np.array([vector[0], vector[1], 0.0])
    return level / np.linalg.norm(level)


def _tangent(along: Vector, sign: float) -> Vector:
    """The level direction in which a point at `along` moves when the door turns by a positive (or negative) angle."""
    return sign * np.array([-along[1], along[0], 0.0])
