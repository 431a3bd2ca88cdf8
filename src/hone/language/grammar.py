"""The offline planner: an instruction and the scene's facts to a grounded `Plan`, by grammar and geometry alone.

It reads where things are and what they are called, never the goal. It adds nothing that the sentence does not say, and
refuses a sentence it cannot read to the last word, or whose things it cannot tell apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from hone.envs.libero.facts import Facts
from hone.language.lexicon import PLACING, SIDE_WORDS, Kind
from hone.language.names import DOORS, category, is_volume, named, regions_of
from hone.language.plan import (
    Beside,
    Plan,
    Refusal,
    Side,
    Subgoal,
    Target,
    Verb,
    check_grounded,
    check_reachable,
    jointed_things,
)
from hone.language.relations import select
from hone.language.syntax import Clause, Phrase, Relation, parse

SOURCE = "grammar"


def decompose(instruction: str, facts: Facts) -> Plan:
    """What the instruction asks for in this scene. Raises `Refusal`."""
    reader = _Reader(facts)
    for clause in parse(instruction):
        reader.read(clause)
    plan = Plan(instruction, reader.subgoals(), SOURCE)
    if not plan.subgoals:
        raise Refusal("unparsed", f"'{instruction}' does not say what is to become of it.")
    check_grounded(plan, facts)
    check_reachable(plan, facts)
    return plan


class _Reader:
    """Reads one instruction clause by clause and remembers what was mentioned, for "it" and "them"."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._steps: list[Subgoal] = []
        self._picked: list[Subgoal] = []
        """Picks whose place is not said yet: a hand holds one thing, so each waits for its own."""
        self._held: set[str] = set()
        self._mentions: list[tuple[list[str], list[str]]] = []
        """Of each clause before: what it moves or turns, and the places it names."""
        self._stack: tuple[str, int] | None = None
        """What the last clause stacked on, and where in the steps it began."""

    def subgoals(self) -> tuple[Subgoal, ...]:
        self._let_go()
        return tuple(self._steps)

    def read(self, clause: Clause) -> None:
        if clause.action == "pick":
            things = self._movable(clause)
            self._let_go()
            self._picked = [Subgoal("pick", thing, said=clause.said) for thing in things]
            self._mentions.append((things, []))
        elif clause.action == "find":
            self._find(clause)
        elif clause.action in PLACING:
            self._place(clause)
        else:
            verb = cast(Verb, clause.action)
            things = [thing for phrase in clause.objects for thing in self._jointed(phrase, verb)]
            self._let_go()
            self._steps += [Subgoal(verb, thing, said=clause.said) for thing in things]
            self._mentions.append((things, []))

    def _find(self, clause: Clause) -> None:
        """Only at the beginning: later, "it" could be what was found or what was moved."""
        if self._steps or self._picked:
            raise Refusal("unparsed", f"cannot read '{clause.said}' after something was to be done.")
        self._mentions.append(([name for phrase in clause.objects for name in self._resolve(phrase)], []))

    def _place(self, clause: Clause) -> None:
        assert clause.place is not None
        begin = len(self._steps)
        if self._stack is not None and clause.objects == (Phrase((), "all"),):
            # The stack is built where it is to stand: the lower thing goes there first.
            base, begin = self._stack
            things, later = [base], self._steps[begin:]
            del self._steps[begin:]
        else:
            things, later = self._movable(clause), []
        named_places, targets = zip(*(self._target(clause, thing) for thing in things), strict=True)
        picks = {pick.thing: pick for pick in self._picked}
        self._picked = [pick for pick in self._picked if pick.thing not in things]
        self._let_go()
        for thing, target in zip(things, targets, strict=True):
            if clause.action == "push":
                self._steps.append(Subgoal("push", thing, target, clause.said))
                continue
            if thing not in self._held:
                self._steps.append(picks.get(thing, Subgoal("pick", thing, said=clause.said)))
            self._held.discard(thing)
            self._steps.append(Subgoal(_PLACE_VERBS[clause.place.kind], thing, target, clause.said))
        self._steps += later
        base = targets[0]
        stacked = clause.action == "stack" and len(things) == 1 and isinstance(base, str)
        self._stack = (base, begin) if stacked and base in self._facts.objects else None
        self._mentions.append((things, _unique(name for names in named_places for name in names)))

    def _let_go(self) -> None:
        """What was picked and gets no place next: the picks stand for themselves."""
        self._steps += self._picked
        self._held |= {pick.thing for pick in self._picked}
        self._picked = []

    # Noun phrases

    def _movable(self, clause: Clause) -> list[str]:
        """The objects a clause moves, each once."""
        things: list[str] = []
        for phrase in clause.objects:
            things += self._only_movable(phrase, clause)
        return list(dict.fromkeys(things))

    def _only_movable(self, phrase: Phrase, clause: Clause) -> list[str]:
        if phrase.is_pronoun:
            for moved, _ in reversed(self._mentions):
                if movable := [thing for thing in moved if thing in self._facts.objects]:
                    return self._counted(movable, phrase)
            raise Refusal("unparsed", f"'{phrase}' in '{clause.said}' stands for nothing that was named before.")
        found = self._resolve(phrase)
        if fixed := [thing for thing in found if thing not in self._facts.objects]:
            raise Refusal("absent", f"'{fixed[0]}' cannot be moved; what can: {_list(self._facts.objects)}.")
        return found

    def _jointed(self, phrase: Phrase, verb: Verb) -> list[str]:
        """What opens, closes or turns: a drawer, or a fixture with one joint."""
        turns = verb in ("turn_on", "turn_off")
        able = [name for name in jointed_things(self._facts) if self._has_knob(name) == turns]
        if phrase.is_pronoun:
            for mentioned in self._backwards():
                if found := _unique(self._parts_of(mentioned, able)):
                    return self._counted(found, phrase)
            raise Refusal("unparsed", f"'{phrase}' stands for nothing named before that can {_plain(verb)}.")
        if phrase.whole is not None and set(phrase.words) <= DOORS:
            phrase = phrase.whole
        found = _unique(self._parts_of(self._candidates(phrase), able))
        if not found:
            raise Refusal("absent", f"'{phrase}' does not {_plain(verb)}; here does: {_list(able) or 'nothing'}.")
        return self._counted(found, phrase)

    def _parts_of(self, names: Iterable[str], able: Sequence[str]) -> list[str]:
        """The names that can be moved by a joint themselves, or else their parts that can."""
        parts = (part for name in names for part in ([name] if name in able else regions_of(self._facts, name)))
        return [part for part in parts if part in able]

    def _has_knob(self, name: str) -> bool:
        """LIBERO names what turns a "button"; all other joints are drawers and doors."""
        region = self._facts.regions.get(name)
        joints = [joint for joint in self._facts.joints.values() if joint.fixture == name]
        return region is None and any("button" in joint.part for joint in joints)

    def _resolve(self, phrase: Phrase) -> list[str]:
        return self._counted(self._candidates(phrase), phrase)

    def _candidates(self, phrase: Phrase) -> list[str]:
        """Everything the phrase can mean, after all that it says about the thing; never empty."""
        things, relations = self._called(phrase), phrase.relations
        if not things:
            sides: list[Kind] = [SIDE_WORDS[word] for word in phrase.words if word in SIDE_WORDS]
            rest = Phrase(tuple(word for word in phrase.words if word not in SIDE_WORDS), "one", phrase.whole)
            things = self._called(rest) if sides and rest.words else []
            relations = (*(Relation(side) for side in sides), *relations)
        if not things:
            raise self._absent(phrase)
        several = phrase.quantity != "one"
        for relation in sorted(relations, key=lambda relation: not relation.anchors):  # superlatives compare the rest
            anchors = [name for anchor in relation.anchors for name in self._anchor(anchor)]
            left = select(self._facts, things, relation.kind, anchors, several)
            if not left:
                where = f"{relation.kind} {' and '.join(map(str, relation.anchors))}".strip()
                raise Refusal("absent", f"no '{phrase}' is {where} here; there are {_list(things)}.")
            things = left
        return things

    def _called(self, phrase: Phrase) -> list[str]:
        """What has this name, and is a part of the whole where one is said."""
        things = named(phrase.words, self._facts)
        if phrase.whole is None:
            return things
        wholes = {self._carrier(whole) for whole in self._candidates(phrase.whole)}
        return [thing for thing in things if thing in self._facts.regions and self._carrier(thing) in wholes]

    def _carrier(self, name: str) -> str:
        """The thing that carries a region ("the top layer of the drawer": of the cabinet), or the thing itself."""
        region = self._facts.regions.get(name)
        return region.parent if region is not None and region.parent is not None else name

    def _anchor(self, phrase: Phrase) -> list[str]:
        if phrase.is_pronoun:
            return next(iter(self._backwards()), [])
        return self._resolve(phrase)

    def _counted(self, things: list[str], phrase: Phrase) -> list[str]:
        """The things, if they are as many as the phrase says."""
        if phrase.quantity == "one" and len(things) > 1:
            raise Refusal("ambiguous", f"'{phrase}' can be {_list(things, ' or ')}; say which one, by where it is.")
        if phrase.quantity == "both" and len(things) != 2:
            raise Refusal("ambiguous", f"'both {phrase}' needs two; there are {len(things)}: {_list(things)}.")
        return things

    def _backwards(self) -> Iterable[list[str]]:
        """What was mentioned, the latest clause first."""
        return (moved + places for moved, places in reversed(self._mentions))

    def _absent(self, phrase: Phrase) -> Refusal:
        """Says which words are strange: those after a name that is known, or the whole phrase."""
        for length in range(len(phrase.words) - 1, 0, -1):
            if named(phrase.words[:length], self._facts) and not named(phrase.words[length:], self._facts):
                strange = " ".join(phrase.words[length:])
                return Refusal("unparsed", f"cannot read '{strange}' after '{' '.join(phrase.words[:length])}'.")
        here = sorted({category(name) for name in (*self._facts.objects, *self._facts.fixtures)})
        return Refusal("absent", f"there is no '{phrase}' here; this scene has: {', '.join(here)}.")

    # Places

    def _target(self, clause: Clause, thing: str) -> tuple[list[str], Target]:
        """Where the clause puts `thing`: what it names, and the place that this means."""
        assert clause.place is not None
        kind, (phrase,) = clause.place.kind, clause.place.anchors
        if not phrase.is_pronoun:
            return self._one_place(kind, self._candidates(phrase), phrase, thing)
        for mentioned in self._backwards():
            others = [name for name in mentioned if name != thing]
            if others:
                return self._one_place(kind, others, phrase, thing)
        raise Refusal("unparsed", f"'{phrase}' in '{clause.said}' stands for no place that was named before.")

    def _one_place(self, kind: Kind, names: Sequence[str], phrase: Phrase, thing: str) -> tuple[list[str], Target]:
        places_of = {name: self._places(kind, name, phrase) for name in names if name != thing}
        places = _unique(place for found in places_of.values() for place in found)
        if len(places) == 1:
            beside = kind in ("left", "right", "front", "back")
            target = Beside(places[0], cast(Side, kind)) if beside else places[0]
            return [name for name, found in places_of.items() if found], target
        if places:
            raise Refusal("ambiguous", f"'{kind} {phrase}' can be {_list(places, ' or ')}; say which one.")
        raise Refusal("absent", f"nothing can be put {kind} '{phrase}' here.")

    def _places(self, kind: Kind, name: str, phrase: Phrase) -> list[str]:
        """What "on", "in", "under" or beside this thing means: the thing itself or a region of it."""
        region = self._facts.regions.get(name)
        if kind in ("left", "right", "front", "back"):
            return [name] if region is None else []
        if region is not None:
            if region.joint is None or kind == "in" or region.parent is None:
                return [name] if kind != "under" else []
            return self._places(kind, region.parent, phrase)  # on top of a drawer is on top of its cabinet
        regions = regions_of(self._facts, name)
        volumes = [place for place in regions if is_volume(self._facts, place)]
        surfaces = [place for place in regions if place not in volumes]
        if kind == "under":  # of two shelves, "under the shelf" is the lower one
            return volumes[:1] if "shelf" in name else []
        if kind == "in" or (kind == "on" and "shelf" in phrase.words):
            inside = volumes if kind == "in" else volumes[-1:]
            return inside or ([name] if name in self._facts.objects else [])
        return surfaces[-1:] or ([name] if name in self._facts.objects else [])


_PLACE_VERBS: dict[Kind, Verb] = {
    "on": "place_on",
    "top": "place_on",
    "in": "place_in",
    "under": "place_in",
    "left": "place_beside",
    "right": "place_beside",
    "front": "place_beside",
    "back": "place_beside",
}


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _list(names: Iterable[str], separator: str = ", ") -> str:
    return separator.join(f"'{name}'" for name in names)


def _plain(verb: Verb) -> str:
    return verb.replace("_", " ")
