"""Groceries, bowls and the basket: what collides, what is seen, how heavy, where the sites are.

Extents and masses match the collision shapes of LIBERO's originals (to a millimetre, a percent), so that LIBERO's
stored initial states put things where they stood there. Every object has colours of its own.
Cans, cartons and bottles stand along their y axis, as LIBERO's do; bowls and boxes along z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hone.envs.libero.standins.shapes import (
    Painted,
    Rgba,
    Solid,
    Vector,
    box,
    cylinder,
    octagonal_prism,
    paint,
    ring,
    slab,
    wall,
)


@dataclass(frozen=True)
class Region:
    """A box-shaped site that LIBERO's predicates and samplers read."""

    name: str
    size: Vector
    pos: Vector
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Placing:
    """What LIBERO's samplers place an object by: heights of its bottom and top, and its radius (x = y), in metres."""

    bottom: float = -0.06
    top: float = 0.04
    radius: float = 0.025


@dataclass(frozen=True)
class StandIn:
    """An object of one piece. `pos` is where its body `object` is in the outer one.

    `inner` names a body inside `object`, and its place there, that carries everything (one of LIBERO's has it).
    """

    collision: tuple[Solid, ...]
    visual: tuple[Painted, ...]
    mass: float
    placing: Placing = Placing()
    regions: tuple[Region, ...] = ()
    pos: Vector = (0.0, 0.0, 0.0)
    inner: tuple[str, Vector] | None = None


WHITE: Rgba = (0.95, 0.95, 0.95, 1.0)
RED: Rgba = (0.85, 0.08, 0.08, 1.0)
GREEN: Rgba = (0.12, 0.55, 0.18, 1.0)
BLUE: Rgba = (0.10, 0.28, 0.80, 1.0)
SKY: Rgba = (0.55, 0.78, 0.95, 1.0)
YELLOW: Rgba = (0.97, 0.85, 0.20, 1.0)
ORANGE: Rgba = (0.98, 0.52, 0.06, 1.0)
DARK_RED: Rgba = (0.48, 0.03, 0.06, 1.0)
MAROON: Rgba = (0.22, 0.07, 0.06, 1.0)
BROWN: Rgba = (0.33, 0.18, 0.09, 1.0)
PALE_GREEN: Rgba = (0.78, 0.88, 0.50, 1.0)
TEAL: Rgba = (0.03, 0.50, 0.56, 1.0)
PURPLE: Rgba = (0.45, 0.15, 0.60, 1.0)
STEEL: Rgba = (0.70, 0.71, 0.74, 1.0)
WICKER: Rgba = (0.76, 0.57, 0.33, 1.0)
NEAR_BLACK: Rgba = (0.07, 0.07, 0.08, 1.0)
CHARCOAL: Rgba = (0.20, 0.20, 0.22, 1.0)
BEIGE: Rgba = (0.90, 0.80, 0.62, 1.0)


def _packet(half: Vector, colour: Rgba, band: Rgba, mass: float, placing: Placing = Placing()) -> StandIn:
    """A flat box with a band of another colour around its middle."""
    x, y, z = half
    whole = box((-x, -y, -z), (x, y, z))
    middle = box((-0.4 * x, -y - 0.0004, -z - 0.0004), (0.4 * x, y + 0.0004, z + 0.0004))
    return StandIn((whole,), paint(colour, whole) + paint(band, middle), mass, placing)


def _can(colour: Rgba, band: Rgba, mass: float, placing: Placing = Placing()) -> StandIn:
    """A can of 6 cm by 7.6 cm with a band and a steel lid."""
    radius, low, high, at = 0.0295, -0.0386, 0.0376, (0.0, -0.0035)
    looks = (
        paint(colour, cylinder(radius, low, high - 0.004, "y", at))
        + paint(band, cylinder(radius + 0.0004, -0.012, 0.012, "y", at))
        + paint(STEEL, cylinder(radius - 0.001, high - 0.004, high, "y", at))
    )
    return StandIn(octagonal_prism(radius, low, high, "y", at), looks, mass, placing)


def _carton(colour: Rgba, band: Rgba, roof: Rgba, mass: float, placing: Placing = Placing()) -> StandIn:
    """A drink carton: a square column, a stepped roof, a ridge."""
    column = box((-0.0263, -0.0698, -0.0263), (0.0263, 0.0385, 0.0263))
    step = box((-0.0263, 0.0385, -0.0140), (0.0263, 0.0500, 0.0140))
    ridge = box((-0.0263, 0.0500, -0.0034), (0.0263, 0.0614, 0.0034))
    label = box((-0.0267, -0.035, -0.0267), (0.0267, 0.005, 0.0267))
    looks = paint(colour, column) + paint(band, label) + paint(roof, step, ridge)
    return StandIn((column, step, ridge), looks, mass, placing)


def _bottle(
    parts: tuple[Solid, ...], colours: tuple[Rgba, ...], label: Painted, mass: float, placing: Placing = Placing()
) -> StandIn:
    looks = tuple(Painted(part, colour) for part, colour in zip(parts, colours, strict=True))
    return StandIn(parts, (*looks, label), mass, placing)


_ketchup = _bottle(
    (
        box((-0.0278, -0.0724, -0.0165), (0.0284, -0.0063, 0.0177)),
        box((-0.0235, -0.0063, -0.0176), (0.0244, 0.0150, 0.0190)),
        box((-0.0182, 0.0150, -0.0176), (0.0190, 0.0364, 0.0190)),
        box((-0.0145, 0.0364, -0.0155), (0.0145, 0.0732, 0.0165)),
    ),
    (DARK_RED, DARK_RED, DARK_RED, WHITE),
    Painted(box((-0.0282, -0.060, -0.0169), (0.0288, -0.025, 0.0181)), WHITE),
    mass=0.0232,
)
_salad_dressing = _bottle(
    (
        box((-0.0220, -0.0727, -0.0171), (0.0200, -0.0520, 0.0175)),
        box((-0.0270, -0.0520, -0.0171), (0.0252, -0.0060, 0.0175)),
        box((-0.0135, -0.0060, -0.0147), (0.0140, 0.0356, 0.0152)),
        box((-0.0155, 0.0356, -0.0155), (0.0158, 0.0728, 0.0155)),
    ),
    (PALE_GREEN, PALE_GREEN, PALE_GREEN, GREEN),
    Painted(box((-0.0274, -0.045, -0.0175), (0.0256, -0.015, 0.0179)), GREEN),
    mass=0.0218,
)
_bbq_sauce = _bottle(
    (
        box((-0.0235, -0.0145, -0.0546), (0.0235, 0.0145, -0.0010)),
        box((-0.0181, -0.0143, -0.0010), (0.0181, 0.0143, 0.0269)),
        box((-0.0143, -0.0145, 0.0269), (0.0143, 0.0145, 0.0525)),
    ),
    (MAROON, MAROON, YELLOW),
    Painted(box((-0.0239, -0.0149, -0.044), (0.0239, 0.0149, -0.014)), YELLOW),
    mass=0.0122,
    placing=Placing(top=0.06, radius=0.015),
)


def _new_salad_dressing() -> StandIn:
    """A flat flask with slanted shoulders, a neck and a round cap."""
    flask = box((-0.0273, -0.0682, -0.0171), (0.0254, -0.0040, 0.0175))
    foot = box((-0.0182, -0.0727, -0.0171), (0.0164, -0.0682, 0.0175))
    shoulders = box((-0.0200, -0.0040, -0.0171), (0.0190, 0.0070, 0.0175))
    neck = box((-0.0125, 0.0070, -0.0147), (0.0134, 0.0356, 0.0152))
    cap = (
        box((-0.0166, 0.0356, -0.0080), (0.0172, 0.0728, 0.0090)),
        box((-0.0080, 0.0356, -0.0160), (0.0085, 0.0728, 0.0170)),
        box((-0.0125, 0.0356, -0.0120), (0.0128, 0.0728, 0.0130)),
    )
    label = box((-0.0277, -0.050, -0.0175), (0.0258, -0.020, 0.0179))
    looks = paint(ORANGE, flask, foot, shoulders, neck) + paint(NEAR_BLACK, *cap) + paint(WHITE, label)
    collision = (flask, foot, shoulders, neck, *cap)
    return StandIn(collision, looks, mass=0.02178, inner=("sald_dressing_body", (0.0, 0.05, 0.0)))


def _basket() -> StandIn:
    """Floor and four walls that lean outwards a little; 15 cm wide, open above."""
    floor = box((-0.0755, -0.0724, 0.0046), (0.0780, 0.0724, 0.0216))
    lean_x, lean_y = math.radians(85.7), math.radians(87.5)
    walls = (
        slab(0.0, 0.0756, 0.0766, slope=lean_x, length=0.1274, width=0.1448, thickness=0.0133),
        slab(math.pi, 0.0727, 0.0766, slope=lean_x, length=0.1274, width=0.1448, thickness=0.0133),
        slab(math.pi / 2, 0.0691, 0.0818, slope=lean_y, length=0.1274, width=0.1448, thickness=0.0133),
        slab(-math.pi / 2, 0.0686, 0.0818, slope=lean_y, length=0.1274, width=0.1448, thickness=0.0133),
    )
    rim: Rgba = (0.60, 0.40, 0.20, 1.0)
    looks = paint(rim, floor) + paint(WICKER, *walls)
    inside = Region("contain_region", (0.06108, 0.06108, 0.06949), (0.0, 0.0, 0.07185), (0.0, 0.0, 0.0, 1.0))
    return StandIn((floor, *walls), looks, mass=0.1361, regions=(inside,))


def _black_bowl() -> StandIn:
    """A floor, a shallow lower tier and a steep upper one whose 2.6 mm rim a parallel gripper can pinch."""
    floor = box((-0.0225, -0.0225, 0.0016), (0.0225, 0.0225, 0.0068))
    lower = ring(12, 0.0336, 0.0098, slope=math.radians(30), length=0.0238, width=0.0225, thickness=0.0014)
    upper = ring(12, 0.0467, 0.0337, slope=math.radians(75.3), length=0.0375, width=0.0268, thickness=0.0026)
    looks = paint(CHARCOAL, floor) + paint(NEAR_BLACK, *lower, *upper)
    return StandIn((floor, *lower, *upper), looks, mass=0.00559, pos=(0.0, -0.1, 0.0))


def _plate() -> StandIn:
    """A flat floor and a shallow rim, 13.6 cm across.

    Some stored initial states drop the bowl into the plate: how far they are pushed apart depends on these slabs.
    """
    floor = box((-0.0340, -0.0340, -0.0025), (0.0340, 0.0340, 0.0061))
    slope = math.radians(19.5)
    rim = ring(8, 0.0483, 0.0070, slope=slope, length=0.0383, width=0.0570, thickness=0.0051)
    stripe = ring(8, 0.0607, 0.0116, slope=slope, length=0.0130, width=0.0560, thickness=0.0051)
    return StandIn((floor, *rim), paint(WHITE, floor, *rim) + paint(BLUE, *stripe), mass=0.0115)


def _white_bowl() -> StandIn:
    """A smaller bowl of the same build, with a thinner wall."""
    floor = box((-0.0166, -0.0166, 0.0006), (0.0166, 0.0166, 0.0042))
    lower = wall(12, (0.0165, 0.0027), (0.0315, 0.0113), thickness=0.0010)
    upper = wall(12, (0.0318, 0.0103), (0.0391, 0.0348), thickness=0.0019)
    looks = paint(BEIGE, floor) + paint(WHITE, *lower, *upper)
    return StandIn((floor, *lower, *upper), looks, mass=0.00209)


def _ramekin() -> StandIn:
    """A small cup with a thick, nearly upright wall."""
    floor = box((-0.0270, -0.0270, 0.0007), (0.0270, 0.0270, 0.0073))
    wall = ring(12, 0.0380, 0.0219, slope=math.radians(81.4), length=0.0417, width=0.0232, thickness=0.0052)
    band = ring(12, 0.0413, 0.0400, slope=math.radians(81.4), length=0.0060, width=0.0236, thickness=0.0056)
    looks = paint(BEIGE, floor, *wall) + paint((0.62, 0.42, 0.25, 1.0), *band)
    return StandIn((floor, *wall), looks, mass=0.00966)


HOPE_OBJECTS: dict[str, StandIn] = {
    "alphabet_soup": _can(TEAL, YELLOW, 0.0259, Placing(bottom=-0.04)),
    "tomato_sauce": _can(RED, GREEN, 0.0266),
    "cream_cheese": _packet(
        (0.0406, 0.0213, 0.0089), SKY, WHITE, 0.00619, Placing(bottom=-0.025, top=0.025, radius=0.03)
    ),
    "butter": _packet((0.0381, 0.0198, 0.0087), YELLOW, WHITE, 0.00525, Placing(bottom=-0.02, top=0.02, radius=0.02)),
    "chocolate_pudding": _packet((0.0401, 0.0232, 0.0137), BROWN, (0.85, 0.70, 0.50, 1.0), 0.0102),
    "cookies": _packet((0.0310, 0.0413, 0.0094), PURPLE, YELLOW, 0.00964),
    "milk": _carton(WHITE, BLUE, BLUE, 0.0317, Placing(radius=0.03)),
    "orange_juice": _carton(ORANGE, WHITE, ORANGE, 0.0317),
    "ketchup": _ketchup,
    "salad_dressing": _salad_dressing,
    "new_salad_dressing": _new_salad_dressing(),
    "bbq_sauce": _bbq_sauce,
}
"""Files stable_hope_objects/<name>/<name>.xml."""

SCANNED_OBJECTS: dict[str, StandIn] = {
    "basket": _basket(),
    "akita_black_bowl": _black_bowl(),
    "white_bowl": _white_bowl(),
    "plate": _plate(),
    "glazed_rim_porcelain_ramekin": _ramekin(),
}
"""Files stable_scanned_objects/<name>/<name>.xml."""
