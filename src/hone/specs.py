"""What the numbers mean. An environment and a policy each declare a `Spec`; where they differ the run does not start.

Silent convention mismatches (quaternion order, gripper sign, a flipped image) are the commonest cause of a policy that
scores 0 % for no visible reason, so `check_compatible` raises and names the field.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from hone.errors import HoneError

Orientation = Literal["upright", "opengl", "rotated_180"]
"""`opengl`: rows from the bottom up, as robosuite returns pictures. `upright`: rows from the top down, as a person sees
them. `rotated_180`: robosuite's picture turned by 180 degrees (`image[::-1, ::-1]`), the input of published VLAs; it is
the upright picture mirrored left to right."""


class SpecMismatchError(HoneError):
    """Policy and environment disagree about a convention."""


@dataclass(frozen=True)
class Spec:
    """Conventions of actions and observations. The defaults are LIBERO's OSC_POSE interface as Hone uses it.

    "native" stands for a convention of a declared environment's own (`hone.envs.registered`); which one it is then
    follows from `proprio`, which names the environment.
    """

    action_dim: int = 7
    action_frame: Literal["delta", "absolute", "native"] = "delta"
    rotation: Literal["rotation_vector", "euler", "quaternion_xyzw", "native"] = "rotation_vector"
    action_low: float = -1.0
    action_high: float = 1.0
    gripper: Literal["close_positive", "open_positive", "native"] = "close_positive"
    control_rate_hz: float = 20.0
    proprio: str = "eef_pos_m3+axis_angle_rad3+finger_qpos_m2"
    cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")
    image_size: int = 84
    image_orientation: Orientation = "upright"
    state_tokens: str = "none"
    """Layout of privileged object tokens, or 'none'."""
    facts: bool = False
    """Privileged: the typed truth about the scene."""

    @property
    def robot(self) -> Spec:
        """The part that is the robot's: what its actions and its proprioception mean. The rest as by default."""
        return Spec(**{name: getattr(self, name) for name in ROBOT})

    @property
    def privilege(self) -> str:
        """What a policy of this spec is told that a robot could not see, in words."""
        if self.facts:
            return "facts of the scene (poses, shapes, joints, contacts, force at the hand)"
        if vector_width(self.state_tokens) is not None:
            return f"the simulator's state ({self.state_tokens})"
        return "object poses" if self.state_tokens != "none" else "none"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Spec:
        return cls(**{**data, "cameras": tuple(data["cameras"])})


ROBOT = ("action_dim", "action_frame", "rotation", "action_low", "action_high", "gripper", "control_rate_hz", "proprio")
"""Fields of a `Spec` that belong to the robot; the others are what a policy looks at."""


def vector_layout(width: int, meaning: str) -> str:
    """The name of a layout of `width` plain numbers, which networks take as they come: "vector4: hand[0:4]"."""
    return f"vector{width}: {meaning}"


def vector_width(layout: str) -> int | None:
    """How many numbers a plain vector has; `None` for a layout with a meaning of its own."""
    found = re.match(r"vector(\d+): ", layout)
    return None if found is None else int(found[1])


def check_compatible(policy: Spec, environment: Spec) -> None:
    """Raise `SpecMismatchError` naming every field in which the policy needs what the environment does not give.

    What a policy does not use (no cameras, no state tokens, no facts) it does not constrain.
    """
    ignored: set[str] = set()
    if not policy.cameras:
        ignored |= {"cameras", "image_size", "image_orientation"}
    if policy.state_tokens == "none":
        ignored.add("state_tokens")
    if not policy.facts:
        ignored.add("facts")
    differing = [
        f"{f.name}: policy {getattr(policy, f.name)!r}, environment {getattr(environment, f.name)!r}"
        for f in fields(Spec)
        if f.name not in ignored and getattr(policy, f.name) != getattr(environment, f.name)
    ]
    if differing:
        raise SpecMismatchError(
            f"policy and environment disagree on {'; '.join(differing)}. "
            "Rebuild one of them with the other's convention."
        )
