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

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from hone.language.lexicon import (
    COLOURS,
    PARTICLES,
    PLACES,
    PLACING,
    Action,
    Kind,
    Lexeme,
    Quantity,
    lexemes,
    singular,
)
from hone.language.plan import Refusal
from hone.language.wishes import as_order


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


IT, THEM = Phrase(()), Phrase((), "all")


def parse(instruction: str) -> tuple[Clause, ...]:
    """The clauses of an instruction; `Refusal` "unparsed" names the words that have no place in the grammar."""
    return tuple(_Parser(instruction).sentence())


class _Parser:
    """Recursive descent over lexemes; one method per rule of the grammar."""

    def __init__(self, instruction: str) -> None:
        self._instruction = instruction
        self._lexemes = [*lexemes(as_order(instruction)), Lexeme("end", "", "")]
        self._at = 0

    @property
    def _now(self) -> Lexeme:
        return self._lexemes[self._at]

    def sentence(self) -> Iterator[Clause]:
        stem = None
        self._skip_separators()
        while self._now.kind != "end":
            stem, clause = self._clause(stem)
            yield clause
            if self._now.kind not in ("separator", "end"):
                raise self._unparsed("it does not fit what comes before")
            self._skip_separators()
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
        """Noun phrases joined by "and", and the relations after the last: where a place is to follow, one may be it."""
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
        while self._now.kind == "word" or (words and words[-1] in COLOURS and self._joins_colours()):
            words.append(self._take().text)
        if not words:
            raise self._unparsed("a thing is to be named here")
        return tuple(words)

    def _joins_colours(self) -> bool:
        return self._now.text == "and" and self._lexemes[self._at + 1].text in COLOURS

    def _relations(self) -> tuple[Relation, ...]:
        relations = []
        while self._now.kind == "preposition":
            after = self._lexemes[self._at + 1]
            alone = after.kind in ("separator", "end")
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
        action = PARTICLES.get((stem, self._now.text))
        if action is not None:
            self._take()
        return action

    def _take(self) -> Lexeme:
        lexeme = self._now
        self._at += 1
        return lexeme

    def _skip_separators(self) -> None:
        while self._now.kind == "separator":
            self._at += 1

    def _unparsed(self, why: str) -> Refusal:
        rest = " ".join(lexeme.text for lexeme in self._lexemes[self._at : -1])
        where = f"at '{rest}'" if rest else "at its end"
        return Refusal("unparsed", f"cannot read '{self._instruction}' {where}: {why}.")


def _with(phrase: Phrase, relations: tuple[Relation, ...]) -> Phrase:
    return replace(phrase, relations=phrase.relations + relations)
