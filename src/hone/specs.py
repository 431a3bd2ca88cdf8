"""What the numbers mean. An environment and a policy each declare a `Spec`; where they differ the run does not start.

Silent convention mismatches (quaternion order, gripper sign, a flipped image) are the commonest cause of a policy that
scores 0 % for no visible reason, so `check_compatible` raises and names the field.
"""

from __future__ import annotations

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
    """Conventions of actions and observations. The defaults are LIBERO's OSC_POSE interface as Hone uses it."""

    action_dim: int = 7
    action_frame: Literal["delta", "absolute"] = "delta"
    rotation: Literal["rotation_vector", "euler", "quaternion_xyzw"] = "rotation_vector"
    action_low: float = -1.0
    action_high: float = 1.0
    gripper: Literal["close_positive", "open_positive"] = "close_positive"
    control_rate_hz: float = 20.0
    proprio: str = "eef_pos_m3+axis_angle_rad3+finger_qpos_m2"
    cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")
    image_size: int = 84
    image_orientation: Orientation = "upright"
    state_tokens: str = "none"
    """Layout of privileged object tokens, or 'none'."""
    facts: bool = False
    """Privileged: the typed truth about the scene."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Spec:
        return cls(**{**data, "cameras": tuple(data["cameras"])})


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
