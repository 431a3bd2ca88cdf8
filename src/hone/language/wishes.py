"""Wishes, requests and duties as orders: "I need the drawer to be open" is "open the drawer".

Only what says how things are to become is rewritten. A statement of how they are ("the drawer is still shut"), a
question about it ("was the bowl meant for the stove?") and a refusal ("the drawer should not be open") stay as they
are, and the grammar refuses them. Nothing is added that was not said; what comes out is read like any other order.
"""

from __future__ import annotations

import re

_STATES = {
    "open": "open {}",
    "opened": "open {}",
    "closed": "close {}",
    "shut": "close {}",
    **{f"{turned}{way}": f"turn {way} {{}}" for turned in ("", "turned ", "switched ") for way in ("on", "off")},
}
_DONE = {
    "put": "put",
    "placed": "place",
    "set": "set",
    "laid": "lay",
    "dropped": "drop",
    "moved": "move",
    "brought": "bring",
    "positioned": "position",
    "deposited": "deposit",
    "situated": "situate",
    "arranged": "arrange",
    "stacked": "stack",
    "pushed": "push",
    "picked up": "pick up",
    "taken": "take",
    "lifted": "lift",
    "grabbed": "grab",
}
"""Participles, and the verbs they are of."""
_HAVE = "(?: to have| to get| to see)?"
_WISH = rf"(?:(?:i|we) (?:need|want|require|would like)|(?:i|we)'d like|what (?:i|we) (?:need|want) is){_HAVE}"
_LEAVE = r"(?:(?:can|could|may|might) (?:i|we) (?:please )?(?:have|get)|am i able to (?:have|get))"
_DUTY = r"(?:should|must|ought to|(?:has|have|needs?|(?:is|are)(?: supposed| meant)?) to)"
_THING = r"(?P<thing>(?!(?:you|to|not|access)\b)(?:(?!\b(?:and|not|then|be|is|are|i|we)\b)[^,;:.?!])+?)"
_STATE = rf"(?P<state>{'|'.join(sorted(_STATES, key=len, reverse=True))})"
_PARTICIPLE = rf"(?P<done>{'|'.join(_DONE)})(?P<where> .+)?"
_PLACE = r"(?P<place>(?:on|onto|upon|atop|in|into|inside|within|under|beneath|underneath|behind|to the|in front) .+)"
_RULES = tuple(
    re.compile(f"(?:please )?{rule}")
    for rule in (
        rf"(?:{_WISH}|{_LEAVE}) {_THING} (?:to be |to get )?(?:{_STATE}|{_PARTICIPLE})",
        rf"{_WISH} {_THING} (?:to be |to go )?{_PLACE}",
        rf"{_THING} {_DUTY} be (?:{_STATE}|{_PARTICIPLE})",
        rf"{_THING} (?:{_DUTY} (?:be|go)|belongs?|goes|go) {_PLACE}",
    )
)
_ENDING = re.compile(r"(?:[\s.?!,]|\b(?:please|now|for me))+$")


def as_order(sentence: str) -> str:
    """The order that a wish amounts to; what is none comes back as it was."""
    plain = _ENDING.sub("", " ".join(sentence.lower().replace("\u2019", "'").split()))
    for rule in _RULES:
        found = rule.fullmatch(plain)
        if found is None:
            continue
        said = {"place": None, "state": None, "done": None, "where": None, **found.groupdict()}
        if said["place"] is not None:
            return f"put {said['thing']} {said['place']}"
        if said["state"] is not None:
            return _STATES[said["state"]].format(said["thing"])
        return f"{_DONE[said['done']]} {said['thing']}{said['where'] or ''}"
    return sentence
