"""The words an instruction is made of, by class: verbs, prepositions, sides, pronouns. All other words name things."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hone.language.plan import SIDES

Action = Literal["pick", "put", "stack", "push", "open", "close", "turn_on", "turn_off", "find"]
"""`find` moves nothing: it says what the next clause speaks of."""
Quantity = Literal["one", "both", "all"]
Kind = Literal[
    "on", "top", "in", "under", "near", "between", "from", "left", "right", "front", "back", "middle", "table"
]
"""`top`: "on top of". `from`: on or in. `table`: at the middle of the table."""

PLACING: tuple[Action, ...] = ("put", "stack", "push")
"""Actions that say where to."""
PLACES: tuple[Kind, ...] = ("on", "top", "in", "under", "left", "right", "front", "back")
"""Relations that can be a place to put something."""

_VERBS = {
    "pick": "pick grab take lift grasp get fetch",
    "put": "put place set lay drop move bring position rest settle situate deposit station arrange",
    "stack": "stack pile",
    "push": "push slide shove nudge",
    "open": "open",
    "close": "close shut",
    "turn": "turn switch",
    "pull": "pull",
    "turn_on": "start",
    "find": "find locate approach",
}
PARTICLES: dict[tuple[str, str], Action] = {
    ("pick", "up"): "pick",
    ("pick", "out"): "pick",
    ("put", "down"): "put",
    ("put", "off"): "put",
    ("pull", "open"): "open",
    ("push", "closed"): "close",
    ("push", "shut"): "close",
    ("turn", "on"): "turn_on",
    ("turn", "off"): "turn_off",
    ("close", "off"): "turn_off",
}
"""What a verb means with a particle right after it, or after its object."""
_PREPOSITIONS: dict[Kind, tuple[str, ...]] = {
    "on": ("on", "onto", "on to", "upon"),
    "top": ("on top of", "on the top of", "onto the top of", "on top", "atop"),
    "in": ("in", "into", "inside", "inside of", "within", "to the inside of"),
    "under": ("under", "underneath", "beneath", "below"),
    "near": ("next to", "beside", "near", "close to", "adjacent to", "by"),
    "between": ("between", "in between"),
    "from": ("from", "out of", "off", "off of"),
    "front": ("in front of",),
    "back": ("behind",),
    "left": ("left of",),
    "right": ("right of",),
}
SIDE_WORDS: dict[str, Kind] = {
    "left": "left",
    "leftmost": "left",
    "right": "right",
    "rightmost": "right",
    "front": "front",
    "back": "back",
    "rear": "back",
    "middle": "middle",
    "center": "middle",
    "centre": "middle",
}
_CENTRES = ("center", "centre", "middle")
_SEPARATORS = ("and", "then", "and then", "after that", "first", "next", "finally", ",", ";", ":", ".", "!", "?")
_ASIDES = (
    *("carefully", "gently", "slowly", "quickly", "swiftly", "precisely", "deliberately", "securely", "gingerly"),
    *("firmly", "safely", "smoothly", "softly", "steadily", "purposefully", "neatly", "properly"),
    *("please", "kindly", "possibly", "just"),
    *("could you", "can you", "would you", "will you", "would you mind", "are you able to", "would you be able to"),
    *("i would like you to", "i d like you to", "i want you to", "i need you to", "i require you to"),
    *("you should", "you must", "you need to", "you have to", "make sure to", "be sure to", "try to"),
    *("if you can", "if you could", "if possible", "when you can", "thank you", "thanks"),
    "your task is to",
    "the task is to",
    "go ahead and",
    "what i need is this",
    "would you be so kind as to",
    "for me",
    "now",
)
"""Politeness and manner: words that change neither what is meant nor where to, and are passed over."""
COLOURS = ("black", "blue", "brown", "gray", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")


def _lexicon() -> dict[str, tuple[str, str]]:
    """Closed-class words and phrases, each with its class and its value."""
    lexicon = {word: ("separator", "") for word in _SEPARATORS}
    lexicon |= {phrase: ("aside", "") for phrase in _ASIDES}
    lexicon |= {word: ("determiner", "") for word in ("the", "a", "an", "this", "that", "these", "those", "its")}
    lexicon |= {word: ("pronoun", word) for word in ("it", "them", "there")}
    lexicon |= {word: ("quantity", "both") for word in ("both", "both of", "two")}
    lexicon |= {word: ("quantity", "all") for word in ("all", "all of", "every", "each")}
    lexicon |= {word: ("particle", "") for word in ("up", "down", "out", "closed")}
    lexicon |= {"of": ("of", "")}
    for stem, words in _VERBS.items():
        lexicon |= {form: ("verb", stem) for word in words.split() for form in (word, _gerund(word))}
    lexicon |= {phrase: ("verb", "find") for phrase in ("go to", "go over to", "move to", "look for")}
    lexicon |= {word: ("preposition", kind) for kind, words in _PREPOSITIONS.items() for word in words}
    for preposition in ("on", "at", "in", "to", "from"):
        for word, kind in SIDE_WORDS.items():
            for phrase in (f"{preposition} the {word}", f"{preposition} the {word} side"):
                lexicon[phrase] = ("side", kind)
                if kind in SIDES:
                    lexicon[f"{phrase} of"] = ("preposition", kind)
        for centre in _CENTRES:
            for phrase in (f"table {centre}", f"the table {centre}", f"the {centre} of the table"):
                lexicon[f"{preposition} {phrase}"] = ("side", "table")
    return lexicon


def _gerund(verb: str) -> str:
    """ "putting", after "would you mind"."""
    if verb.endswith("e"):
        return verb[:-1] + "ing"
    return verb + (verb[-1] if verb in _DOUBLING else "") + "ing"


_DOUBLING = ("get", "grab", "put", "set", "drop", "shut")
_LEXICON = _lexicon()
_LONGEST = max(phrase.count(" ") + 1 for phrase in _LEXICON)


@dataclass(frozen=True)
class Lexeme:
    kind: str
    value: str
    text: str


def singular(word: str) -> str:
    """The word without a plural ending, by rule."""
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us")) else word


def lexemes(text: str) -> Iterator[Lexeme]:
    """The longest known phrase at each place, without asides; a word that is not known names things."""
    words = re.findall(r"[^\W_]+|[,;:.!?]", text.lower())
    start = 0
    while start < len(words):
        length, (kind, value) = _longest(words, start)
        if kind != "aside":
            yield Lexeme(kind, value, " ".join(words[start : start + length]))
        start += length


def _longest(words: list[str], start: int) -> tuple[int, tuple[str, str]]:
    for length in range(min(_LONGEST, len(words) - start), 0, -1):
        found = _LEXICON.get(" ".join(words[start : start + length]))
        end = start + length
        # "in the middle" is a side, but "in the middle drawer" is not
        if found and not (found[0] == "side" and end < len(words) and _longest(words, end)[1][0] in ("word", "of")):
            return length, found
    return 1, ("word", "")
