"""Limits that every scripted motion keeps to: speed, force at the gripper, a box to work in, height over the table.

`Guard` stands between a movement and the arm's controller, which pulls the hand towards a goal set relative to it. An
action within the limits passes bit for bit; one that would leave them is changed, and the control step is counted:

    speed, turn   scaled to the steady speed that is allowed
    force         what of it runs against too high a force is scaled down until the force is below its limit, and grows
                  again slowly; a force that stays too high all the same stops the robot for good
    box, table    its goal is set no farther out than the border, which the critically damped hand does not overshoot
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float64

from hone.envs.libero.facts import Facts, Pose
from hone.errors import HoneError
from hone.primitives.grasps import TIP_M
from hone.primitives.skills import POSITION_SCALE_M, ROTATION_SCALE_RAD, SPEED_GAIN, rotation_vector

Limit = Literal["speed", "turn", "force", "box", "table"]
LIMITS: tuple[Limit, ...] = get_args(Limit)
Vector = Float64[np.ndarray, " 3"]
Action = Float64[np.ndarray, " 7"]

CONTROL_STEP_S = 0.05
BACK_OFF = 0.8
"""Over the limit, motion against the force is scaled to what gives this share of it."""
RECOVERY = 1.1
"""Growth of that scale per control step once the force is below its limit."""
ROUNDING_M = 1e-9


@dataclass(frozen=True)
class SafetyLimits:
    """What scripted motion keeps to. The box is for the grip site, in the frame of the robot's foot."""

    speed_m_s: float = 0.30
    """Steady speed of the hand that an action may ask for (m/s)."""
    turn_rad_s: float = 1.8
    """The same of its rotation (rad/s)."""
    force_n: float = 100.0
    """Of all that touches the hand, together (N)."""
    force_time_s: float = 0.5
    """A force that stays over its limit for longer than this (s) stops the robot for the rest of the episode."""
    box_low_m: tuple[float, float, float] = (0.15, -0.50, -0.05)
    """Corner of the box nearest to the foot, rightmost as the robot sees it, lowest (m)."""
    box_high_m: tuple[float, float, float] = (0.85, 0.50, 0.75)
    """The opposite corner (m)."""
    table_m: float = 0.0
    """Least height of the fingertips over the table (m)."""
    enforced: bool = True
    """If not, everything is measured and nothing is changed."""

    def __post_init__(self) -> None:
        for name in ("speed_m_s", "turn_rad_s", "force_n", "force_time_s"):
            if not getattr(self, name) > 0:
                raise HoneError(f"safety.{name} is {getattr(self, name):g}; it must be positive.")
        if not all(low < high for low, high in zip(self.box_low_m, self.box_high_m, strict=True)):
            raise HoneError(f"the safety box from {self.box_low_m} to {self.box_high_m} m is empty; low must be below.")

    def describe(self) -> str:
        """One line, for a protocol card."""
        low, high = (", ".join(f"{x:g}" for x in corner) for corner in (self.box_low_m, self.box_high_m))
        line = (
            f"{self.speed_m_s:g} m/s, {self.turn_rad_s:g} rad/s, {self.force_n:g} N (for {self.force_time_s:g} s), "
            f"box ({low}) to ({high}) m from the foot, fingertips {self.table_m:g} m over the table"
        )
        return line if self.enforced else f"measured, not enforced: {line}"


@dataclass(frozen=True)
class SafetyStop:
    """Why the robot was stopped for the rest of an episode."""

    limit: Limit
    message: str


class Guard:
    """Keeps one episode's actions within limits, and an account of it. Asked once per control step."""

    def __init__(self, limits: SafetyLimits | None = None) -> None:
        self.limits = limits or SafetyLimits()
        self.stop: SafetyStop | None = None
        self._limited: dict[Limit, int] = dict.fromkeys(LIMITS, 0)
        self._largest = {"speed_m_s": 0.0, "turn_rad_s": 0.0, "force_n": 0.0}
        self._lowest_tip_m = np.inf
        self._eef: Pose | None = None
        self._over = 0
        self._share, self._against = 1.0, np.zeros(3)

    def allow(self, facts: Facts, action: Action) -> Action | None:
        """The action, or one near it that the limits allow; `None` once the robot has been stopped."""
        self._measure(facts)
        if not self.limits.enforced:
            return action
        if self.stop is None:
            self.stop = self._too_long(facts)
        if self.stop is not None:
            return None
        for limit, law in self._laws().items():
            allowed = law(facts, action)
            if allowed is not action:
                self._limited[limit] += 1
                action = allowed
        return action

    def report(self) -> dict[str, Any]:
        """Control steps limited, by kind; the extremes that were measured; and why it stopped, if it did."""
        return {
            "limited": dict(self._limited),
            "largest": dict(self._largest),
            "lowest_tip_m": None if self._eef is None else self._lowest_tip_m,
            "stop": None if self.stop is None else asdict(self.stop),
        }

    def _laws(self) -> dict[Limit, Callable[[Facts, Action], Action]]:
        """In the order in which they are applied; each returns the action itself where it has nothing to change."""
        limits = self.limits
        return {
            "speed": lambda facts, action: slowed(action, slice(0, 3), limits.speed_m_s / POSITION_SCALE_M),
            "turn": lambda facts, action: slowed(action, slice(3, 6), limits.turn_rad_s / ROTATION_SCALE_RAD),
            "force": lambda facts, action: yielding(action, self._against, self._share),
            "box": lambda facts, action: inside_box(facts, action, limits),
            "table": lambda facts, action: above_table(facts, action, limits.table_m),
        }

    def _measure(self, facts: Facts) -> None:
        force = float(np.linalg.norm(facts.hand_force_n))
        seen = {"force_n": force}
        if self._eef is not None:
            turned = rotation_vector(facts.eef.rotation @ self._eef.rotation.T)
            seen["speed_m_s"] = float(np.linalg.norm(facts.eef.position - self._eef.position)) / CONTROL_STEP_S
            seen["turn_rad_s"] = float(np.linalg.norm(turned)) / CONTROL_STEP_S
        self._largest |= {name: max(value, self._largest[name]) for name, value in seen.items()}
        self._lowest_tip_m = min(self._lowest_tip_m, tip_height(facts))
        self._eef = facts.eef
        if force > self.limits.force_n:
            self._over += 1
            self._share *= BACK_OFF * self.limits.force_n / force
            self._against = facts.hand_force_n / force
        else:
            self._over = 0
            self._share = min(1.0, self._share * RECOVERY)

    def _too_long(self, facts: Facts) -> SafetyStop | None:
        if self._over <= round(self.limits.force_time_s / CONTROL_STEP_S):
            return None
        force = float(np.linalg.norm(facts.hand_force_n))
        over = f"over the limit of {self.limits.force_n:g} N for {self._over * CONTROL_STEP_S:.2f} s"
        return SafetyStop("force", f"the force at the hand was {force:.0f} N, and {over}; the robot was stopped.")


def tip_height(facts: Facts) -> float:
    """Height of the fingertips over the table (m)."""
    return float(facts.eef.position[2] + TIP_M * facts.eef.rotation[2, 2] - facts.table_m)


def slowed(action: Action, part: slice, largest_per_s: float) -> Action:
    """`part` of the action scaled so that its steady speed is at most `largest_per_s` action units per second."""
    asked = SPEED_GAIN * float(np.linalg.norm(action[part]))
    if asked <= largest_per_s:
        return action
    allowed = action.copy()
    allowed[part] *= largest_per_s / asked
    return allowed


def yielding(action: Action, against: Vector, share: float) -> Action:
    """Of the motion that runs against a force along the unit vector `against`, only `share` is left."""
    into = -float(action[:3] @ against)
    if share >= 1.0 or into <= 0.0:
        return action
    allowed = action.copy()
    allowed[:3] += (1.0 - share) * into * against
    return allowed


def inside_box(facts: Facts, action: Action, limits: SafetyLimits) -> Action:
    """The goal of the motion within the box; a hand that is outside already goes no farther out."""
    to_world = facts.base.rotation
    here = to_world.T @ (facts.eef.position - facts.base.position)
    goal = here + to_world.T @ action[:3] * POSITION_SCALE_M
    kept = np.clip(goal, np.minimum(limits.box_low_m, here), np.maximum(limits.box_high_m, here))
    if np.abs(kept - goal).max() < ROUNDING_M:
        return action
    return np.concatenate([to_world @ (kept - here) / POSITION_SCALE_M, action[3:]])


def above_table(facts: Facts, action: Action, least_m: float) -> Action:
    """The goal of the fingertips at least this high over the table; lower ones go no lower."""
    lowest = min(least_m - tip_height(facts), 0.0) / POSITION_SCALE_M
    if action[2] >= lowest - ROUNDING_M / POSITION_SCALE_M:
        return action
    return np.concatenate([action[:2], [lowest], action[3:]])
