"""The rooms: a floor (libero_object) and a table on a floor (libero_spatial), with walls, lights and cameras.

LIBERO reads these names: bodies `floor` and `table`, geoms `floor`, `table_collision`, `table_visual`,
`table_leg{1..4}_visual`, site `table_top`, textures `texplane` and `tex-wall` (their files are replaced by the scene's
style), cameras `agentview`, `frontview`, `birdview`, `sideview`. It sets the table's size and the agent view itself.
"""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element, SubElement

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
    """A table in the middle of the room. LIBERO moves it and gives it its size and legs."""
    root, world = _room("table_arena")
    _floor(world)
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
    return root


SCENES = {
    "libero_floor_base_style": floor_scene,
    "libero_tabletop_base_style": table_scene,
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
