"""Books, and what stands on a desk or a table without moving: a caddy for books, a wine rack, a shelf.

Extents match the collision shapes of LIBERO's originals (to a millimetre or two), the sites are LIBERO's.
"""

from __future__ import annotations

import math

from hone.envs.libero.standins.objects import NEAR_BLACK, WHITE, YELLOW, Region, StandIn
from hone.envs.libero.standins.shapes import Rgba, Solid, box, moved, paint, strut

LEFT = math.pi / 2
"""Azimuth of the y axis."""
WALNUT: Rgba = (0.45, 0.29, 0.17, 1.0)
PINE: Rgba = (0.80, 0.64, 0.42, 1.0)
BIRCH: Rgba = (0.88, 0.78, 0.60, 1.0)
MESH: Rgba = (0.30, 0.31, 0.34, 1.0)


def _book(low: tuple[float, float, float], high: tuple[float, float, float], cover: Rgba, mass: float) -> StandIn:
    """A closed book that stands on its lower edge, spine towards -y; the pages show a little."""
    whole = box(low, high)
    (x0, y0, z0), (x1, y1, z1) = low, high
    pages = box((x0 + 0.002, y0 + 0.004, z0 - 0.0003), (x1 - 0.002, y1 + 0.0003, z1 + 0.0003))
    return StandIn((whole,), paint(cover, whole) + paint(WHITE, pages), mass)


def _desk_caddy() -> StandIn:
    """Four compartments: a closed box at -y, an open bay with wings at +y, and two slots between them."""
    floor = box((-0.0755, -0.2169, 0.0014), (0.0755, 0.2169, 0.0138))
    back = box((0.0628, -0.2098, 0.0053), (0.0708, 0.2098, 0.1683))
    front = box((-0.0709, -0.2098, 0.0050), (-0.0629, 0.2098, 0.0741))
    front_of_box = box((-0.0709, -0.2164, 0.0741), (-0.0629, -0.0632, 0.1673))
    sides = tuple(box((-0.0706, y - 0.0062, 0.0026), (0.0706, y + 0.0062, 0.1674)) for y in (-0.0680, -0.2094))
    divider = box((-0.0056, -0.0668, 0.0118), (0.0025, 0.0668, 0.0987))
    wings = tuple(solid for y in (0.0706, 0.2084) for solid in _wing(y))
    regions = (
        Region("right_contain_region", (0.06196, 0.06216, 0.06046), (0.00631, -0.14339, 0.06558), TURNED_OVER),
        Region("left_contain_region", (0.06196, 0.06216, 0.06046), (0.00631, 0.14551, 0.06558), TURNED_OVER),
        Region("back_contain_region", (0.02775, 0.06216, 0.06046), (0.03364, -0.00064, 0.08558), TURNED_OVER),
        Region(
            "front_contain_region",
            (0.02775, 0.03595, 0.06216),
            (-0.03102, -0.00064, 0.04054),
            (0.0, 0.0, 0.70711, -0.70711),
        ),
    )
    panels = (back, front, front_of_box, *sides, divider, *wings)
    return StandIn((floor, *panels), paint(NEAR_BLACK, floor) + paint(MESH, *panels), mass=0.27796, regions=regions)


TURNED_OVER = (0.0, 0.0, 1.0, 0.0)


def _wing(y: float) -> tuple[Solid, ...]:
    """A side panel across y that climbs from the low front to the high back in three steps and two slopes."""
    thickness = 0.0072
    low = box((-0.0706, y - thickness / 2, 0.0119), (0.0706, y + thickness / 2, 0.0785))
    middle = box((0.0045, y - thickness / 2, 0.0785), (0.0645, y + thickness / 2, 0.1116))
    high = box((0.0433, y - thickness / 2, 0.1116), (0.0666, y + thickness / 2, 0.1426))
    slopes = (
        strut(0.0, (-0.0500, 0.0570), (0.0545, 0.1300), width=thickness, thickness=0.0300),
        strut(0.0, (0.0240, 0.1225), (0.0665, 0.1523), width=thickness, thickness=0.0227),
    )
    return (low, middle, high, *(solid for slope in slopes for solid in moved((0.0, y, 0.0), slope)))


def _wine_rack() -> StandIn:
    """Two boards that tip towards -y, a ledge at the lower edge of each, and a leaning mast on a foot."""
    half_width = 0.1344
    tip = math.radians(31.2)
    along, across = math.cos(tip) * 0.0789, math.sin(tip) * 0.0789
    boards = tuple(
        strut(LEFT, (y - along, z - across), (y + along, z + across), width=2 * half_width, thickness=0.0090)
        for y, z in ((-0.0061, 0.2512), (-0.0427, 0.1273))
    )
    ledges = tuple(
        strut(LEFT, (y + 0.0043, z - 0.0076), (y - 0.0043, z + 0.0076), width=0.2644, thickness=0.0022)
        for y, z in ((-0.0748, 0.2207), (-0.1091, 0.0974))
    )
    foot = (
        box((-0.0665, -0.0930, 0.0021), (0.0665, 0.0930, 0.0111)),
        strut(LEFT, (0.0098, 0.0179), (0.1289, 0.0023), width=0.1799, thickness=0.0089),
        strut(LEFT, (-0.0049, 0.0210), (-0.1237, 0.0042), width=0.1799, thickness=0.0089),
        box((-0.0905, -0.0141, 0.0160), (0.0905, 0.0141, 0.0250)),
    )
    mast = strut(LEFT, (-0.0350, 0.0150), (0.0530, 0.3257), width=0.0152, thickness=0.0181)
    region = Region(
        "top_region", (0.10087, 0.02200, 0.00251), (0.0, -0.08003, 0.21745), (0.8549119, -0.5187733, 0.0, 0.0)
    )
    looks = paint(PINE, *boards) + paint(WALNUT, *ledges, *foot, mast)
    return StandIn((*boards, *ledges, *foot, mast), looks, mass=0.15275, regions=(region,))


def _two_layer_shelf() -> StandIn:
    """Two sides, a back, a thin board half-way up and a top; open towards -y, and without a floor."""
    sides = (
        box((-0.1609, -0.0792, 0.0002), (-0.1467, 0.1117, 0.2091)),
        box((0.1560, -0.0792, 0.0002), (0.1702, 0.1117, 0.2091)),
    )
    back = box((-0.1604, 0.1071, 0.0002), (0.1662, 0.1117, 0.2091))
    board = box((-0.1480, -0.0707, 0.0690), (0.1584, 0.1083, 0.0711))
    top = box((-0.1708, -0.0789, 0.2058), (0.1807, 0.1117, 0.2106))
    regions = (
        Region("top_side", (0.17557, 0.09438, 0.00147), (0.00496, 0.01567, 0.20688)),
        Region("top_region", (0.06739, 0.08564, 0.15093), (0.00538, 0.01687, 0.13672), (0.70711, 0.0, -0.70711, 0.0)),
        Region("bottom_region", (0.03528, 0.08564, 0.15580), (0.00555, 0.01687, 0.01407), (0.70711, 0.0, 0.70711, 0.0)),
    )
    looks = paint(BIRCH, *sides, board) + paint(PINE, top) + paint(WALNUT, back)
    return StandIn((*sides, back, board, top), looks, mass=0.20633, regions=regions)


FURNISHINGS: dict[str, StandIn] = {
    "black_book": _book((-0.0148, -0.0673, 0.0022), (0.0139, 0.0430, 0.1366), NEAR_BLACK, 0.04255),
    "yellow_book": _book((-0.0101, -0.0488, 0.0020), (0.0134, 0.0489, 0.1242), YELLOW, 0.02812),
    "desk_caddy": _desk_caddy(),
    "wine_rack": _wine_rack(),
    "wooden_two_layer_shelf": _two_layer_shelf(),
}
"""Files turbosquid_objects/<name>/<name>.xml."""
