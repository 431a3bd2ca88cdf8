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
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from hone.envs.libero.facts import Facts
from hone.errors import HoneError
from hone.exploration.hinter import Hinter, History, RandomHinter, RuleHinter
from hone.exploration.llm_hinter import LlmHinter
from hone.exploration.phrases import phrase_of
from hone.language.grammar import decompose
from hone.language.llm import Client, LlmConfig
from hone.language.plan import Decomposer, Plan, Refusal
from hone.memory.episodes import KEPT_PER_TASK, EpisodeMemory
from hone.seeding import derive_seed, numpy_generator
from hone.training.rollout import EpisodeRequest
from hone.types import Placement, Task

log = logging.getLogger(__name__)
IN_VAIN = 8
"""Latest hinted attempts at a task that are looked at: where none of them succeeded other ways are tried."""
TOKENS_PER_HINT = 6000
"""Of a question with its scene, vocabulary and schema, and of the answer, counted cautiously."""


def hint_probability(success: float, p_max: float = 0.5, decay: float = 3.0) -> float:
    """`p_max exp(-decay R)` (Agentic-VLA, eq. 7).

    Departure: the paper has 0.8 and 0.5, and R is a mean reward. Here R is the task's success without hints, plain
    episodes are needed as much as hinted ones, and a mastered task is practised without hints (0.02).
    """
    if not 0 <= p_max <= 1 or decay < 0:
        raise HoneError(f"p_max {p_max} must be between 0 and 1, and decay {decay} not negative.")
    return p_max * math.exp(-decay * max(success, 0.0))


def mark_hinted(
    requests: Sequence[EpisodeRequest],
    probability: Callable[[Task], float],
    known: Callable[[Task], bool] = lambda task: True,
) -> list[EpisodeRequest]:
    """The same requests, whole groups of them `hinted`: each with the probability of its task, drawn from the seed of
    the group's first episode. The first group of a task of which it is not known how it goes without hints has none:
    whether hints help could not be told otherwise."""
    first: dict[int, EpisodeRequest] = {}
    for request in requests:
        first.setdefault(request.group, request)
    guided, asked = {}, set[Task]()
    for group, request in first.items():
        unknown = not known(request.task) and request.task not in asked
        asked.add(request.task)
        drawn = numpy_generator(request.seed, "hinted").random() < probability(request.task)
        guided[group] = drawn and not unknown
    return [replace(request, hinted=guided[request.group]) for request in requests]


def spread(requests: Sequence[EpisodeRequest], placements: Sequence[int]) -> list[EpisodeRequest]:
    """The same requests, each hinted episode from a sampled placement of its own, drawn from its seed.

    What succeeds with hints becomes a lesson, and a group's lessons from one placement are one lesson. The group's
    baseline is then that of its task, as in plain policy gradients, and no longer that of a start.
    """
    return [
        replace(r, placement=Placement("sampled", placements[derive_seed(r.seed, "placement") % len(placements)]))
        if r.hinted
        else r
        for r in requests
    ]


@dataclass(frozen=True)
class Guidance:
    """Gives the hinted episodes of a rollout their hints. Plain data: it travels to worker processes."""

    hinter: Hinter
    every: int = 1
    """Looks between two new hints; in between the last one holds."""
    planner: Decomposer = decompose
    """Turns an episode's instruction into the plan that its hints follow."""
    failures: Mapping[Task, int] = field(default_factory=dict)
    """Lately failed attempts per task; where there were any, a hinter may try another way."""
    attempts: Mapping[Task, tuple[str, ...]] = field(default_factory=dict)
    """The latest attempts per task in words, newest first."""
    thinks_along: bool = True
    """Whether the hinter is also asked in plain episodes, where nobody listens. What it says is still worth knowing."""
    reads_memory: bool = True
    """Whether it is told how earlier attempts went."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise HoneError(f"a hint is renewed every {self.every} looks; use at least 1.")

    def recalling(self, memory: EpisodeMemory, tasks: Sequence[Task]) -> Guidance:
        """The same, knowing how the last attempts at these tasks went, if it is to read that at all.

        Failures count where none of the last `IN_VAIN` hinted attempts at a task succeeded: a way that works sometimes
        is kept.
        """
        if not self.reads_memory:
            return self
        hinted = {task: [a for a in memory.recent(task, KEPT_PER_TASK) if a.hint][:IN_VAIN] for task in tasks}
        failures = {task: len(last) for task, last in hinted.items() if not any(a.success for a in last)}
        return replace(self, failures=failures, attempts=memory.told(tasks))

    @property
    def given_up(self) -> bool:
        """Whether the hinter will say nothing more in this run."""
        return isinstance(self.hinter, LlmHinter) and self.hinter.given_up

    def guide(self, request: EpisodeRequest) -> Guide | None:
        """Whoever hints during one episode."""
        return Guide(self, request) if request.hinted or self.thinks_along else None


class Guide:
    """One episode: plans at the first look, then hints. The same facts and deeds give the same hints."""

    def __init__(self, guidance: Guidance, request: EpisodeRequest) -> None:
        self._guidance = guidance
        self._instruction = request.task.instruction
        self._aloud = request.hinted
        self._history = History(
            request.seed,
            failures=guidance.failures.get(request.task, 0),
            attempts=guidance.attempts.get(request.task, ()),
        )
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

    hinter: Literal["none", "rules", "random", "llm"] = "none"
    """Who hints: nobody, rules on the facts (privileged), chance (a control that knows the words, not the scene), or a
    language model that is told the facts in words."""
    p_max: float = 0.5
    """Share of a task's groups that are guided while it never succeeds without hints. The other half shows where the
    policy goes by itself, and what it should have heard there."""
    decay: float = 3.0
    """How fast that falls with its success."""
    thinks_along: bool = True
    """Whether rules are also asked in plain episodes, unheard. What the policy would have done with their hints is then
    learned where it went without them (DAgger on oneself); otherwise only what was done and succeeded is."""
    spread: bool = True
    """Whether each hinted episode begins at a placement of its own, and not at its group's."""
    reads_memory: bool = True
    """Whether the hinter is told how earlier attempts of the run went, and tries other ways where they were in vain."""
    model: str = ""
    """The hinter's language model, as its server knows it."""
    base_url: str = "http://localhost:8000/v1"
    """Address of the OpenAI-compatible server; its key is read from $HONE_LLM_KEY."""
    transcript: Path = Path("runs/llm-hints")
    """Folder of the hinter's questions and answers; the budget of calls holds for it."""
    max_calls: int = 2000
    """Requests to the language model that the folder may hold in all."""

    def __post_init__(self) -> None:
        if self.hinter == "llm" and not self.model:
            raise HoneError("hinter 'llm' needs the name of a model (guidance.model), and a server that offers it.")

    def probability(self, success: float) -> float:
        """Share of a task's groups that are guided, given its success without hints."""
        return hint_probability(success, self.p_max, self.decay)


def build_guidance(config: GuidanceConfig, chunk_length: int) -> Guidance | None:
    """Who hints to a policy that decides `chunk_length` steps at a time; `None` where nobody does."""
    if config.hinter == "none":
        return None
    if config.hinter == "llm":
        tokens = TOKENS_PER_HINT * config.max_calls
        llm = LlmConfig(
            config.model, config.transcript, config.base_url, retries=1, max_calls=config.max_calls, max_tokens=tokens
        )
        hinter = LlmHinter(Client(llm), chunk_length)  # too slow and too dear to be asked where nobody hears it
        return Guidance(hinter, thinks_along=False, reads_memory=config.reads_memory)
    hinter = RuleHinter(chunk_length) if config.hinter == "rules" else RandomHinter()
    return Guidance(hinter, thinks_along=config.thinks_along, reads_memory=config.reads_memory)
