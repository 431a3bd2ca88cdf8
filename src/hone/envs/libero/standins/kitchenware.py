"""Mugs, pots, a pan, a bottle and a tray: hollow where things go in, with handles that a parallel gripper can pinch.

Extents and masses match the collision shapes of LIBERO's originals (to a millimetre or two, a percent).
"""

from __future__ import annotations

import math
from itertools import pairwise

from hone.envs.libero.standins.objects import (
    BROWN,
    CHARCOAL,
    DARK_RED,
    NEAR_BLACK,
    RED,
    STEEL,
    WHITE,
    YELLOW,
    Region,
    StandIn,
)
from hone.envs.libero.standins.shapes import (
    Rgba,
    Solid,
    about_z,
    box,
    moved,
    octagonal_prism,
    paint,
    strut,
    wall,
)

FORWARD, BACKWARD, LEFT, RIGHT = 0.0, math.pi, math.pi / 2, -math.pi / 2
"""Azimuths of the axes x, -x, y, -y."""
OAK: Rgba = (0.70, 0.48, 0.27, 1.0)


def _foot(reach: float, low: float, high: float) -> tuple[Solid, ...]:
    """Two crossed boxes that reach `reach` along x and y: the floor of a round vessel."""
    arm = 0.6 * reach
    return (box((-reach, -arm, low), (reach, arm, high)), box((-arm, -reach, low), (arm, reach, high)))


def _handle(azimuth: float, *profile: tuple[float, float], width: float, thickness: float) -> tuple[Solid, ...]:
    """A bent bar through the points (radius, height) of its profile."""
    return tuple(strut(azimuth, start, end, width=width, thickness=thickness) for start, end in pairwise(profile))


def _vessel(
    centre: tuple[float, float],
    floor: tuple[Solid, ...],
    sides: tuple[Solid, ...],
    handle: tuple[Solid, ...],
    colour: Rgba,
    accent: Rgba,
    mass: float,
) -> StandIn:
    """A mug or a pan around `centre`; its floor and handle have the second colour."""
    by = (*centre, 0.0)
    floor, sides, handle = moved(by, *floor), moved(by, *sides), moved(by, *handle)
    return StandIn((*floor, *sides, *handle), paint(accent, *floor, *handle) + paint(colour, *sides), mass)


def _porcelain_mug() -> StandIn:
    """Tapered below, straight above; the handle points to -x."""
    lower = wall(10, (0.0225, 0.0045), (0.0405, 0.0440), thickness=0.0030)
    upper = wall(10, (0.0418, 0.0432), (0.0418, 0.1085), thickness=0.0048)
    handle = _handle(
        BACKWARD, (0.0420, 0.0200), (0.0765, 0.0370), (0.0765, 0.0750), (0.0420, 0.0930), width=0.0159, thickness=0.0075
    )
    return _vessel((0.0165, -0.0013), _foot(0.0255, 0.0024, 0.0128), lower + upper, handle, WHITE, WHITE, 0.01646)


def _red_coffee_mug() -> StandIn:
    """A tall cup that widens upwards; the handle points to +x and leans with the wall."""
    sides = wall(10, (0.0240, -0.0014), (0.0396, 0.1304), thickness=0.0060)
    handle = _handle(
        FORWARD, (0.0300, 0.0265), (0.0760, 0.0760), (0.0700, 0.1130), (0.0330, 0.1090), width=0.0145, thickness=0.0054
    )
    return _vessel((-0.0165, -0.0012), _foot(0.0250, 0.0026, 0.0078), sides, handle, RED, DARK_RED, 0.02935)


def _white_yellow_mug() -> StandIn:
    """A wide white cup on a rounded foot, with a yellow floor and handle, which points to +x."""
    lower = wall(12, (0.0247, 0.0045), (0.0370, 0.0190), thickness=0.0075)
    upper = wall(12, (0.0372, 0.0162), (0.0486, 0.1025), thickness=0.0080)
    handle = _handle(
        FORWARD, (0.0370, 0.0238), (0.0822, 0.0312), (0.0822, 0.0820), (0.0440, 0.0780), width=0.0175, thickness=0.0082
    )
    return _vessel((-0.0181, 0.0), _foot(0.0255, 0.0002, 0.0052), lower + upper, handle, WHITE, YELLOW, 0.03091)


def _frypan() -> StandIn:
    """A flat floor, a wall that leans far out, and a long handle that rises towards +x."""
    floor = (
        box((-0.0549, -0.0549, 0.0008), (0.0549, 0.0549, 0.0127)),
        *_foot(0.0730, 0.0030, 0.0115),
    )
    sides = wall(12, (0.0750, 0.0065), (0.0983, 0.0402), thickness=0.0071)
    handle = _handle(FORWARD, (0.1000, 0.0160), (0.1350, 0.0310), (0.2540, 0.0520), width=0.0250, thickness=0.0125)
    return _vessel((0.0045, -0.001), floor, sides, handle, CHARCOAL, NEAR_BLACK, 0.05025)


def _moka_pot() -> StandIn:
    """A six-sided steel pot with a spout to -y, a lid with a knob, and a black handle to +y."""
    apothem, low, high = 0.0348, -0.0661, 0.0665
    side = apothem * math.tan(math.pi / 6)
    # As in `octagonal_prism`: boxes through the axis cover the hexagon, and one that is longer stands.
    core = box((-0.0255, -0.0305, low), (0.0255, 0.0340, high))
    faces = tuple(
        Solid("box", (apothem, side, (high - low) / 2 - 0.0005), (0.0, 0.0, (low + high) / 2), about_z(angle))
        for angle in (math.pi / 6, math.pi / 2, 5 * math.pi / 6)
    )
    spout = (
        box((-0.0176, -0.0418, 0.0181), (0.0176, -0.0300, 0.0671)),
        box((-0.0080, -0.0563, 0.0324), (0.0080, -0.0418, 0.0599)),
    )
    knob = box((-0.0053, -0.0073, 0.0630), (0.0053, 0.0047, 0.0857))
    hinge = box((-0.0102, 0.0340, 0.0388), (0.0102, 0.0488, 0.0662))
    grip = _handle(
        LEFT, (0.0450, 0.0605), (0.0740, 0.0605), (0.0845, 0.0500), (0.0590, 0.0010), width=0.0131, thickness=0.0140
    )
    looks = paint(STEEL, core, *faces, *spout) + paint(NEAR_BLACK, knob, hinge, *grip)
    return StandIn((core, *faces, *spout, knob, hinge, *grip), looks, mass=0.06824)


def _wine_bottle() -> StandIn:
    """Round body, stepped shoulders, slim neck that runs on inside and puts the weight higher, as the original's."""
    core = box((-0.0150, -0.0150, 0.0011), (0.0150, 0.0150, 0.0741))
    sides = wall(8, (0.0192, 0.0035), (0.0192, 0.0640), thickness=0.0042)
    shoulders = (
        box((-0.0118, -0.0118, 0.0741), (0.0118, 0.0118, 0.0881)),
        box((-0.0080, -0.0080, 0.0881), (0.0080, 0.0080, 0.1000)),
    )
    neck = octagonal_prism(0.0071, 0.0477, 0.1580, "z")
    glass: Rgba = (0.08, 0.16, 0.09, 1.0)
    label = tuple(
        Solid("box", (0.0215, 0.0087, 0.0150), (0.0, 0.0, 0.0360), about_z(k * math.pi / 4)) for k in range(4)
    )
    looks = paint(glass, core, *sides, *shoulders) + paint(DARK_RED, *neck) + paint((0.93, 0.90, 0.82, 1.0), *label)
    return StandIn((core, *sides, *shoulders, *neck), looks, mass=0.01539)


def _wooden_tray() -> StandIn:
    """Floor, four walls, and at each end a bar on two posts to carry it by."""
    floor = box((-0.1362, -0.0851, -0.0008), (0.1518, 0.0747, 0.0076))
    ends = tuple(box((x - 0.0023, -0.0833, 0.0053), (x + 0.0023, 0.0724, 0.0545)) for x in (-0.1392, 0.1532))
    sides = tuple(box((-0.1362, y - 0.0031, 0.0034), (0.1518, y + 0.0031, 0.0620)) for y in (-0.0845, 0.0758))
    posts = tuple(
        box((x - 0.0062, y - 0.0055, 0.0076), (x + 0.0062, y + 0.0055, 0.0800))
        for x in (-0.1321, 0.1453)
        for y in (-0.0785, 0.0685)
    )
    bars = tuple(box((x - 0.0067, -0.0835, 0.0785), (x + 0.0067, 0.0737, 0.0809)) for x in (-0.1335, 0.1471))
    inside = Region(
        "contain_region", (0.04038, 0.07839, 0.13549), (0.00863, -0.00471, 0.04255), (0.70711, 0.0, 0.70711, 0.0)
    )
    looks = paint(OAK, floor) + paint(BROWN, *ends, *sides, *posts, *bars)
    return StandIn((floor, *ends, *sides, *posts, *bars), looks, mass=0.05715, regions=(inside,))


PANS: dict[str, StandIn] = {"chefmate_8_frypan": _frypan()}
"""Files stable_scanned_objects/<name>/<name>.xml."""

KITCHENWARE: dict[str, StandIn] = {
    "moka_pot": _moka_pot(),
    "porcelain_mug": _porcelain_mug(),
    "red_coffee_mug": _red_coffee_mug(),
    "white_yellow_mug": _white_yellow_mug(),
    "wine_bottle": _wine_bottle(),
    "wooden_tray": _wooden_tray(),
}
"""Files turbosquid_objects/<name>/<name>.xml."""
