"""What an audit says of a data set: one line per check, with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["pass", "warn", "fail", "skip"]
"""`fail`: the data cannot be read as declared, or a policy trained on it would be wrong. `warn`: look before
training. `skip`: the data set cannot tell."""

EXAMPLES = 3
"""Places named of each kind of problem."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. `group`: integrity, statistics, shortcuts or diversity."""

    group: str
    check: str
    level: Level
    said: str
    """What was found, with the number it rests on."""
    advice: str = ""
    """What to do; empty where all is well."""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Audit:
    """`numbers` is what the findings rest on, for programs."""

    findings: tuple[Finding, ...]
    numbers: dict[str, Any] = field(default_factory=dict)


def judged(group: str, check: str, level: Level, said: str, advice: str) -> Finding:
    """A finding that gives advice only where something is to be done."""
    return Finding(group, check, level, said, advice if level in ("warn", "fail") else "")


def worst(findings: Sequence[Finding]) -> Level:
    levels: tuple[Level, ...] = ("fail", "warn", "pass")
    return next(level for level in levels if level == "pass" or any(f.level == level for f in findings))


class Ledger:
    """Collects problems by check, in the order in which the checks were opened."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._checks: dict[str, tuple[str, str]] = {}
        self._problems: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def open(self, check: str, *, fine: str, advice: str) -> None:
        """`fine` is said where no problem is entered."""
        self._checks[check] = (fine, advice)
        self._problems[check], self._counts[check] = [], 0

    def add(self, check: str, problem: str) -> None:
        """A problem makes its check fail. Only the first are kept, so that a broken data set fills no memory."""
        self._counts[check] += 1
        if len(self._problems[check]) < EXAMPLES:
            self._problems[check].append(problem)

    def findings(self) -> list[Finding]:
        result = []
        for check, (fine, advice) in self._checks.items():
            problems, count = self._problems[check], self._counts[check]
            more = f" (and {count - len(problems)} more)" if count > len(problems) else ""
            level: Level = "fail" if problems else "pass"
            result.append(judged(self._group, check, level, "; ".join(problems) + more if problems else fine, advice))
        return result
