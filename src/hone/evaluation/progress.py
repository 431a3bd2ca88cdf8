"""How long work tells people where it is, without knowing who listens: a terminal, a test, nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

Advance = Callable[..., None]
"""`advance(n, note="")`: `n` more units are done; `note` is a few words about the last one."""


@runtime_checkable
class Progress(Protocol):
    def stage(self, name: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        """Enter a stage of `total` units of which `done` were done before."""
        ...


class _Silent:
    @contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[Advance]:
        yield lambda n, note="": None


SILENT: Progress = _Silent()
