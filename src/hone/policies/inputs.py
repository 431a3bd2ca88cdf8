"""What a policy makes of proprioception and of privileged object tokens, and how it normalises them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hone.errors import HoneError, unknown_name
from hone.specs import Spec, vector_width

PROPRIO_FEATURES = 11
"""End-effector position (3), rotation (6), finger joints (2)."""
OBJECT_LAYOUTS = {"objects_v1": (11, 2), "objects_v2": (12, 4)}
"""Width of a token, and how many objects of interest are told apart. A token: position in the world frame (m, 3),
rotation (6), place among the objects of interest (1 for the first, ..., 0 for the others), present (1 or 0); in
"objects_v2" also how far open it is (0 to 1)."""

LENGTH_FLOOR = 0.01
"""Least standard deviation (m) a length or a flag is divided by."""
ROTATION_FLOOR = 0.1
"""Least standard deviation (rad) a rotation is divided by. Demonstrations may hardly turn the hand at all; with the
floor of lengths, the 0.02 rad of turn that exploration adds would be an input nobody has seen (measured: a clone with
80 % success fell to 4 % when it was sampled from, and to 35 % where the demonstrations did turn the hand)."""
PROPRIO_FLOORS = (LENGTH_FLOOR,) * 3 + (ROTATION_FLOOR,) * 6 + (LENGTH_FLOOR,) * 2


def proprio_floors(spec: Spec) -> tuple[float, ...]:
    """Least standard deviation of each feature made of proprioception. Plain numbers are taken for lengths."""
    width = vector_width(spec.proprio)
    return PROPRIO_FLOORS if width is None else (LENGTH_FLOOR,) * width


def state_floors(spec: Spec) -> tuple[float, ...]:
    """The same for the privileged state."""
    width = vector_width(spec.state_tokens)
    if width is not None:
        return (LENGTH_FLOOR,) * width
    if spec.state_tokens not in OBJECT_LAYOUTS:
        raise unknown_name("layout of state tokens", spec.state_tokens, OBJECT_LAYOUTS)
    width, places = OBJECT_LAYOUTS[spec.state_tokens]
    turned = slice(3, 9)
    floors = [LENGTH_FLOOR] * (width - 1 + 3)  # a token without its place, and the relative position
    floors[turned] = [ROTATION_FLOOR] * 6
    return (*floors * places, *(LENGTH_FLOOR,) * 7)


def rotation_6d(axis_angle: Float[Tensor, "B 3"]) -> Float[Tensor, "B 6"]:
    """The first two columns of the rotation matrix (Zhou et al. 2019, arXiv:1812.07035).

    Near a half turn, where LIBERO's gripper lives, axis-angle flips its sign; the matrix does not.
    """
    angle = torch.linalg.vector_norm(axis_angle, dim=-1, keepdim=True)
    x, y, z = (axis_angle / angle.clamp(min=1e-8)).unbind(-1)
    cos, sin = torch.cos(angle[:, 0]), torch.sin(angle[:, 0])
    versine = 1 - cos
    return torch.stack(
        [
            cos + x * x * versine,
            x * y * versine + z * sin,
            x * z * versine - y * sin,
            x * y * versine - z * sin,
            cos + y * y * versine,
            y * z * versine + x * sin,
        ],
        dim=-1,
    )


def proprio_features(proprio: Float[Tensor, "B 8"]) -> Float[Tensor, "B 11"]:
    """Position, 6-d rotation and finger joints."""
    return torch.cat([proprio[:, :3], rotation_6d(proprio[:, 3:6]), proprio[:, 6:]], dim=-1)


def object_features(tokens: Float[Tensor, "B M D"], eef_pos: Float[Tensor, "B 3"]) -> Float[Tensor, "B P"]:
    """The scene as one vector, whatever the number and order of the tokens (`OBJECT_LAYOUTS`).

    For each object of interest up to the second ("objects_v1") or the fourth ("objects_v2"): position, rotation, how
    far open ("objects_v2"), present, position relative to the end effector (13 or 14 numbers; zeros where there is
    none). Rows of the same place, as the drawers of a cabinet have, count by their mean. For the others: their mean
    position, the same relative to the end effector, and whether there are any (7).
    """
    (places,) = (places for width, places in OBJECT_LAYOUTS.values() if width == tokens.shape[-1])
    order = tokens[..., 9].round()
    present = tokens[..., 10] > 0.5
    shown = torch.cat([tokens[..., :9], tokens[..., 11:]], dim=-1)
    parts = []
    for wanted in range(1, places + 1):
        weight = (present & (order == wanted)).to(tokens.dtype)
        token, found = _weighted_mean(shown, weight)
        parts += [token, found, (token[:, :3] - eef_pos) * found]
    others, found = _weighted_mean(tokens[..., :3], (present & (order == 0)).to(tokens.dtype))
    return torch.cat([*parts, others, (others - eef_pos) * found, found], dim=-1)


def _weighted_mean(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over tokens `[B, D]` and whether any token had weight `[B, 1]`; zeros where none had."""
    total = weight.sum(-1, keepdim=True)
    return (values * weight[..., None]).sum(1) / total.clamp(min=1), (total > 0).to(values.dtype)


class Normalizer(nn.Module):
    """Standardises features with statistics fitted once on demonstrations and kept with the weights.

    A feature that hardly moves in the demonstrations would be blown up at the first deviation from them, so every
    standard deviation has a floor (one per feature) and the result is clamped to ±`LIMIT`.
    """

    LIMIT = 5.0

    mean: Tensor
    std: Tensor

    def __init__(self, floors: Sequence[float]) -> None:
        super().__init__()
        dim = len(floors)
        self._floors = torch.tensor(floors)
        # NaN marks statistics that were never fitted.
        self.register_buffer("mean", torch.full((dim,), float("nan")))
        self.register_buffer("std", torch.full((dim,), float("nan")))

    @property
    def is_fitted(self) -> bool:
        return bool(torch.isfinite(self.mean).all() and torch.isfinite(self.std).all())

    def fit(self, features: Float[Tensor, "N D"]) -> None:
        if len(features) < 2 or not torch.isfinite(features).all():
            raise HoneError(f"normalisation needs at least 2 rows of finite numbers; {len(features)} rows came.")
        self.mean.copy_(features.mean(0))
        self.std.copy_(torch.maximum(features.std(0), self._floors.to(features)))

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        if not self.is_fitted:
            raise HoneError(
                "the policy has no normalisation statistics; call fit_normalization on demonstrations first."
            )
        return ((features - self.mean) / self.std).clamp(-self.LIMIT, self.LIMIT)
