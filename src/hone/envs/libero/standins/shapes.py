"""Solid shapes of the stand-in assets: boxes, and what can be put together from boxes.

Everything that collides is a box, as in LIBERO's own assets: box-box contacts are the steadiest, and grasp samplers
can rely on it. Lengths in metres, sizes are half extents, quaternions (w, x, y, z), as in MuJoCo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
Rgba = tuple[float, float, float, float]
Axis = Literal["x", "y", "z"]

UPRIGHT: Quaternion = (1.0, 0.0, 0.0, 0.0)
_TURN_Z_TO: dict[Axis, Quaternion] = {
    "x": (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0),
    "y": (math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0),
    "z": UPRIGHT,
}
"""Rotation that takes the z axis to the named axis."""


@dataclass(frozen=True)
class Solid:
    """A box (`size` 3 half extents) or a cylinder (`size` radius, half length; axis z before `quat`)."""

    kind: Literal["box", "cylinder"]
    size: tuple[float, ...]
    pos: Vector
    quat: Quaternion = UPRIGHT

    @property
    def volume(self) -> float:
        if self.kind == "box":
            return 8 * math.prod(self.size)
        return math.pi * self.size[0] ** 2 * 2 * self.size[1]


@dataclass(frozen=True)
class Painted:
    """A solid to look at, in one colour or a material of the scene's asset section."""

    solid: Solid
    rgba: Rgba
    material: str | None = None


def paint(rgba: Rgba, *solids: Solid, material: str | None = None) -> tuple[Painted, ...]:
    return tuple(Painted(solid, rgba, material) for solid in solids)


def box(low: Vector, high: Vector) -> Solid:
    """The box between two opposite corners."""
    size = tuple((b - a) / 2 for a, b in zip(low, high, strict=True))
    x, y, z = ((a + b) / 2 for a, b in zip(low, high, strict=True))
    return Solid("box", size, (x, y, z))


def cylinder(radius: float, low: float, high: float, axis: Axis, at: tuple[float, float] = (0.0, 0.0)) -> Solid:
    """A cylinder along `axis` from `low` to `high`, centred at `at` in the other two coordinates (in x, y, z order)."""
    return Solid("cylinder", (radius, (high - low) / 2), _along(axis, (low + high) / 2, at), _TURN_Z_TO[axis])


def octagonal_prism(
    radius: float, low: float, high: float, axis: Axis, at: tuple[float, float] = (0.0, 0.0)
) -> tuple[Solid, ...]:
    """Five boxes whose union is an octagonal prism with apothem `radius`, standing on the square one.

    Four flat boxes through the axis, one per pair of opposite faces, cover an octagon exactly. They end 0.5 mm short of
    the square core, so that a standing prism has four contacts instead of twenty.
    """
    turn = _TURN_Z_TO[axis]
    centre, half = _along(axis, (low + high) / 2, at), (high - low) / 2
    side = radius * math.tan(math.pi / 8)
    core = radius * math.sqrt(0.5)
    blades = (
        Solid("box", (radius, side, half - 0.0005), centre, multiply(turn, about_z(k * math.pi / 4))) for k in range(4)
    )
    return (Solid("box", (core, core, half), centre, turn), *blades)


def ring(
    count: int, radius: float, height: float, *, slope: float, length: float, width: float, thickness: float
) -> tuple[Solid, ...]:
    """`count` slabs around the z axis: the wall of a bowl, a plate or a basket.

    Slab centres lie at `radius` and `height`. `slope` is the angle of the slab's outward climb from the horizontal, in
    radians: 0 is a floor, pi/2 an upright wall. `length` (up the slope), `width` (around the axis) and `thickness` are
    full extents.
    """
    return tuple(
        slab(k * 2 * math.pi / count, radius, height, slope=slope, length=length, width=width, thickness=thickness)
        for k in range(count)
    )


def slab(
    azimuth: float, radius: float, height: float, *, slope: float, length: float, width: float, thickness: float
) -> Solid:
    """One slab of a `ring`, at this azimuth."""
    centre = (radius * math.cos(azimuth), radius * math.sin(azimuth), height)
    quat = multiply(about_z(azimuth), about_y(-slope))
    return Solid("box", (length / 2, width / 2, thickness / 2), centre, quat)


def strut(
    azimuth: float, start: tuple[float, float], end: tuple[float, float], *, width: float, thickness: float
) -> Solid:
    """A slab whose middle line runs from `start` to `end`, both (radius, height): a piece of a handle, a brace."""
    (r0, z0), (r1, z1) = start, end
    return slab(
        azimuth,
        (r0 + r1) / 2,
        (z0 + z1) / 2,
        slope=math.atan2(z1 - z0, r1 - r0),
        length=math.hypot(r1 - r0, z1 - z0),
        width=width,
        thickness=thickness,
    )


def wall(
    count: int, start: tuple[float, float], end: tuple[float, float], *, thickness: float, turn: float = 0.0
) -> tuple[Solid, ...]:
    """A ring of `count` struts from `start` to `end`, both (radius, height), closed on the outside at its wider end.

    `turn` is the azimuth of the first one.
    """
    width = 2 * (max(start[0], end[0]) + thickness / 2) * math.tan(math.pi / count)
    return tuple(
        strut(turn + k * 2 * math.pi / count, start, end, width=width, thickness=thickness) for k in range(count)
    )


def housing(low: Vector, high: Vector, room_low: Vector, room_high: Vector) -> tuple[Solid, ...]:
    """Five boxes that fill the box `low`..`high` around a room `room_low`..`room_high` that is open towards -y.

    Floor and roof run between the sides, the back between floor and roof.
    """
    (x0, y0, z0), (x1, y1, z1) = low, high
    (left, _, floor), (right, back, roof) = room_low, room_high
    return (
        box((x0, y0, z0), (left, y1, z1)),
        box((right, y0, z0), (x1, y1, z1)),
        box((left, y0, z0), (right, y1, floor)),
        box((left, y0, roof), (right, y1, z1)),
        box((left, back, floor), (right, y1, roof)),
    )


def moved(by: Vector, *solids: Solid) -> tuple[Solid, ...]:
    """The solids, displaced."""
    return tuple(
        replace(solid, pos=(solid.pos[0] + by[0], solid.pos[1] + by[1], solid.pos[2] + by[2])) for solid in solids
    )


def about_z(angle: float) -> Quaternion:
    return (math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2))


def about_y(angle: float) -> Quaternion:
    return (math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0)


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """Rotation `b`, then `a`."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


def _along(axis: Axis, position: float, at: tuple[float, float]) -> Vector:
    first, second = at
    if axis == "x":
        return (position, first, second)
    if axis == "y":
        return (first, position, second)
    return (first, second, position)
