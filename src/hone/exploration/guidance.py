"""When hints are given: to which groups of episodes, and at which looks.

Early, while little succeeds, most groups are guided; later few are (Agentic-VLA, arXiv 2605.22896, eq. 7). A group of
rollouts is guided as a whole or not at all, so its mean reward stays a baseline of episodes like its own.
See docs/algorithms/exploration.md.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from hone.envs.libero.facts import Facts
from hone.errors import HoneError
from hone.exploration.hinter import Hinter, History, RandomHinter, RuleHinter
from hone.exploration.phrases import phrase_of
from hone.language.grammar import decompose
from hone.language.plan import Decomposer, Plan, Refusal
from hone.seeding import numpy_generator
from hone.training.rollout import EpisodeRequest
from hone.types import Task

log = logging.getLogger(__name__)


def hint_probability(success: float, p_max: float = 0.5, decay: float = 3.0) -> float:
    """`p_max exp(-decay R)` (Agentic-VLA, eq. 7).

    Departure: the paper has 0.8 and 0.5, and R is a mean reward. Here R is the task's success without hints, plain
    episodes are needed as much as hinted ones, and a mastered task is practised without hints (0.02).
    """
    if not 0 <= p_max <= 1 or decay < 0:
        raise HoneError(f"p_max {p_max} must be between 0 and 1, and decay {decay} not negative.")
    return p_max * math.exp(-decay * max(success, 0.0))


def mark_hinted(requests: Sequence[EpisodeRequest], probability: Callable[[Task], float]) -> list[EpisodeRequest]:
    """The same requests, whole groups of them `hinted`: each with the probability of its task, drawn from the seed of
    the group's first episode."""
    first: dict[int, EpisodeRequest] = {}
    for request in requests:
        first.setdefault(request.group, request)
    guided = {
        group: numpy_generator(request.seed, "hinted").random() < probability(request.task)
        for group, request in first.items()
    }
    return [replace(request, hinted=guided[request.group]) for request in requests]


@dataclass(frozen=True)
class Guidance:
    """Gives the hinted episodes of a rollout their hints. Plain data: it travels to worker processes."""

    hinter: Hinter
    every: int = 1
    """Looks between two new hints; in between the last one holds."""
    planner: Decomposer = decompose
    """Turns an episode's instruction into the plan that its hints follow."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Recent failed attempts per task name; where there were any, a hinter may try another way."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise HoneError(f"a hint is renewed every {self.every} looks; use at least 1.")

    def guide(self, request: EpisodeRequest) -> Guide:
        """Whoever hints during one episode. In a plain one nobody listens; what was said is still worth knowing."""
        return Guide(self, request)


class Guide:
    """One episode: plans at the first look, then hints. The same facts and deeds give the same hints."""

    def __init__(self, guidance: Guidance, request: EpisodeRequest) -> None:
        self._guidance = guidance
        self._instruction = request.task.instruction
        self._aloud = request.hinted
        self._history = History(request.seed, failures=guidance.failures.get(request.task.name, 0))
        self._plan: Plan | None = None
        self._mute = False

    def hint(self, facts: Facts) -> str:
        """The hint of the next look, "" where there is none. An instruction that is no plan, or a language model that
        gives no answer, leaves the episode without hints from there on."""
        if self._mute:
            return ""
        said = self._history.said
        try:
            if self._plan is None:
                self._plan = self._guidance.planner(self._instruction, facts)
            new = len(said) % self._guidance.every == 0
            hint = self._guidance.hinter(facts, self._plan, self._history) if new else said[-1]
        except Refusal as refusal:
            log.warning("no more hints for '%s': %s", self._instruction, refusal)
            self._mute = True
            return ""
        if self._aloud:
            self._history = replace(self._history, said=(*said, hint))
        return hint or ""

    def watch(self, actions: Float[np.ndarray, "n 7"]) -> None:
        if len(actions):
            self._history = replace(self._history, done=(*self._history.done, phrase_of(actions)))


@dataclass(frozen=True)
class GuidanceConfig:
    """Whether practice is guided by hints, and how often."""

    hinter: Literal["none", "rules", "random"] = "none"
    """Who hints: nobody, rules on the facts (privileged), or chance (a control that knows the words, not the scene)."""
    p_max: float = 0.5
    """Share of a task's groups that are guided while it never succeeds without hints. The other half shows where the
    policy goes by itself, and what it should have heard there."""
    decay: float = 3.0
    """How fast that falls with its success."""

    def probability(self, success: float) -> float:
        """Share of a task's groups that are guided, given its success without hints."""
        return hint_probability(success, self.p_max, self.decay)


def build_guidance(config: GuidanceConfig, chunk_length: int) -> Guidance | None:
    """Who hints to a policy that decides `chunk_length` steps at a time; `None` where nobody does."""
    if config.hinter == "none":
        return None
    return Guidance(RuleHinter(chunk_length) if config.hinter == "rules" else RandomHinter())
