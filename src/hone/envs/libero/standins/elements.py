"""Solids as geoms of a MuJoCo description: one to look at (group 1), one to collide with (group 0)."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement

from hone.envs.libero.standins.shapes import Painted, Solid

GRIP = {"solimp": "0.998 0.998 0.001", "solref": "0.001 1", "friction": "0.95 0.3 0.1"}
"""Contact parameters of LIBERO's objects."""


def add_looks(body: Element, visual: Iterable[Painted]) -> None:
    for painted in visual:
        look = {"material": painted.material} if painted.material else {"rgba": text(painted.rgba)}
        _geom(body, painted.solid, group="1", contype="0", conaffinity="0", mass="0", **look)


def add_collisions(body: Element, solids: Iterable[Solid], attributes: dict[str, str]) -> None:
    for solid in solids:
        _geom(body, solid, group="0", rgba="0.8 0.8 0.8 0.3", **attributes)


def text(numbers: Iterable[float]) -> str:
    """Six digits each, as MuJoCo's own writer."""
    return " ".join(f"{number:.6g}" for number in numbers)


def _geom(body: Element, solid: Solid, **attributes: str) -> None:
    shape = {"type": solid.kind, "size": text(solid.size), "pos": text(solid.pos), "quat": text(solid.quat)}
    SubElement(body, "geom", shape | attributes)
