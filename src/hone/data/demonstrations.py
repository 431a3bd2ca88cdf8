"""Demonstrations: an expert acts in the slots of an environment, and every control step is recorded.

They start from sampled placements, never from the official initial states. Noise, where asked for, is added to what the
robot executes while the label stays the expert's own correction (DART, Laskey et al. 2017, arXiv:1703.09327). Departure
from the paper: the noise is an Ornstein-Uhlenbeck process of a given scale, not fitted to a policy's errors.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from hone.data.demonstrators import Actor, Demonstrator, ScriptedDemonstrator
from hone.data.episodes import EpisodeHeader
from hone.envs.base import StepResult
from hone.errors import HoneError
from hone.primitives.expert import Manner, correlated_noise
from hone.primitives.skills import Command
from hone.seeding import numpy_generator
from hone.types import Episode, Observation, Placement, Status, Task

log = logging.getLogger(__name__)

PLACEMENTS = range(128, 2048)
"""Sampled placements that demonstrations start from; those below are for validation."""
UNDISTURBED = Manner()
SCRIPTED = ScriptedDemonstrator()
GOLDEN_RATIO = 0.6180339887
RESTS = 8
"""Movements of the fingers, at most, that are rested before."""
ATTEMPTS = 5
"""Placements tried for one demonstration before it is given up."""


@runtime_checkable
class Stage(Protocol):
    """What recording needs of an environment."""

    num_slots: int

    def reset(self, slots: Sequence[int], tasks: Sequence[Task], placements: Sequence[Placement]) -> None: ...

    def step(self, slots: Sequence[int], chunks: Float32[np.ndarray, "n H A"]) -> StepResult: ...

    def observe(self, slots: Sequence[int]) -> Observation: ...


@dataclass(frozen=True, order=True)
class Request:
    """Demonstration `number` of a task; `attempt` counts the placements that failed before."""

    task: Task
    number: int
    attempt: int = 0


@dataclass
class _Recording:
    """A demonstration in progress."""

    request: Request
    placement: Placement
    generator: np.random.Generator
    actor: Actor
    noise: Float64[np.ndarray, " D"]
    seen: list[Observation] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    executed: list[np.ndarray] = field(default_factory=list)


def collect_demonstrations(
    env: Stage,
    tasks: Sequence[Task],
    *,
    per_task: int,
    seed: int,
    manner: Manner = UNDISTURBED,
    demonstrator: Demonstrator = SCRIPTED,
    on_progress: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """`per_task` successful demonstrations of each task, and those that failed on the way, ordered by task and number.

    Whether images and object poses are recorded is the environment's `spec`. The environment should go on after
    success, so that a demonstration ends with letting go.
    """
    episodes = []
    for episode in demonstrate(env, requests(tasks, per_task), seed=seed, manner=manner, demonstrator=demonstrator):
        episodes.append(episode)
        if on_progress is not None:
            on_progress(episode)
    return sorted(episodes, key=lambda e: (e.task, e.metadata["number"], e.metadata["attempt"]))


def requests(tasks: Sequence[Task], per_task: int, recorded: Iterable[Episode | EpisodeHeader] = ()) -> list[Request]:
    """What is still to be demonstrated, given what was recorded before (with the same seed and manner)."""
    if per_task < 1:
        raise HoneError(f"per_task is {per_task}; ask for at least one demonstration per task.")
    waiting = {(task, number): Request(task, number) for number in range(per_task) for task in tasks}
    for episode in sorted(recorded, key=lambda e: e.metadata["attempt"]):
        key = (episode.task, episode.metadata["number"])
        if episode.status == "success":
            waiting.pop(key, None)
        elif key in waiting:
            waiting[key] = replace(waiting[key], attempt=episode.metadata["attempt"] + 1)
    return [request for request in waiting.values() if request.attempt < ATTEMPTS]


def demonstrate(
    env: Stage,
    wanted: Sequence[Request],
    *,
    seed: int,
    manner: Manner = UNDISTURBED,
    demonstrator: Demonstrator = SCRIPTED,
) -> Iterator[Episode]:
    """Run every request and yield each episode as it ends. A failure is yielded too, and tried at another placement."""
    waiting = deque(wanted)
    running: dict[int, _Recording] = {}
    while waiting or running:
        free = [slot for slot in range(env.num_slots) if slot not in running][: len(waiting)]
        for slot in free:
            running[slot] = _begin(waiting.popleft(), seed, manner, demonstrator)
        if free:
            env.reset(free, [running[s].request.task for s in free], [running[s].placement for s in free])
        for slot, status in _step(env, running, manner.noise, demonstrator).items():
            recording = running.pop(slot)
            if status != "success":
                waiting.extend(_again(recording.request))
            if recording.actions:
                yield _episode(recording, status, seed, manner, demonstrator.version)


def _begin(request: Request, seed: int, manner: Manner, demonstrator: Demonstrator) -> _Recording:
    """Each demonstration has a placement and a noise of its own, whatever else is recorded beside it."""
    order = numpy_generator(seed, "demonstrations", request.task.suite, request.task.name, request.attempt).permutation(
        np.arange(PLACEMENTS.start, PLACEMENTS.stop)
    )
    placement = Placement("sampled", int(order[request.number % len(order)]))
    keys = ("demonstration noise", request.task.suite, request.task.name, request.number, request.attempt)
    actor = demonstrator.begin(rests(request, manner, seed))
    still = np.zeros(len(demonstrator.noise_shares))
    return _Recording(request, placement, numpy_generator(seed, *keys), actor, still)


def rests(request: Request, manner: Manner, seed: int) -> list[int]:
    """How long to rest before each movement of the fingers: spread evenly over the demonstrations of a task.

    Drawn independently, three demonstrations could all rest long or all hardly, and a clone of them would nearly always
    fail or nearly always succeed. Multiples of the golden ratio fill an interval evenly, however many there are.
    """
    first = numpy_generator(seed, "demonstration rests", request.task.suite, request.task.name).random(RESTS)
    spread = (first + GOLDEN_RATIO * (request.number + request.attempt)) % 1.0
    return [int(share * (manner.longest_rest + 1)) for share in spread]


def _again(request: Request) -> list[Request]:
    if request.attempt + 1 < ATTEMPTS:
        return [replace(request, attempt=request.attempt + 1)]
    log.warning("no demonstration of '%s' succeeded in %d attempts", request.task.name, ATTEMPTS)
    return []


def _step(env: Stage, running: dict[int, _Recording], noise: float, demonstrator: Demonstrator) -> dict[int, Status]:
    """One control step of every running slot; says which ended and how."""
    ended: dict[int, Status] = {}
    slots = sorted(running)
    shown = dict(zip(slots, demonstrator.see(env, slots), strict=True))
    commands: dict[int, Command] = {}
    for slot in slots:
        command = running[slot].actor.act(shown[slot])
        if isinstance(command, Command):
            commands[slot] = command
        else:
            ended[slot] = command
    acting = [slot for slot in slots if slot not in ended]
    if not acting:
        return ended
    observation = env.observe(acting)
    for row, slot in enumerate(acting):
        recording, command = running[slot], commands[slot]
        recording.noise = correlated_noise(
            recording.noise, noise, recording.generator, shares=demonstrator.noise_shares
        )
        disturbed, moved = command.action.copy(), len(recording.noise)
        disturbed[:moved] = np.clip(disturbed[:moved] + command.freedom * recording.noise, -1.0, 1.0)
        recording.seen.append(_row(observation, row))
        recording.actions.append(command.action.astype(np.float32))
        recording.executed.append(disturbed.astype(np.float32))
    result = env.step(acting, np.stack([running[slot].executed[-1:] for slot in acting]))
    for slot, done, terminated in zip(acting, result.done, result.terminated, strict=True):
        if done:
            ended[slot] = "success" if terminated else "failure"
    return ended


def _row(observation: Observation, row: int) -> Observation:
    return Observation(
        observation.proprio[row : row + 1],
        observation.instructions[row : row + 1],
        None if observation.images is None else observation.images[row : row + 1],
        None if observation.state is None else observation.state[row : row + 1],
    )


def _episode(recording: _Recording, status: Status, seed: int, manner: Manner, expert: str) -> Episode:
    request, seen = recording.request, recording.seen
    said = seen[0].instructions[0]
    images = [o.images for o in seen if o.images is not None]
    state = [o.state for o in seen if o.state is not None]
    return Episode(
        task=request.task,
        placement=recording.placement,
        status=status,
        proprio=np.concatenate([o.proprio for o in seen]),
        actions=np.stack(recording.actions),
        executed=np.stack(recording.executed),
        images=np.concatenate(images) if images else None,
        state=np.concatenate(state) if state else None,
        metadata={
            "expert": expert,
            "seed": seed,
            **asdict(manner),
            "number": request.number,
            "attempt": request.attempt,
            **({} if said == request.task.instruction else {"instruction": said}),
        },
    )
