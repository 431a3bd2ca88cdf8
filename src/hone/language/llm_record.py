"""What was asked and what it cost, on disk: a transcript and a budget that several processes share."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hone.cache import write_atomically, write_error
from hone.errors import HoneError
from hone.language.plan import Refusal


@contextmanager
def alone(path: Path) -> Iterator[int]:
    """Hold the lock file `path`, made where it is missing: one holder at a time among all processes and threads.

    Yields its descriptor, open for appending. The system frees the lock of a process that dies.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


class Record:
    """`transcript.jsonl`, one line for each request or cached answer, and `spent.json`, calls and tokens so far.

    Both belong to the folder: the budget holds for every process that uses it, and for a run that is taken up again.
    """

    def __init__(self, folder: Path, max_calls: int, max_tokens: int) -> None:
        self._max_calls, self._max_tokens = max_calls, max_tokens
        self.transcript, self._spent = folder / "transcript.jsonl", folder / "spent.json"

    def spent(self) -> tuple[int, int]:
        """Calls and tokens so far."""
        try:
            spent = json.loads(self._spent.read_bytes())
            return int(spent["calls"]), int(spent["tokens"])
        except FileNotFoundError:
            return 0, 0
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise HoneError(
                f"cannot read what was spent in '{self._spent}': {error}. Delete it to start from zero."
            ) from error

    def reserve(self, tokens: int) -> None:
        """Count one call and the most `tokens` it can cost before it is made.

        `Refusal` "unanswered" where that is beyond the budget.
        """
        with alone(self.transcript):
            calls, used = self.spent()
            if calls + 1 > self._max_calls or used + tokens > self._max_tokens:
                raise Refusal(
                    "unanswered",
                    f"the budget for asking the model is spent: {calls} of {self._max_calls} calls, {used} of "
                    f"{self._max_tokens} tokens, and one more call may cost {tokens}. Raise max_calls or max_tokens, "
                    f"or use another folder than '{self._spent.parent}'.",
                )
            self._write_spent(calls + 1, used + tokens)

    def settle(self, reserved: int, cost: int) -> None:
        """Replace `reserved` tokens by what the call did cost."""
        with alone(self.transcript):
            calls, used = self.spent()
            self._write_spent(calls, max(used - reserved, 0) + cost)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line to the transcript, whole."""
        rest = memoryview((json.dumps(line) + "\n").encode())
        with alone(self.transcript) as descriptor:
            try:
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            except OSError as error:
                raise write_error(self.transcript, error) from error

    def _write_spent(self, calls: int, tokens: int) -> None:
        write_atomically(self._spent, json.dumps({"calls": calls, "tokens": tokens}).encode())
