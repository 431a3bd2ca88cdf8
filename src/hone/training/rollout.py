"""Episodes out of a policy and an environment: the one loop in which a policy acts, for training and evaluation alike.

Every slot runs an episode of its own. All running slots look, decide and step together, so the policy sees full
batches; a slot whose episode ended takes the next request. An episode's noise comes from a generator of its own,
seeded by its request, so it does not depend on which other episodes happened to run beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch

from hone.envs.base import Environment
from hone.policies.base import Candidate, Features, Policy, PolicyFault, Reporting
from hone.seeding import torch_generator
from hone.specs import check_compatible
from hone.types import Observation, Placement, Status, Task

Keep = Literal["nothing", "features", "observations"]
"""What a trajectory keeps of its decisions: enough for a policy gradient on the head alone, or on the encoder too."""


MAX_ATTEMPTS = 3
"""An episode that a fault of the machinery ended so often is given up as an error."""

Doing = Literal["reset", "look", "decide", "step"]


@dataclass(frozen=True)
class Progress:
    """A sign of life: what a rollout is about to do, and with which episodes."""

    doing: Doing
    episodes: tuple[int, ...]


@dataclass(frozen=True)
class EpisodeRequest:
    """One episode to run. `seed` seeds the policy's noise; `instruction` replaces the task's own (language probes).

    `hinted`: the policy is told what the rollout's guide says, if there is one.
    """

    episode_id: int
    task: Task
    placement: Placement
    seed: int
    group: int = 0
    greedy: bool = False
    instruction: str | None = None
    attempt: int = 0
    hinted: bool = False


@dataclass(frozen=True)
class Trajectory:
    """What a finished episode leaves behind; the per-decision parts are kept only where training asks for them.

    `executed [D]` counts the control steps run of each decision's chunk.
    `facts` of a witnessed episode is the truth about the scene at each of the `D` looks and after the last step
    (privileged: for rewards and hints, never for an image policy).
    `held`: the success condition was still true after the release test (`None` where it was not asked for).
    `report`: what the policy's state says of the episode, where it is `Reporting`.
    `hints`: what the guide said at each decision ("": nothing), which the policy heard only in a hinted episode; empty
    where there was no guide.
    `targets`: what a lookahead found at each decision, where it was told to teach.
    """

    request: EpisodeRequest
    status: Status
    steps: int
    executed: np.ndarray
    inputs: Features | Observation | None = None
    candidate: Candidate | None = None
    log_prob: torch.Tensor | None = None
    facts: tuple[Any, ...] = ()
    held: bool | None = None
    fault: str | None = None
    report: dict[str, Any] | None = None
    hints: tuple[str, ...] = ()
    targets: tuple[Any, ...] = ()

    @property
    def success(self) -> bool:
        return self.status == "success"

    @property
    def decisions(self) -> int:
        return len(self.executed)


@runtime_checkable
class Guide(Protocol):
    """Whoever hints during one episode."""

    def hint(self, facts: Any) -> str:
        """What to tell the policy at this look; "" for nothing."""
        ...

    def watch(self, actions: np.ndarray) -> None:
        """What the policy then did, `[n, A]`, whether it was told or not."""
        ...


@runtime_checkable
class Guidance(Protocol):
    """Who gives hints in a rollout; picklable. `hone.exploration.guidance` has one."""

    def guide(self, request: EpisodeRequest) -> Guide | None:
        """The guide of an episode that begins; `None` where nobody is to watch it."""
        ...


@runtime_checkable
class Witness(Protocol):
    """Who watches episodes for a reward and says when one is over; picklable."""

    def finished(self, task: Task, facts: Sequence[Any]) -> bool:
        """Whether nothing is left to do, given the facts of every look so far."""
        ...


@dataclass(frozen=True)
class Foreseen:
    """What a lookahead says of an episode that has ended: plain JSON data, and what there is to learn from its
    decisions, one entry each, where it was asked to keep that."""

    report: dict[str, Any]
    targets: tuple[Any, ...] = ()


@runtime_checkable
class Lookahead(Protocol):
    """Who chooses another chunk than the policy's own, by trying chunks in copies of the environment, say."""

    def decide(
        self,
        env: Environment,
        slots: Sequence[int],
        requests: Sequence[EpisodeRequest],
        observation: Observation,
        features: Features,
        own: Candidate,
        alive: Callable[[], None],
    ) -> Candidate:
        """One chunk per slot. The environment must be left as it was. `own` is what the policy would do; `alive` is
        called now and then while this takes long."""
        ...

    def finish(self, slot: int) -> Foreseen:
        """The episode in this slot has ended."""
        ...

    def close(self) -> None: ...


@dataclass
class _Running:
    """An episode in progress."""

    request: EpisodeRequest
    generator: torch.Generator
    guide: Guide | None = None
    hints: list[str] = field(default_factory=list)
    steps: int = 0
    executed: list[int] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    log_probs: list[torch.Tensor] = field(default_factory=list)
    facts: list[Any] = field(default_factory=list)
    succeeded: bool = False


def rollout(
    env: Environment,
    policy: Policy,
    requests: Sequence[EpisodeRequest],
    *,
    keep: Keep = "nothing",
    witness: Witness | None = None,
    hold: Callable[[list[int]], Sequence[bool]] | None = None,
    guidance: Guidance | None = None,
    lookahead: Lookahead | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[Trajectory]:
    """Run every request and yield each trajectory as its episode ends.

    `keep` says what is stored for a policy gradient, beside samples and log-probabilities. A `witness` ends an episode
    when it takes it for finished, and the simulator's success does not; each trajectory then has its facts.
    `hold(slots)` is called where an episode succeeded and says whether success outlasts a release. A diverged
    simulation is run once more under the same seed; if it diverges again the policy drove it there and the episode is a
    failure. Episodes that were under way when the policy's machinery failed (`PolicyFault`) are void and run again, at
    last as errors. `guidance` says at every look what the policy is told beside the instruction; a `lookahead` has the
    last word on what is done.
    `on_progress` hears of every reset, look, decision and chunk before it begins.
    """

    def begin(doing: Doing) -> None:
        if on_progress is not None:
            on_progress(Progress(doing, tuple(episode.request.episode_id for episode in running.values())))

    def see(slots: list[int]) -> None:
        for slot, facts in zip(slots, env.facts(slots), strict=True):
            running[slot].facts.append(facts)

    def finish(slot: int, held: bool | None = None, fault: str | None = None) -> Trajectory:
        state = states.pop(slot)
        report = state.report() if isinstance(state, Reporting) else None
        trajectory = _finish(running.pop(slot), held, fault, report)
        if lookahead is None:
            return trajectory
        foreseen = lookahead.finish(slot)
        return replace(trajectory, report=(report or {}) | foreseen.report, targets=foreseen.targets)

    check_compatible(policy.spec, env.spec)
    waiting = deque(requests)
    running: dict[int, _Running] = {}
    states: dict[int, Any] = {}
    while waiting or running:
        starting = [slot for slot in range(env.num_slots) if slot not in running][: len(waiting)]
        if starting:
            for slot in starting:
                request = waiting.popleft()
                guide = None if guidance is None else guidance.guide(request)
                running[slot] = _Running(request, torch_generator(request.seed), guide)
                states[slot] = (policy.initial_state(1) or [None])[0]
                begin("reset")
                env.reset([slot], [request.task], [request.placement])

        if witness is not None:
            see(sorted(running))
            for slot in [s for s in running if witness.finished(running[s].request.task, running[s].facts)]:
                yield finish(slot)
            if not running:
                continue
        slots = sorted(running)
        episodes = [running[slot] for slot in slots]
        begin("look")
        observation = _instructed(env.observe(slots), [e.request for e in episodes])
        if guidance is not None:
            observation = replace(observation, hints=_hints(env, slots, episodes))
        begin("decide")
        try:
            with torch.no_grad():  # not around the loop: whoever consumes this generator has a grad mode of their own
                features = policy.encode(observation)
                candidate = _decide(policy, features, episodes, states, slots)
                if lookahead is not None:
                    asked = [episode.request for episode in episodes]
                    candidate = lookahead.decide(
                        env, slots, asked, observation, features, candidate, lambda: begin("decide")
                    )
                log_prob = None if keep == "nothing" else policy.log_prob(features, candidate).total
        except PolicyFault as fault:
            for slot in slots:
                again = replace(running[slot].request, attempt=running[slot].request.attempt + 1)
                if again.attempt == MAX_ATTEMPTS:
                    yield replace(finish(slot, fault=str(fault)), status="error")
                else:
                    waiting.append(again)
                    del running[slot], states[slot]
            continue
        if log_prob is not None:
            for row, episode in enumerate(episodes):
                here = slice(row, row + 1)
                episode.inputs.append(features[here] if keep == "features" else observation.rows(here))
                episode.candidates.append(candidate[here])
                episode.log_probs.append(log_prob[here])

        begin("step")
        chunks = candidate.chunk.numpy().astype(np.float32)
        result = env.step(slots, chunks, stop_at_success=None if witness is None else False)
        for row, slot in enumerate(slots):
            running[slot].steps += int(result.steps[row])
            running[slot].executed.append(int(result.steps[row]))
            running[slot].succeeded |= bool(result.succeeded[row])
            guide = running[slot].guide
            if guide is not None:
                guide.watch(chunks[row, : result.steps[row]])
        succeeded = [slot for row, slot in enumerate(slots) if result.terminated[row]]
        if witness is not None:
            see([slot for row, slot in enumerate(slots) if result.done[row]])
        held = dict(zip(succeeded, hold(succeeded), strict=True)) if hold is not None and succeeded else {}
        for row, slot in enumerate(slots):
            if not result.done[row]:
                continue
            if result.diverged[row] and running[slot].request.attempt == 0:
                waiting.append(replace(running.pop(slot).request, attempt=1))
                if lookahead is not None:
                    lookahead.finish(slot)
                continue
            yield finish(slot, held.get(slot), "simulation diverged" if result.diverged[row] else None)


def join_inputs(parts: Sequence[Any]) -> Features | Observation:
    """Rows of several `Features`, or of several `Observation`s, one after the other."""
    return Features.cat(parts) if isinstance(parts[0], Features) else Observation.cat(parts)


def _decide(
    policy: Policy, features: Features, episodes: list[_Running], states: dict[int, Any], slots: list[int]
) -> Candidate:
    """One chunk per row: sampled where the request asks for exploration, the policy's greedy chunk elsewhere."""
    greedy = {episode.request.greedy for episode in episodes}
    assert len(greedy) == 1, "greedy and sampled episodes cannot share a rollout call"
    generators = None if greedy.pop() else [episode.generator for episode in episodes]
    state = None if all(states[slot] is None for slot in slots) else [states[slot] for slot in slots]
    candidates, state = policy.propose(features, state, 1, generators)
    for row, slot in enumerate(slots):
        states[slot] = None if state is None else state[row]
    return candidates.select(torch.zeros(len(slots), dtype=torch.long))


def _instructed(observation: Observation, requests: list[EpisodeRequest]) -> Observation:
    instructions = tuple(
        own if request.instruction is None else request.instruction
        for own, request in zip(observation.instructions, requests, strict=True)
    )
    return replace(observation, instructions=instructions)


def _hints(env: Environment, slots: list[int], episodes: list[_Running]) -> tuple[str, ...]:
    """What each episode's policy is told now. A guide also thinks along in episodes that are not to hear it."""
    told = []
    for slot, episode in zip(slots, episodes, strict=True):
        if episode.guide is not None:
            facts = episode.facts[-1] if episode.facts else env.facts([slot])[0]  # a witness has just read them
            episode.hints.append(episode.guide.hint(facts))
        told.append(episode.hints[-1] if episode.guide is not None and episode.request.hinted else "")
    return tuple(told)


def _finish(episode: _Running, held: bool | None, fault: str | None, report: dict[str, Any] | None) -> Trajectory:
    kept = bool(episode.inputs)
    return Trajectory(
        request=episode.request,
        status="success" if episode.succeeded and fault is None else "failure",
        steps=episode.steps,
        executed=np.array(episode.executed, np.int32),
        inputs=join_inputs(episode.inputs) if kept else None,
        candidate=Candidate.cat(episode.candidates) if kept else None,
        log_prob=torch.cat(episode.log_probs) if kept else None,
        facts=tuple(episode.facts),
        held=held,
        fault=fault,
        report=report,
        hints=tuple(episode.hints),
    )
