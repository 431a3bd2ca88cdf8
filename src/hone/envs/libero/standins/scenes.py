"""The rooms: a bare floor, a bare table, a kitchen, a living room, a study, with walls, lights and cameras.

LIBERO reads these names: bodies `floor`, `table`, `living_room_table` and `study_table`, geoms `floor`,
`table_collision`, `table_visual`, `table_leg{1..4}_visual`, site `table_top`, textures `texplane` and `tex-wall` (their
files are replaced by the scene's style), cameras `agentview`, `frontview`, `birdview`, `sideview`. It sets the size of
`table` and the agent view itself. The tables of living room and study stand as high and reach as far as the originals.
"""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element, SubElement

from hone.envs.libero.standins.elements import GRIP, add_collisions, add_looks
from hone.envs.libero.standins.shapes import Painted, box, cylinder, paint

HALF = math.sqrt(0.5)
ROOM = ((-2.0, 3.0), (-3.0, 3.0))
"""Extent of the room in x and y (m)."""
WALL_HEIGHT = 3.0

CAMERAS = {
    "frontview": ("1 0 1.45", "0.56 0.43 0.43 0.56"),
    "birdview": ("-0.2 0 3", f"{HALF} 0 0 {HALF}"),
    "agentview": ("0.5 0 1.35", "0.653 0.271 0.271 0.653"),
    "sideview": ("-0.0565 1.2761 1.488", "0.0099 0.0069 0.5912 0.8064"),
}
"""Position (m) and quaternion (w, x, y, z)."""


def floor_scene() -> Element:
    """An empty floor; `floor` is a body here, because LIBERO hangs the region sites on it."""
    root, world = _room("floor_arena")
    body = SubElement(world, "body", name="floor", pos="0 0 0")
    _floor(body)
    return root


def table_scene() -> Element:
    """A table in the middle of the room."""
    root, world = _room("table_arena")
    _floor(world)
    _table(root, world)
    return root


def kitchen_scene() -> Element:
    """The table, and behind the robot a counter with a stove and two pots, and a fridge."""
    root, world = _room("kitchen_arena")
    _floor(world)
    _table(root, world)
    add_looks(
        world,
        paint((0.80, 0.76, 0.68, 1.0), box((-1.98, -2.0, 0.0), (-1.45, 2.9, 0.86)))
        + paint((0.35, 0.33, 0.32, 1.0), box((-1.98, -2.0, 0.86), (-1.42, 2.9, 0.90)))
        + paint((0.10, 0.10, 0.11, 1.0), box((-1.90, -0.35, 0.90), (-1.45, 0.35, 0.91)))
        + paint((0.70, 0.71, 0.74, 1.0), cylinder(0.11, 0.91, 1.06, "z", (-1.65, 0.17)))
        + paint((0.55, 0.20, 0.14, 1.0), cylinder(0.13, 0.90, 1.10, "z", (-1.72, -0.85)))
        + paint((0.74, 0.75, 0.78, 1.0), box((-1.98, -2.9, 0.0), (-1.35, -2.05, 1.75))),
    )
    return root


def living_room_scene() -> Element:
    """A low table without corners on a base; behind it a wall unit and a picture."""
    root, world = _room("living_room_arena")
    _floor(SubElement(world, "body", name="floor", pos="0 0 0"))
    table = SubElement(world, "body", name="living_room_table", pos="0 0 0")
    turned = SubElement(table, "body", name="living_room_table_col", pos="-0.25 0.25 0", quat=f"{HALF} 0 0 {HALF}")
    low, high = 0.4131, 0.4368
    middle = box((-0.8693, -0.5887, low), (0.4741, 0.5742, high))
    ends = (box((-1.0714, -0.4168, low), (-0.8693, 0.4168, high)), box((0.4741, -0.4168, low), (0.6507, 0.4168, high)))
    base = box((-0.4352, -0.4116, 0.0), (0.4352, 0.4116, low))
    _furniture(turned, paint((0.62, 0.45, 0.30, 1.0), middle, *ends) + paint((0.42, 0.29, 0.18, 1.0), base))
    add_looks(
        world,
        paint((0.50, 0.38, 0.28, 1.0), box((-1.95, -1.4, 0.0), (-1.50, 1.4, 0.50)))
        + paint((0.40, 0.30, 0.22, 1.0), box((-1.95, -1.4, 0.50), (-1.65, -1.0, 1.7)))
        + paint((0.08, 0.08, 0.09, 1.0), box((-1.85, -0.6, 0.55), (-1.80, 0.6, 1.25)))
        + paint((0.25, 0.42, 0.50, 1.0), box((-1.98, 0.85, 1.2), (-1.95, 1.6, 1.8))),
    )
    return root


def study_scene() -> Element:
    """A desk on four legs; behind it a shelf with books, a plant and a picture."""
    root, world = _room("study_arena")
    _floor(world)
    desk = SubElement(world, "body", name="study_table", pos="0 0 0")
    top = box((-0.6895, -1.3927, 0.8135), (0.6895, 1.3927, 0.8851))
    legs = tuple(
        box((x - 0.02, y - 0.0503, 0.0002), (x + 0.02, y + 0.0503, 0.7884))
        for x in (-0.5005, 0.4962)
        for y in (-0.6906, 0.7122)
    )
    rails = tuple(box((-0.5176, y - 0.0503, 0.0038), (0.5078, y + 0.0503, 0.0468)) for y in (-0.6976, 0.7147))
    _furniture(desk, paint((0.66, 0.52, 0.38, 1.0), top) + paint((0.25, 0.24, 0.24, 1.0), *legs, *rails))
    boards = tuple(box((-1.95, -1.9, z), (-1.60, -0.2, z + 0.03)) for z in (0.0, 0.45, 0.9, 1.35))
    uprights = tuple(box((-1.95, y - 0.015, 0.0), (-1.60, y + 0.015, 1.38)) for y in (-1.9, -0.2))
    books = tuple(box((-1.85, y, 0.93), (-1.65, y + 0.04, 1.18)) for y in (-0.55, -0.50, -0.45))
    add_looks(
        world,
        paint((0.85, 0.84, 0.80, 1.0), *boards, *uprights)
        + paint((0.15, 0.15, 0.17, 1.0), *books)
        + paint((0.70, 0.40, 0.25, 1.0), cylinder(0.14, 0.0, 0.30, "z", (-1.75, 0.5)))
        + paint((0.20, 0.42, 0.20, 1.0), cylinder(0.22, 0.30, 1.10, "z", (-1.75, 0.5)))
        + paint((0.30, 0.42, 0.58, 1.0), box((-1.98, 0.9, 1.0), (-1.95, 1.7, 1.7))),
    )
    return root


SCENES = {
    "libero_floor_base_style": floor_scene,
    "libero_tabletop_base_style": table_scene,
    "libero_kitchen_tabletop_base_style": kitchen_scene,
    "libero_living_room_tabletop_base_style": living_room_scene,
    "libero_study_base_style": study_scene,
}
"""Files scenes/<name>.xml."""


def _room(model: str) -> tuple[Element, Element]:
    root = Element("mujoco", model=model)
    asset = SubElement(root, "asset")
    SubElement(
        asset, "texture", type="skybox", builtin="gradient", rgb1=".9 .9 1", rgb2=".2 .3 .4", width="64", height="64"
    )
    SubElement(asset, "texture", name="texplane", type="2d", file="../textures/light-gray-floor-tile.png")
    SubElement(asset, "texture", name="tex-wall", type="2d", file="../textures/light-gray-plaster.png")
    for name, texture in (("floorplane", "texplane"), ("walls_mat", "tex-wall")):
        SubElement(
            asset,
            "material",
            name=name,
            texture=texture,
            texrepeat="2 2",
            texuniform="true",
            specular="0",
            shininess="0",
        )
    world = SubElement(root, "worldbody")
    _walls(world)
    for number, position in ((1, "1 1 4"), (2, "-3 -3 4")):
        SubElement(
            world,
            "light",
            name=f"light{number}",
            pos=position,
            dir="0 -.15 -1",
            directional="false",
            diffuse=".8 .8 .8",
            specular=".3 .3 .3",
            castshadow="false",
        )
    for name, (position, quaternion) in CAMERAS.items():
        SubElement(world, "camera", name=name, mode="fixed", pos=position, quat=quaternion)
    return root, world


def _floor(parent: Element) -> None:
    SubElement(
        parent,
        "geom",
        name="floor",
        type="plane",
        size="3 3 .125",
        pos="0 0 0",
        material="floorplane",
        group="1",
        condim="3",
    )


def _table(root: Element, world: Element) -> None:
    """LIBERO moves it and gives it its size and legs."""
    asset = root.find("asset")
    assert asset is not None
    SubElement(asset, "texture", name="tex-table", type="cube", file="../textures/table-wood.png")
    SubElement(asset, "material", name="table_texture", texture="tex-table", specular="0.1", shininess="0")
    SubElement(asset, "material", name="table_legs", texture="tex-table", specular="0.1", shininess="0")
    table = SubElement(world, "body", name="table", pos="0 0 0.4")
    size = "0.4 0.4 0.4"
    SubElement(
        table, "geom", name="table_collision", type="box", size=size, pos="0 0 0", group="0", friction="1 0.005 0.0001"
    )
    _visual(table, name="table_visual", type="box", size=size, pos="0 0 0", material="table_texture")
    SubElement(table, "site", name="table_top", pos="0 0 0.4", size="0.001 0.001 0.001", rgba="0 0 0 0")
    for leg in range(1, 5):
        name = f"table_leg{leg}_visual"
        _visual(table, name=name, type="cylinder", size="0.05 0.1", pos="0 0 0", material="table_legs")


def _furniture(body: Element, painted: tuple[Painted, ...]) -> None:
    """A table made of boxes: what is seen is what collides, with the contacts of LIBERO's objects."""
    add_looks(body, painted)
    add_collisions(body, (part.solid for part in painted), GRIP)


def _walls(world: Element) -> None:
    """Four thin slabs to look at. Each slab's own z axis points into the room."""
    (left, right), (near, far) = ROOM
    mid_x, mid_y, height = (left + right) / 2, (near + far) / 2, WALL_HEIGHT / 2
    half_x, half_y = (right - left) / 2, (far - near) / 2
    walls = {
        "wall_rear_visual": ((left, mid_y), half_y, "0.5 0.5 0.5 0.5"),
        "wall_front_visual": ((right, mid_y), half_y, "0.5 0.5 -0.5 -0.5"),
        "wall_left_visual": ((mid_x, far), half_x, f"{HALF} {HALF} 0 0"),
        "wall_right_visual": ((mid_x, near), half_x, f"{HALF} -{HALF} 0 0"),
    }
    for name, ((x, y), half, quaternion) in walls.items():
        _visual(
            world,
            name=name,
            type="box",
            size=f"{half} {height} 0.01",
            pos=f"{x} {y} {height}",
            quat=quaternion,
            material="walls_mat",
        )


def _visual(parent: Element, **attributes: str) -> None:
    SubElement(parent, "geom", {"contype": "0", "conaffinity": "0", "group": "1"} | attributes)
