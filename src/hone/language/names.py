"""What the things of a scene are called: noun phrases to names in `Facts`.

A thing's names come from its own (`akita_black_bowl_1` is an "akita black bowl", a "black bowl", a "bowl") and from two
tables: words that mean the same, and things LIBERO's sentences call otherwise than its files do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from hone.envs.libero.facts import Facts
from hone.language.lexicon import singular

SYNONYMS = {
    "letter soup": "alphabet soup",
    "barbecue sauce": "bbq sauce",
    "tomato ketchup": "ketchup",
    "catsup": "ketchup",
    "biscuit": "cookie",
    "hamper": "basket",
    "carrier basket": "basket",
    "serving tray": "tray",
    "platter": "tray",
    "baking cup": "ramekin",
    "souffle dish": "ramekin",
    "dish": "plate",
    "dinner plate": "plate",
    "saucer": "plate",
    "serving plate": "plate",
    "dessert plate": "plate",
    "luncheon plate": "plate",
    "basin": "bowl",
    "cooker": "stove",
    "cooktop": "stove",
    "stovetop": "stove",
    "cooking surface": "stove",
    "range": "stove",
    "hob": "stove",
    "hotplate": "stove",
    "kitchen stove": "stove",
    "cooking stove": "stove",
    "burner": "stove",
    "cupboard": "cabinet",
    "dresser": "cabinet",
    "kitchen cabinet": "cabinet",
    "storage cabinet": "cabinet",
    "storage drawer": "drawer",
    "utility drawer": "drawer",
    "chest of drawer": "cabinet",
    "frypan": "pan",
    "frying pan": "pan",
    "skillet": "pan",
    "stovetop coffee maker": "moka pot",
    "coffee maker": "moka pot",
    "espresso pot": "moka pot",
    "espresso maker": "moka pot",
    "coffee mug": "mug",
    "coffee cup": "mug",
    "cup": "mug",
    "microwave oven": "microwave",
    "microwave door": "microwave",
    "desk organizer": "caddy",
    "organizer": "caddy",
    "shelf unit": "shelf",
    "top layer": "top drawer",
    "middle layer": "middle drawer",
    "bottom layer": "bottom drawer",
    "upper drawer": "top drawer",
    "lower drawer": "bottom drawer",
}
"""Left means right, in whole words, singular; the longest match first. Applied to what is said and to the names."""
ALIASES = {
    "porcelain mug": ("white mug",),
    "wooden two layer shelf": ("wooden cabinet shelf", "wooden cabinet"),
}
"""From LIBERO's task list: its sentences say "white mug" for the porcelain one, and "cabinet" for the shelf too."""
PACKAGES = frozenset({"bottle", "box", "can", "carton", "container", "jar", "pack", "package", "packet", "tin"})
"""Words that may be said with a thing or left out: "can of soup", "milk carton"."""
DOORS = frozenset({"door", "knob", "switch"})
"""Parts that are opened, closed or turned in place of the whole."""

_PATTERN = re.compile(rf"\b({'|'.join(sorted(SYNONYMS, key=len, reverse=True))})\b")

Words = frozenset[str]


def named(words: Sequence[str], facts: Facts) -> list[str]:
    """Names of all things the words can mean: those they name exactly, else those whose names contain all the words.

    Whole things come before their parts: "shelf" is the shelf and not its top shelf.
    """
    said = key(tuple(words))
    wholes, parts = _wholes(facts), _parts(facts)
    for vocabulary in (wholes, parts):
        if exact := [name for name, keys in vocabulary.items() if any(_core(k) == _core(said) for k in keys)]:
            return exact
    for vocabulary in (wholes, parts):
        if partly := [name for name, keys in vocabulary.items() if any(said <= k or _core(said) <= k for k in keys)]:
            return partly
    return []


@lru_cache(maxsize=1024)
def key(words: tuple[str, ...]) -> Words:
    """The words as a set, singular, with one word for all that mean the same."""
    text = " ".join(singular(word) for word in words)
    return frozenset(_PATTERN.sub(lambda found: SYNONYMS[found[1]], text).split()) - {"and", "of"}


def category(name: str) -> str:
    """`akita_black_bowl_1` is an "akita black bowl"."""
    return re.sub(r"_\d+$", "", name).replace("_", " ")


def is_volume(facts: Facts, region: str) -> bool:
    """Whether things go into a region; the others, less than 1 cm thick, are surfaces."""
    return bool(facts.regions[region].half_size.min() > 0.005)


def regions_of(facts: Facts, thing: str) -> list[str]:
    """Regions a thing carries, the lowest first."""
    regions = [name for name, region in facts.regions.items() if region.parent == thing]
    return sorted(regions, key=lambda name: facts.regions[name].pose.position[2])


def _core(said: Words) -> Words:
    return said - PACKAGES or said


def _wholes(facts: Facts) -> dict[str, list[Words]]:
    """Objects and fixtures with what each is called."""
    names: dict[str, list[Words]] = {}
    for name in (*facts.objects, *facts.fixtures):
        own = category(name)
        names[name] = [key(tuple(alias.split())) for alias in (own, *ALIASES.get(own, ()))]
    return names


def _parts(facts: Facts) -> dict[str, list[Words]]:
    """Drawers, compartments and shelves: `wooden_cabinet_1_top_region` is a "top drawer"."""
    names: dict[str, list[Words]] = {}
    for name, region in facts.regions.items():
        if region.parent is None or not is_volume(facts, name):
            continue
        kind = "drawer" if region.joint else "shelf" if "shelf" in region.parent else "compartment"
        own = name.removeprefix(region.parent).replace("_", " ").split()
        names[name] = [key((*(word for word in own if word not in ("region", "contain")), kind))]
    return names
