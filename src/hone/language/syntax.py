"""Instructions to clauses: a small grammar of English imperatives. It knows words and no scene.

    sentence    = clause { separator clause }
    clause      = [verb] [particle] objects [particle] { relation }     a verb left out is that of the clause before
    objects     = noun phrase { "and" noun phrase }
    noun phrase = [quantity] [determiner] word { word } [ "of" noun phrase ] { side } | pronoun
    relation    = preposition [noun phrase]                              "between" takes two
    side        = "on the left" | "in the middle" | …

Every word belongs somewhere; a sentence with a word left over is refused, so that "do not open the drawer" never opens
one. With a verb that needs a place the last preposition that can say one does; those before it say which thing is
meant, those after it which place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, cast

from hone.language.plan import SIDES, Refusal

Action = Literal["pick", "put", "stack", "push", "open", "close", "turn_on", "turn_off"]
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
    "put": "put place set lay drop move bring",
    "stack": "stack pile",
    "push": "push slide shove",
    "open": "open",
    "close": "close shut",
    "turn": "turn switch",
    "pull": "pull",
    "turn_on": "start",
}
_PARTICLES: dict[tuple[str, str], Action] = {
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
_SEPARATORS = ("and", "then", "and then", "after that", ",", ";", ":", ".", "!", "?")
_POLITENESS = (
    "please",
    "could you",
    "can you",
    "would you",
    "will you",
    "i would like you to",
    "i want you to",
    "i need you to",
    "your task is to",
    "the task is to",
    "go ahead and",
    "what i need is this",
    "for me",
    "now",
    "first",
    "next",
    "finally",
)
_COLOURS = ("black", "blue", "brown", "gray", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
_PLURAL_ENDINGS = ("ches", "shes", "sses", "xes")


def _lexicon() -> dict[str, tuple[str, str]]:
    """Closed-class words and phrases, each with its class and its value."""
    lexicon = {word: ("separator", "") for word in _SEPARATORS}
    lexicon |= {phrase: ("politeness", "") for phrase in _POLITENESS}
    lexicon |= {word: ("determiner", "") for word in ("the", "a", "an", "this", "that", "these", "those", "its")}
    lexicon |= {word: ("pronoun", word) for word in ("it", "them", "there")}
    lexicon |= {word: ("quantity", "both") for word in ("both", "both of", "two")}
    lexicon |= {word: ("quantity", "all") for word in ("all", "all of", "every", "each")}
    lexicon |= {word: ("particle", "") for word in ("up", "down", "out", "closed")}
    lexicon |= {"of": ("of", "")}
    lexicon |= {word: ("verb", stem) for stem, words in _VERBS.items() for word in words.split()}
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


_LEXICON = _lexicon()
_LONGEST = max(phrase.count(" ") + 1 for phrase in _LEXICON)


@dataclass(frozen=True)
class Phrase:
    """A noun phrase: the words that name a thing, whose part it is, and what tells it from others of that name.

    A pronoun has no words. "Both" and plurals mean several things.
    """

    words: tuple[str, ...]
    quantity: Quantity = "one"
    whole: Phrase | None = None
    relations: tuple[Relation, ...] = ()

    @property
    def is_pronoun(self) -> bool:
        return not self.words

    def __str__(self) -> str:
        return " ".join(self.words) or ("it" if self.quantity == "one" else "them")


@dataclass(frozen=True)
class Relation:
    """Where something is, or is to be, relative to `anchors`; a side without an anchor compares things of one name."""

    kind: Kind
    anchors: tuple[Phrase, ...] = ()


@dataclass(frozen=True)
class Clause:
    """One thing to do. `place` is there exactly where the action is one of `PLACING`."""

    action: Action
    objects: tuple[Phrase, ...]
    place: Relation | None
    said: str


@dataclass(frozen=True)
class _Lexeme:
    kind: str
    value: str
    text: str


IT, THEM = Phrase(()), Phrase((), "all")


def parse(instruction: str) -> tuple[Clause, ...]:
    """The clauses of an instruction; `Refusal` "unparsed" names the words that have no place in the grammar."""
    return tuple(_Parser(instruction).sentence())


def singular(word: str) -> str:
    """The word without a plural ending, by rule."""
    if word.endswith(_PLURAL_ENDINGS):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us")) else word


def _lexemes(text: str) -> Iterator[_Lexeme]:
    """The longest known phrase at each place; a word that is not known names things."""
    words = re.findall(r"[^\W_]+|[,;:.!?]", text.lower())
    start = 0
    while start < len(words):
        length, (kind, value) = _longest(words, start)
        yield _Lexeme(kind, value, " ".join(words[start : start + length]))
        start += length


def _longest(words: list[str], start: int) -> tuple[int, tuple[str, str]]:
    for length in range(min(_LONGEST, len(words) - start), 0, -1):
        found = _LEXICON.get(" ".join(words[start : start + length]))
        end = start + length
        # "in the middle" is a side, but "in the middle drawer" is not
        if found and not (found[0] == "side" and end < len(words) and _longest(words, end)[1][0] in ("word", "of")):
            return length, found
    return 1, ("word", "")


class _Parser:
    """Recursive descent over lexemes; one method per rule of the grammar."""

    def __init__(self, instruction: str) -> None:
        self._instruction = instruction
        self._lexemes = [*_lexemes(instruction), _Lexeme("end", "", "")]
        self._at = 0

    @property
    def _now(self) -> _Lexeme:
        return self._lexemes[self._at]

    def sentence(self) -> Iterator[Clause]:
        stem = None
        self._skip("politeness", "separator")
        while self._now.kind != "end":
            stem, clause = self._clause(stem)
            yield clause
            self._skip("politeness")
            if self._now.kind not in ("separator", "end"):
                raise self._unparsed("it does not fit what comes before")
            self._skip("politeness", "separator")
        if stem is None:
            raise Refusal("unparsed", "the instruction is empty; say what is to be done.")

    def _clause(self, stem: str | None) -> tuple[str, Clause]:
        start = self._at
        if self._now.kind == "verb":
            stem = self._take().value
        if stem is None:
            raise self._unparsed("an instruction begins with a verb (pick up, put, push, open, close, turn on, …)")
        action = self._particle(stem)
        objects, relations = self._objects(stem in PLACING)
        action = action or self._particle(stem)
        if action is None and stem in ("turn", "pull"):
            raise self._unparsed(f"'{stem}' needs {'on or off' if stem == 'turn' else 'open'}")
        action = action or cast(Action, stem)
        relations += self._relations()
        place = None
        if action in PLACING:
            objects, place = self._placed(objects, relations, action)
        elif relations:
            objects = (*objects[:-1], _with(objects[-1], relations))
        said = " ".join(lexeme.text for lexeme in self._lexemes[start : self._at])
        return stem, Clause(action, objects, place, said)

    def _placed(
        self, objects: tuple[Phrase, ...], relations: tuple[Relation, ...], action: str
    ) -> tuple[tuple[Phrase, ...], Relation]:
        """Objects and place, from the relations that follow the objects."""
        where = [index for index, relation in enumerate(relations) if relation.kind in PLACES]
        if not where:
            said = next((f"'{relation.kind}' does not say it" for relation in relations), "nothing does")
            raise self._unparsed(
                f"'{action}' needs a place ({said}): on, in or under something, or to the left or right of, in front "
                "of or behind it"
            )
        before, place, after = relations[: where[-1]], relations[where[-1]], relations[where[-1] + 1 :]
        anchors = tuple(_with(anchor, after) for anchor in place.anchors)
        return (*objects[:-1], _with(objects[-1], before)), Relation(place.kind, anchors)

    def _objects(self, placing: bool) -> tuple[tuple[Phrase, ...], tuple[Relation, ...]]:
        """Noun phrases joined by "and". Where a place is to follow, the relations after the last are not yet its own."""
        objects = [self._noun_phrase()]
        relations = self._relations()
        while self._now.text in ("and", ",") and not (placing and relations) and self._noun_follows():
            objects[-1] = _with(objects[-1], relations)
            self._take()
            objects.append(self._noun_phrase())
            relations = self._relations()
        if len(objects) > 1 and objects[0].quantity == "both":
            objects[0] = replace(objects[0], quantity="one")
        return tuple(objects), relations

    def _noun_follows(self) -> bool:
        return self._lexemes[self._at + 1].kind in ("determiner", "quantity", "word", "pronoun")

    def _noun_phrase(self) -> Phrase:
        if self._now.kind == "pronoun":
            return THEM if self._take().value == "them" else IT
        quantity = "one"
        while self._now.kind in ("determiner", "quantity"):
            quantity = self._take().value or quantity
        if self._now.kind == "pronoun":  # both of them
            self._take()
            return THEM
        words = self._words()
        whole = None
        if self._now.kind == "of":
            self._take()
            if self._now.kind == "word":  # "can of soup" is one name, "drawer of the cabinet" is a part of a thing
                words += ("of", *self._words())
            else:
                whole = self._noun_phrase()
        if quantity == "one" and singular(words[-1]) != words[-1]:
            quantity = "all"
        sides = []
        while self._now.kind == "side":
            sides.append(Relation(cast(Kind, self._take().value)))
        return Phrase(words, cast(Quantity, quantity), whole, tuple(sides))

    def _words(self) -> tuple[str, ...]:
        words: list[str] = []
        while self._now.kind == "word" or (words and words[-1] in _COLOURS and self._joins_colours()):
            words.append(self._take().text)
        if not words:
            raise self._unparsed("a thing is to be named here")
        return tuple(words)

    def _joins_colours(self) -> bool:
        return self._now.text == "and" and self._lexemes[self._at + 1].text in _COLOURS

    def _relations(self) -> tuple[Relation, ...]:
        relations = []
        while self._now.kind == "preposition":
            after = self._lexemes[self._at + 1]
            alone = after.kind in ("separator", "politeness", "end")
            if alone and self._now.value not in ("in", "top"):
                break  # a particle, perhaps
            kind = cast(Kind, self._take().value)
            anchors = [IT if alone else self._noun_phrase()]
            if kind == "between":
                if self._now.text == "and":
                    self._take()
                    anchors.append(self._noun_phrase())
                elif anchors[0].quantity == "one":
                    raise self._unparsed("'between' needs two things")
            relations.append(Relation(kind, tuple(anchors)))
        return tuple(relations)

    def _particle(self, stem: str) -> Action | None:
        action = _PARTICLES.get((stem, self._now.text))
        if action is not None:
            self._take()
        return action

    def _take(self) -> _Lexeme:
        lexeme = self._now
        self._at += 1
        return lexeme

    def _skip(self, *kinds: str) -> None:
        while self._now.kind in kinds:
            self._at += 1

    def _unparsed(self, why: str) -> Refusal:
        rest = " ".join(lexeme.text for lexeme in self._lexemes[self._at : -1])
        where = f"at '{rest}'" if rest else "at its end"
        return Refusal("unparsed", f"cannot read '{self._instruction}' {where}: {why}.")


def _with(phrase: Phrase, relations: tuple[Relation, ...]) -> Phrase:
    return replace(phrase, relations=phrase.relations + relations)
