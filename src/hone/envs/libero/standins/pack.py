"""Writes the stand-ins as a folder in LIBERO's asset layout."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from hone.envs.libero.standins.elements import GRIP, add_collisions, add_looks, text
from hone.envs.libero.standins.fixtures import ARTICULATED_OBJECTS, Contact, Fixture, Part
from hone.envs.libero.standins.furnishings import FURNISHINGS
from hone.envs.libero.standins.kitchenware import KITCHENWARE, PANS
from hone.envs.libero.standins.objects import HOPE_OBJECTS, SCANNED_OBJECTS, Placing, Region, StandIn
from hone.envs.libero.standins.scenes import SCENES
from hone.envs.libero.standins.textures import TEXTURES, png

CONTACTS: dict[Contact, dict[str, str]] = {
    "object": GRIP | {"density": "100"},
    "default": {},
    "microwave": {
        "density": "366",
        "contype": "0",
        "conaffinity": "1",
        "condim": "3",
        "solimp": "0.8 0.9 0.01",
        "solref": "0.02 1",
    },
}
"""Of the parts of fixtures; LIBERO's, but for the microwave's contact margin of 1 mm: with a margin MuJoCo 3.8.1 now
and then finds a thin box on a parallel one 10 to 20 cm deep in it, and a bowl set on the microwave jumps. Density in
kg/m³."""
FAMILIES: dict[str, dict[str, StandIn]] = {
    "stable_hope_objects": HOPE_OBJECTS,
    "stable_scanned_objects": SCANNED_OBJECTS | PANS,
    "turbosquid_objects": KITCHENWARE | FURNISHINGS,
}


def pack_files() -> dict[str, bytes]:
    """Every file of the pack, by its path inside the folder."""
    files = {f"textures/{name}.png": png(pixels) for name, pixels in TEXTURES.items()}
    for name, make_scene in SCENES.items():
        files[f"scenes/{name}.xml"] = _to_bytes(make_scene())
    for family, objects in FAMILIES.items():
        for name, stand_in in objects.items():
            files[f"{family}/{name}/{name}.xml"] = _to_bytes(_object(name, stand_in))
    for name, fixture in ARTICULATED_OBJECTS.items():
        files[f"articulated_objects/{name}.xml"] = _to_bytes(_fixture(name, fixture))
    return files


def _object(name: str, stand_in: StandIn) -> Element:
    root, outer = _document(name, materials=())
    body = SubElement(outer, "body", name="object", pos=text(stand_in.pos))
    if stand_in.inner is not None:
        inner, pos = stand_in.inner
        body = SubElement(body, "body", name=inner, pos=text(pos))
    _sites(body, stand_in.regions)
    add_looks(body, stand_in.visual)
    # Overlapping boxes count their overlap twice, so the density is what gives the right total.
    density = stand_in.mass / sum(solid.volume for solid in stand_in.collision)
    add_collisions(body, stand_in.collision, GRIP | {"density": f"{density:.6g}"})
    _placement_sites(outer, stand_in.placing)
    return root


def _fixture(name: str, fixture: Fixture) -> Element:
    root, outer = _document(name, fixture.materials)
    parent = outer if fixture.base.name == "object" else SubElement(outer, "body", name="object")
    _part(parent, fixture.base)
    _placement_sites(outer, fixture.placing)
    return root


def _part(parent: Element, part: Part) -> None:
    body = SubElement(parent, "body", name=part.name, pos=text(part.pos), quat=text(part.quat))
    if part.joint is not None:
        joint, inertial = part.joint, part.inertial
        SubElement(
            body,
            "inertial",
            pos=text(inertial.pos),
            mass=f"{inertial.mass:g}",
            diaginertia=text(inertial.diagonal),
        )
        SubElement(
            body,
            "joint",
            name=joint.name,
            type=joint.kind,
            pos="0 0 0",
            axis=text(joint.axis),
            limited="true",
            range=text(joint.range),
            damping=f"{joint.damping:g}",
        )
    _sites(body, part.regions)
    add_looks(body, part.visual)
    add_collisions(body, part.collision, CONTACTS[part.contact])
    for child in part.parts:
        _part(body, child)
    if part.burner is not None:
        burner = part.burner
        SubElement(
            body,
            "site",
            name=burner.name,
            type="cylinder",
            size=text(burner.size),
            pos=text(burner.pos),
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
            size=text(region.size),
            pos=text(region.pos),
            quat=text(region.quat),
            group="0",
            rgba="0.8 0.8 0.8 0",
        )


def _placement_sites(outer: Element, placing: Placing) -> None:
    positions = {
        "bottom_site": (0.0, 0.0, placing.bottom),
        "top_site": (0.0, 0.0, placing.top),
        "horizontal_radius_site": (placing.radius, placing.radius, 0.0),
    }
    for name, position in positions.items():
        SubElement(outer, "site", name=name, pos=text(position), size="0.005", rgba="0 0 0 0")


def _to_bytes(root: Element) -> bytes:
    indent(root)
    return tostring(root) + b"\n"
