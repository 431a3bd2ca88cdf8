"""Words with arguments: what a reward program is made of. Read from JSON with exact errors, never executed.

A parameter's name says what it may hold (`PARAMETERS`): the name of something in the scene, or a number within bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hone.envs.libero.facts import Facts
from hone.errors import HoneError, unknown_name
from hone.language.plan import SIDES, jointed_things
from hone.language.scene_words import places

Argument = str | float


@dataclass(frozen=True)
class Term:
    """One use of a word, with its arguments by name."""

    name: str
    args: Mapping[str, Argument]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "args": dict(self.args)}

    def words(self) -> str:
        said = ", ".join(value if isinstance(value, str) else f"{value:g}" for value in self.args.values())
        return f"{self.name}({said})"


@dataclass(frozen=True)
class Word:
    """A word of a vocabulary: its parameters, and its rule, called with the facts now, those of the start, and them.

    `smallest`: of a distance, the least length that progress is measured on.
    """

    parameters: tuple[str, ...]
    rule: Callable[..., Any]
    smallest: float = 0.0

    @property
    def says(self) -> str:
        """What the word means: the first line of its rule's docstring."""
        return (self.rule.__doc__ or "").splitlines()[0]


@dataclass(frozen=True)
class Named:
    """A parameter that names something of the scene."""

    what: str
    known: Callable[[Facts], Iterable[str]]


@dataclass(frozen=True)
class Bounded:
    """A parameter that is a number."""

    low: float
    high: float


def _solid(facts: Facts) -> list[str]:
    return [*facts.objects, *facts.fixtures]


PARAMETERS: dict[str, Named | Bounded] = {
    "thing": Named("an object", lambda facts: facts.objects),
    "joint": Named("a drawer's inside or a fixture with one joint", jointed_things),
    "what": Named("an object or what a joint moves", lambda facts: [*facts.objects, *jointed_things(facts)]),
    "place": Named("an object, a fixture or a place of one", lambda facts: [*_solid(facts), *places(facts)]),
    "anchor": Named("an object or a fixture", _solid),
    "side": Named("a side", lambda facts: SIDES),
    "within_m": Bounded(0.001, 0.30),
    "by_m": Bounded(0.005, 0.50),
    "share": Bounded(0.02, 1.0),
    "x_m": Bounded(-0.5, 0.5),
    "y_m": Bounded(-0.5, 0.5),
    "z_m": Bounded(-0.5, 0.5),
}


def read_term(data: Any, vocabulary: Mapping[str, Word], where: str) -> Term:
    """A term from JSON. `HoneError` says what is wrong, and `where`."""
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        raise HoneError(f"{where} is {data!r}; expected an object with 'name' and 'args'.")
    name, args = data["name"], data.get("args")
    if name not in vocabulary:
        raise HoneError(f"{where}: {unknown_name('word', name, vocabulary)}")
    wanted = vocabulary[name].parameters
    if not isinstance(args, Mapping) or set(args) != set(wanted):
        raise HoneError(f"{where}: '{name}' has the arguments {args!r}; expected {', '.join(wanted)}.")
    return Term(name, {key: _argument(key, args[key], f"{where}: '{name}'") for key in wanted})


def check_term(term: Term, vocabulary: Mapping[str, Word], facts: Facts, where: str) -> None:
    """Every name in the term exists in the scene and is of the right kind; else `HoneError`."""
    for key in vocabulary[term.name].parameters:
        parameter = PARAMETERS[key]
        if isinstance(parameter, Bounded):
            continue
        known = sorted(parameter.known(facts))
        if term.args[key] not in known:
            raise HoneError(
                f"{where}: '{term.name}' has {key} '{term.args[key]}'; expected {parameter.what}: "
                f"{', '.join(known) or 'there is none'}."
            )


def _argument(key: str, value: Any, where: str) -> Argument:
    parameter = PARAMETERS[key]
    if isinstance(parameter, Named):
        if not isinstance(value, str):
            raise HoneError(f"{where} has {key} {value!r}; expected the name of {parameter.what}.")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not parameter.low <= value <= parameter.high:
        raise HoneError(f"{where} has {key} {value!r}; expected a number from {parameter.low:g} to {parameter.high:g}.")
    return float(value)
