"""Errors a user can act on. The command line prints their message on one line and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HoneError(Exception):
    """Bad input or a missing requirement. The message says what was wrong, what exists and what to do."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> HoneError:
    """A `HoneError` for a name that is not in `known`: names the nearest match and lists what exists."""
    options = sorted(known)
    nearest = difflib.get_close_matches(name, options, n=1)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return HoneError(f"unknown {kind} '{name}'.{hint} Known: {', '.join(options)}.")
