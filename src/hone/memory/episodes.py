"""Episode memory: what was tried, how it ended and what was to be seen, in words. Hinter and judge read it.

One JSON line per attempt, only ever added to. A writer that is killed leaves at most a torn last line; readers pass
over it and the next writer starts on a line of its own.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hone.cache import write_error
from hone.errors import HoneError
from hone.types import Task

log = logging.getLogger(__name__)

KEPT_PER_TASK = 256
"""Latest attempts of a task held in memory; the file keeps all."""


@dataclass(frozen=True)
class Attempt:
    """One episode as a reader of words needs it.

    `success`: as the reward has it that it was practised with. `facts`: short sentences on what was to be seen at its
    end ("the milk is on the floor"). `hint`: the suggestion that the policy was given, empty without one. `run` and
    `iteration` say when; `steps` counts control steps.
    """

    suite: str
    task: str
    instruction: str
    success: bool
    facts: tuple[str, ...]
    hint: str = ""
    steps: int = 0
    run: str = ""
    iteration: int = 0

    def in_words(self) -> str:
        """The attempt on one line, for a prompt."""
        hint = f", told to '{self.hint}'" if self.hint else ""
        seen = "; ".join(self.facts) or "nothing noted"
        return f"{'succeeded' if self.success else 'failed'} after {self.steps} steps{hint}: {seen}"


class EpisodeMemory:
    """Attempts of all runs in one file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._read_to = 0
        self._by_task: dict[tuple[str, str], deque[Attempt]] = {}
        self._warned = False
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise HoneError(f"cannot keep attempts in '{self.path}': {error.strerror}. Give another file.") from error

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Append attempts; they are on disk when this returns. Where they cannot be written a warning says so."""
        lines = "".join(json.dumps(asdict(attempt)) + "\n" for attempt in attempts)
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                size = file.seek(0, os.SEEK_END)
                torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
                file.write((("\n" if torn else "") + lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.warning("attempts are not remembered: %s", write_error(self.path, error))

    def recent(self, task: Task, limit: int, success: bool | None = None) -> list[Attempt]:
        """The last `limit` attempts of a task, newest first; only successes or failures if `success` says so.

        Reads what was added since the last call, by whichever process.
        """
        self._refresh()
        attempts = self._by_task.get((task.suite, task.name), ())
        wanted = [attempt for attempt in reversed(attempts) if success is None or attempt.success == success]
        return wanted[:limit]

    def told(self, tasks: Iterable[Task], limit: int = 8) -> dict[Task, tuple[str, ...]]:
        """The last `limit` attempts of each task in words, newest first."""
        return {task: tuple(attempt.in_words() for attempt in self.recent(task, limit)) for task in tasks}

    def _refresh(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]  # a line that is still being written is read next time
        self._read_to += len(whole)
        for line in whole.splitlines():
            attempt = _attempt(line)
            if attempt is not None:
                kept = self._by_task.setdefault((attempt.suite, attempt.task), deque(maxlen=KEPT_PER_TASK))
                kept.append(attempt)
            elif not self._warned:
                self._warned = True
                log.warning("'%s' has lines that are not attempts (a writer was killed, perhaps); skipped.", self.path)


def _attempt(line: bytes) -> Attempt | None:
    try:
        data = json.loads(line)
        attempt = Attempt(**{**data, "facts": tuple(data["facts"])})
        texts = (attempt.suite, attempt.task, attempt.instruction, attempt.hint, *attempt.facts)
        return attempt if all(isinstance(text, str) for text in texts) else None
    except (ValueError, KeyError, TypeError):
        return None
