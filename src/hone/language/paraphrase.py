"""Other words for the same instruction, from word lists and templates, offline and seeded.

Level 1 exchanges the verbs, level 2 also the form of the sentence, level 3 also the names of the things. (LIBERO-Para
varies the action and the object of an instruction; the lists here are Hone's own.) Words that say where or of which
colour a thing is stay: they say which one is meant.
"""

from __future__ import annotations

import re

import numpy as np

ACTIONS: dict[str, tuple[str, ...]] = {
    "pick up": ("grab", "take", "lift", "grasp"),
    "place": ("set", "drop off", "lay down"),
    "put": ("place", "set", "lay"),
    "push": ("slide", "shove"),
    "open": ("pull open",),
    "close": ("shut",),
    "turn on": ("switch on", "start"),
    "turn off": ("switch off", "shut off"),
    "stack": ("pile",),
}
THINGS: dict[str, tuple[str, ...]] = {
    "alphabet soup": ("can of alphabet soup", "letter soup"),
    "tomato sauce": ("can of tomato sauce", "tomato sauce tin"),
    "salad dressing": ("bottle of salad dressing", "dressing bottle"),
    "bbq sauce": ("barbecue sauce", "bottle of bbq sauce"),
    "ketchup": ("ketchup bottle", "tomato ketchup"),
    "cream cheese box": ("box of cream cheese", "package of cream cheese"),
    "cream cheese": ("box of cream cheese", "package of cream cheese"),
    "butter": ("pack of butter", "butter package"),
    "milk": ("carton of milk", "milk carton"),
    "chocolate pudding": ("box of chocolate pudding", "pudding box"),
    "orange juice": ("carton of orange juice", "orange juice box"),
    "basket": ("hamper", "carrier basket"),
    "tray": ("serving tray", "platter"),
    "cookie box": ("box of cookies", "biscuit box"),
    "ramekin": ("baking cup", "souffle dish"),
    "plate": ("dish", "dinner plate"),
    "stove": ("cooker", "hob"),
    "cabinet": ("cupboard", "chest of drawers"),
    "frying pan": ("skillet", "pan"),
    "moka pots": ("stovetop coffee makers", "espresso pots"),
    "moka pot": ("stovetop coffee maker", "espresso pot"),
    "mug": ("cup", "coffee mug"),
    "wine bottle": ("bottle of wine",),
    "microwave": ("microwave oven",),
    "caddy": ("desk organizer", "organizer"),
}
FRAMES = (
    "please {}",
    "could you {}?",
    "i would like you to {}",
    "your task is to {}",
    "go ahead and {}",
    "what i need is this: {}",
)


def paraphrase(instruction: str, level: int, generator: np.random.Generator) -> str:
    """The instruction said otherwise. Never the same sentence again; what the lists do not know stays."""
    text = _exchanged(instruction, ACTIONS, generator)
    if level >= 3:
        text = _exchanged(text, THINGS, generator)
    if level >= 2 or text == instruction:
        text = str(generator.choice(FRAMES)).format(text)
    return text


def _exchanged(text: str, lexicon: dict[str, tuple[str, ...]], generator: np.random.Generator) -> str:
    """Every phrase of the lexicon in the text, replaced by one of its synonyms; the longest phrase first."""
    phrases = "|".join(map(re.escape, sorted(lexicon, key=len, reverse=True)))
    return re.sub(rf"\b({phrases})\b", lambda found: str(generator.choice(lexicon[found[1]])), text)
