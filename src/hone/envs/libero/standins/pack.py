"""Writes the stand-ins as a folder in LIBERO's asset layout."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from hone.envs.libero.standins.fixtures import ARTICULATED_OBJECTS, Fixture, Part
from hone.envs.libero.standins.objects import HOPE_OBJECTS, SCANNED_OBJECTS, Placing, Region, StandIn
from hone.envs.libero.standins.scenes import SCENES
from hone.envs.libero.standins.shapes import Painted, Solid
from hone.envs.libero.standins.textures import TEXTURES, png

GRIP = {"solimp": "0.998 0.998 0.001", "solref": "0.001 1", "friction": "0.95 0.3 0.1"}
"""Contact parameters of LIBERO's objects."""
DENSITY = "100"
"""kg/m³, LIBERO's, where no mass is given."""


def pack_files() -> dict[str, bytes]:
    """Every file of the pack, by its path inside the folder."""
    files = {f"textures/{name}.png": png(pixels) for name, pixels in TEXTURES.items()}
    for name, make_scene in SCENES.items():
        files[f"scenes/{name}.xml"] = _to_bytes(make_scene())
    for family, objects in (("stable_hope_objects", HOPE_OBJECTS), ("stable_scanned_objects", SCANNED_OBJECTS)):
        for name, stand_in in objects.items():
            files[f"{family}/{name}/{name}.xml"] = _to_bytes(_object(name, stand_in))
    for name, fixture in ARTICULATED_OBJECTS.items():
        files[f"articulated_objects/{name}.xml"] = _to_bytes(_fixture(name, fixture))
    return files


def _object(name: str, stand_in: StandIn) -> Element:
    root, outer = _document(name, materials=())
    body = SubElement(outer, "body", name="object", pos=_text(stand_in.pos))
    _sites(body, stand_in.regions)
    _looks(body, stand_in.visual)
    # Overlapping boxes count their overlap twice, so the density is what gives the right total.
    density = stand_in.mass / sum(solid.volume for solid in stand_in.collision)
    _collisions(body, stand_in.collision, GRIP | {"density": f"{density:.6g}"})
    _placement_sites(outer, stand_in.placing)
    return root


def _fixture(name: str, fixture: Fixture) -> Element:
    root, outer = _document(name, fixture.materials)
    _part(SubElement(outer, "body", name="object"), fixture.base)
    _placement_sites(outer, fixture.placing)
    return root


def _part(parent: Element, part: Part) -> None:
    body = SubElement(parent, "body", name=part.name, pos=_text(part.pos), quat=_text(part.quat))
    if part.joint is not None:
        SubElement(body, "inertial", pos="0 0 0", mass="3", diaginertia="1 1 1")
        joint = part.joint
        SubElement(
            body,
            "joint",
            name=joint.name,
            type=joint.kind,
            pos="0 0 0",
            axis=_text(joint.axis),
            limited="true",
            range=_text(joint.range),
            damping=f"{joint.damping:g}",
        )
    _sites(body, part.regions)
    _looks(body, part.visual)
    _collisions(body, part.collision, GRIP | {"density": DENSITY} if part.grippy else {})
    for child in part.parts:
        _part(body, child)
    if part.burner is not None:
        burner = part.burner
        SubElement(
            body,
            "site",
            name=burner.name,
            type="cylinder",
            size=_text(burner.size),
            pos=_text(burner.pos),
            rgba="0.9 0.05 0.05 1",
        )


def _document(name: str, materials: Iterable[str]) -> tuple[Element, Element]:
    """The document and its outer body, which robosuite expects around the body named `object`."""
    root = Element("mujoco", model=name)
    asset = SubElement(root, "asset")
    for material in materials:
        SubElement(asset, "texture", name=f"tex-{material}", type="cube", file=f"../textures/cabinet-{material}.png")
        SubElement(asset, "material", name=material, texture=f"tex-{material}", specular="0.1", shininess="0")
    return root, SubElement(SubElement(root, "worldbody"), "body")


def _sites(body: Element, regions: Iterable[Region]) -> None:
    for region in regions:
        SubElement(
            body,
            "site",
            name=region.name,
            type="box",
            size=_text(region.size),
            pos=_text(region.pos),
            quat=_text(region.quat),
            group="0",
            rgba="0.8 0.8 0.8 0",
        )


def _looks(body: Element, visual: Iterable[Painted]) -> None:
    for painted in visual:
        look = {"material": painted.material} if painted.material else {"rgba": _text(painted.rgba)}
        _geom(body, painted.solid, group="1", contype="0", conaffinity="0", mass="0", **look)


def _collisions(body: Element, solids: Iterable[Solid], attributes: dict[str, str]) -> None:
    for solid in solids:
        _geom(body, solid, group="0", rgba="0.8 0.8 0.8 0.3", **attributes)


def _geom(body: Element, solid: Solid, **attributes: str) -> None:
    shape = {"type": solid.kind, "size": _text(solid.size), "pos": _text(solid.pos), "quat": _text(solid.quat)}
    SubElement(body, "geom", shape | attributes)


def _placement_sites(outer: Element, placing: Placing) -> None:
    positions = {
        "bottom_site": (0.0, 0.0, placing.bottom),
        "top_site": (0.0, 0.0, placing.top),
        "horizontal_radius_site": (placing.radius, placing.radius, 0.0),
    }
    for name, position in positions.items():
        SubElement(outer, "site", name=name, pos=_text(position), size="0.005", rgba="0 0 0 0")


def _text(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.6g}" for number in numbers)


def _to_bytes(root: Element) -> bytes:
    indent(root)
    return tostring(root) + b"\n"
