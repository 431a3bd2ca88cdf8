"""Furniture with moving parts: cabinets with three drawers, a flat stove with a knob, a microwave with a door.

A fixture is a tree of bodies; those that move carry a joint. Names, joint axes and ranges, and the sites that LIBERO's
predicates read are LIBERO's; the shapes keep the originals' extents, so drawers hold and the stove carries what they
did. Lengths in metres, angles in radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hone.envs.libero.standins.objects import Placing, Region
from hone.envs.libero.standins.shapes import (
    UPRIGHT,
    Painted,
    Quaternion,
    Rgba,
    Solid,
    Vector,
    box,
    cylinder,
    housing,
    octagonal_prism,
    paint,
)


@dataclass(frozen=True)
class Joint:
    name: str
    kind: Literal["slide", "hinge"]
    axis: Vector
    range: tuple[float, float]
    damping: float


@dataclass(frozen=True)
class Inertial:
    """Mass (kg), its centre and the diagonal of its inertia (kg m²) of a part that moves; the default is LIBERO's."""

    mass: float = 3.0
    pos: Vector = (0.0, 0.0, 0.0)
    diagonal: Vector = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Burner:
    """The disc on a stove that LIBERO makes visible while the stove is on."""

    name: str
    size: tuple[float, float]
    pos: Vector


Contact = Literal["object", "default", "microwave"]


@dataclass(frozen=True)
class Part:
    """A body of a fixture. `contact` says how it touches: as LIBERO's objects, by MuJoCo's defaults, or as LIBERO's
    microwave, whose door and body are soft and do not touch each other. `inertial` counts where there is a joint.
    """

    name: str
    collision: tuple[Solid, ...] = ()
    visual: tuple[Painted, ...] = ()
    regions: tuple[Region, ...] = ()
    joint: Joint | None = None
    inertial: Inertial = Inertial()
    parts: tuple[Part, ...] = ()
    pos: Vector = (0.0, 0.0, 0.0)
    quat: Quaternion = UPRIGHT
    contact: Contact = "object"
    burner: Burner | None = None


FURNITURE = Placing(bottom=-0.045, top=0.045, radius=0.045)


@dataclass(frozen=True)
class Fixture:
    """Its tree of bodies, what LIBERO's samplers place it by, and the materials of its asset section.

    The tree hangs on a body `object`, unless `base` itself has this name.
    """

    base: Part
    placing: Placing = FURNITURE
    materials: tuple[str, ...] = ()


WOOD: Rgba = (1.0, 1.0, 1.0, 1.0)
METAL: Rgba = (0.80, 0.80, 0.82, 1.0)
BLACK: Rgba = (0.08, 0.08, 0.09, 1.0)
KNOB: Rgba = (0.15, 0.15, 0.17, 1.0)
STEEL: Rgba = (0.66, 0.67, 0.70, 1.0)
GLOW: Rgba = (0.10, 0.55, 0.45, 1.0)

DOOR = Inertial(0.26, (0.1544, -0.0199, 0.0), (0.000836, 0.002438, 0.001714))
"""Of the microwave's door: the original's, whose handle is heavier than its leaf."""

ON_ITS_SIDE: Quaternion = (0.70711, 0.0, 0.70711, 0.0)
"""LIBERO's drawer sites are turned by a right angle about y; their sizes are given in that frame."""


@dataclass(frozen=True)
class Finish:
    """Colours of a cabinet: its body (or the material of that), the fronts and the insides of its drawers."""

    body: Rgba
    front: Rgba
    drawer: Rgba
    material: str | None = None


def _drawer(level: str, finish: Finish, height: float, handle: float, region: float) -> Part:
    """A drawer whose front's centre is at `height`; it opens towards -y."""
    inside_low, inside_high = height - 0.0324, height + 0.0322
    front = box((-0.1060, -0.0780, height - 0.0339), (0.1127, -0.0648, height + 0.0339))
    back = box((-0.1035, 0.0872, inside_low), (0.1101, 0.0943, inside_high))
    left = box((-0.1043, -0.0704, inside_low), (-0.0995, 0.0925, inside_high))
    right = box((0.1065, -0.0704, inside_low), (0.1113, 0.0925, inside_high))
    floor = box((-0.1035, -0.0705, height - 0.0319), (0.1104, 0.0914, height - 0.0239))
    bar = box((-0.0472, -0.1098, handle - 0.0077), (0.0417, -0.0934, handle + 0.0077))
    posts = tuple(
        box((x - 0.0051, -0.0941, handle - 0.0055), (x + 0.0051, -0.0729, handle + 0.0055)) for x in (0.0292, -0.0356)
    )
    return Part(
        name=f"cabinet_{level}",
        collision=(front, back, left, right, floor, bar, *posts),
        visual=paint(finish.front, front) + paint(finish.drawer, back, left, right, floor) + paint(METAL, bar, *posts),
        regions=(Region(f"{level}_region", (0.02993, 0.07561, 0.10224), (0.00328, 0.01128, region), ON_ITS_SIDE),),
        joint=Joint(f"{level}_level", "slide", (0.0, 1.0, 0.0), (-0.16, 0.01), damping=50.0),
    )


def _cabinet(finish: Finish) -> Fixture:
    carcass = (
        box((-0.1188, -0.0733, 0.0049), (0.1268, 0.1060, 0.0089)),  # bottom
        box((-0.1173, -0.0792, 0.0084), (-0.1070, 0.1117, 0.2201)),  # sides
        box((0.1138, -0.0792, 0.0084), (0.1242, 0.1117, 0.2201)),
        box((-0.1170, 0.1071, 0.0084), (0.1212, 0.1117, 0.2201)),  # back
        box((-0.1079, -0.0540, 0.0085), (0.1158, 0.1080, 0.0102)),  # shelves, behind the fronts
        box((-0.1078, -0.0540, 0.0784), (0.1156, 0.1080, 0.0801)),
        box((-0.1079, -0.0540, 0.1485), (0.1154, 0.1080, 0.1502)),
        box((-0.1234, -0.0783, 0.2201), (0.1312, 0.1099, 0.2230)),  # top
    )
    base = Part(
        name="base",
        collision=carcass,
        visual=paint(finish.body, *carcass, material=finish.material),
        regions=(Region("top_side", (0.12534, 0.09438, 0.00147), (0.00354, 0.01567, 0.22152)),),
        parts=(
            _drawer("top", finish, height=0.1833, handle=0.1839, region=0.18563),
            _drawer("middle", finish, height=0.1136, handle=0.1104, region=0.11690),
            _drawer("bottom", finish, height=0.0450, handle=0.0411, region=0.04701),
        ),
    )
    return Fixture(base, materials=(finish.material,) if finish.material else ())


def _flat_stove() -> Fixture:
    block = box((-0.095, -0.095, -0.02), (0.095, 0.095, 0.02))
    top = box((-0.095, -0.095, 0.0245), (0.095, 0.095, 0.0255))
    ring_of_burner = cylinder(0.088, 0.02, 0.0250, "z")
    burner = Part(
        name="burner",
        collision=(block, top),
        visual=paint(METAL, block),
        regions=(Region("cook_region", (0.075, 0.075, 0.0025), (0.0, 0.0, 0.0)),),
        parts=(Part("burner_plate", visual=paint(BLACK, ring_of_burner)),),
        pos=(0.15, 0.0, 0.0),
        contact="default",
        burner=Burner("burner", (0.0625, 0.0005), (0.0, 0.0, 0.0255)),
    )
    disc = octagonal_prism(0.0470, 0.0004, 0.0128, "z", (0.0013, 0.0043))
    ridge = (
        box((-0.0110, -0.0172, 0.0014), (0.0135, 0.0520, 0.0500)),
        box((-0.0110, -0.0300, 0.0060), (0.0133, -0.0172, 0.0435)),
        box((-0.0110, -0.0407, 0.0005), (0.0132, -0.0300, 0.0338)),
    )
    button = Part(
        name="button",
        collision=(*disc, *ridge),
        visual=paint(METAL, cylinder(0.0470, 0.0004, 0.0128, "z", (0.0013, 0.0043))) + paint(KNOB, *ridge),
        joint=Joint("button", "hinge", (0.0, 0.0, 1.0), (-0.005, 2.1), damping=1.0),
        quat=(math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)),
    )
    return Fixture(Part(name="base", parts=(burner, button)))


def _microwave() -> Fixture:
    """A housing with a room of 21 by 17 by 14 cm, a panel of buttons, and a door that opens towards -y and -x."""
    front, hinge, opening = -0.0880, -0.1725, 0.0865
    walls = housing((-0.1725, front, 0.0), (0.1725, 0.1110, 0.1870), (-0.1435, front, 0.0240), (0.0635, 0.0805, 0.1680))
    panel = box((opening + 0.001, -0.1105, 0.0), (0.1725, front + 0.0015, 0.1870))
    buttons = tuple(
        box((x - 0.009, -0.1115, z - 0.007), (x + 0.009, -0.1100, z + 0.007))
        for x in (0.112, 0.148)
        for z in (0.035, 0.065, 0.095)
    )
    display = box((0.100, -0.1112, 0.125), (0.160, -0.1100, 0.160))

    leaf = box((0.0, -0.0250, -0.0925), (opening - hinge, -0.0010, 0.0925))
    bar = box((0.2280, -0.0640, -0.0750), (0.2470, -0.0440, 0.0750))
    posts = tuple(box((0.2280, -0.0440, z - 0.0100), (0.2470, -0.0250, z + 0.0100)) for z in (-0.0650, 0.0650))
    window = box((0.0350, -0.0260, -0.0600), (0.2050, -0.0005, 0.0600))
    door = Part(
        name="microdoorroot",
        collision=(leaf, bar, *posts),
        visual=paint(BLACK, leaf) + paint(KNOB, window) + paint(METAL, bar, *posts),
        joint=Joint("microjoint", "hinge", (0.0, 0.0, 1.0), (-2.094, 0.0), damping=0.5),
        inertial=DOOR,
        pos=(hinge, front, 0.0960),
        contact="microwave",
    )
    base = Part(
        name="object",
        collision=(*walls, panel),
        visual=paint(STEEL, *walls) + paint(BLACK, panel) + paint(METAL, *buttons) + paint(GLOW, display),
        regions=(
            Region("top_side", (0.12, 0.0835, 0.005), (0.0, 0.01, 0.20)),
            Region("heating_region", (0.12, 0.0835, 0.08), (0.0, 0.01, 0.096)),
        ),
        parts=(door,),
        contact="microwave",
    )
    return Fixture(base, Placing(bottom=-0.06, top=0.06, radius=0.015))


ARTICULATED_OBJECTS: dict[str, Fixture] = {
    "wooden_cabinet": _cabinet(
        Finish(WOOD, (0.58, 0.36, 0.18, 1.0), (0.70, 0.50, 0.30, 1.0), material="wood"),
    ),
    "white_cabinet": _cabinet(
        Finish((0.90, 0.90, 0.88, 1.0), (0.97, 0.97, 0.96, 1.0), (0.82, 0.80, 0.76, 1.0)),
    ),
    "flat_stove": _flat_stove(),
    "microwave": _microwave(),
}
"""Files articulated_objects/<name>.xml."""
