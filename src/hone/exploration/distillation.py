"""What was done with hints goes into the policy without hints: successful hinted episodes become demonstrations.

Evaluation is without hints, and reinforcement changes pi(a | o, hint). After an update, the chunks of the hinted
episodes that the *reward* counts as solved are cloned from the same observations without their hint (self-imitation, Oh
et al. 2018, arXiv:1806.05635, of hinted episodes only). It is a step of its own and no term of the GRPO loss: a group
in which every hinted episode succeeds is dead there, and is the best lesson here.

A policy that is taught only what to do unasked soon stops listening, and then no hinted episode succeeds any more. So
half of each batch is unasked, a quarter keeps the hint that was given, and a quarter is drilled: any words, and the
steady motion that they describe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from hone.errors import HoneError
from hone.exploration.phrases import actions_of, random_phrase
from hone.policies.base import Features
from hone.policies.learned import LearnedPolicy
from hone.training.rollout import Trajectory, join_inputs
from hone.types import Observation, Task

log = logging.getLogger(__name__)
LESSONS = "lessons."
"""What the names of a book's tensors begin with in a checkpoint."""


@dataclass(frozen=True)
class DistillationConfig:
    """How hinted successes are cloned after an update."""

    steps: int = 800
    """Optimizer steps per call."""
    batch_size: int = 256
    """Decisions per step."""
    learning_rate: float = 1e-3
    """AdamW's highest; it rises from zero over a tenth of the steps and falls to zero again. A new AdamW at its full
    rate moves every weight by as much in its first step, and that alone undoes what was learned."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    remembered: int = 20_000
    """Decisions of earlier updates that are repeated, the newest first."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "max_grad_norm", "remembered"):
            if not getattr(self, name) > 0:
                raise HoneError(f"distillation {name} is {getattr(self, name)}; it must be positive.")


@dataclass(frozen=True)
class Lessons:
    """`D` decisions to imitate: inputs with the hint that was given, the chunks, which of their steps to imitate, the
    number of the task within its suite, and whether the chunk is what was advised, not what was done."""

    inputs: Features | Observation
    chunks: Float[Tensor, "D H A"]
    executed: Bool[Tensor, "D H"]
    tasks: Int64[Tensor, " D"]
    advised: Bool[Tensor, " D"]

    def __len__(self) -> int:
        return len(self.chunks)

    def rows(self, index: Int64[Tensor, " n"]) -> Lessons:
        inputs = self.inputs[index] if isinstance(self.inputs, Features) else self.inputs.rows(index.numpy())
        return Lessons(inputs, self.chunks[index], self.executed[index], self.tasks[index], self.advised[index])

    def heeding(self, tasks: Sequence[Task]) -> Lessons:
        """What was done, and what was advised about these tasks alone."""
        heeded = torch.isin(self.tasks, torch.tensor([task.index for task in tasks], dtype=torch.long))
        return self.rows(torch.nonzero(~self.advised | heeded).flatten())

    @classmethod
    def join(cls, parts: Sequence[Lessons]) -> Lessons:
        return cls(
            join_inputs([part.inputs for part in parts]),
            torch.cat([part.chunks for part in parts]),
            torch.cat([part.executed for part in parts]),
            torch.cat([part.tasks for part in parts]),
            torch.cat([part.advised for part in parts]),
        )


def lessons(
    policy: LearnedPolicy,
    trajectories: Sequence[Trajectory],
    solved: Sequence[bool],
    helps: Callable[[Task], bool] = lambda task: True,
) -> Lessons | None:
    """What there is to learn; `None` if there is nothing. `solved`: by the reward's own account.

    Of plain episodes, where hints help with the task: at every look for which the guide had a hint, what the policy as
    it is now would have done with it. Of others that are solved: what was done, plain ones included, so that a task
    without good advice is not forgotten over the others; but not what was done with hints that do not help.

    Rollouts must have kept features, of a policy that keeps its hints apart, or observations.
    """
    if any(t.inputs is None or t.candidate is None for t in trajectories):
        raise HoneError("these trajectories keep no decisions; roll out with keep='features' or 'observations'.")
    parts = []
    for trajectory, good in zip(trajectories, solved, strict=True):
        hinted, helpful = trajectory.request.hinted, helps(trajectory.request.task)
        if not hinted and helpful and any(trajectory.hints):
            parts.append(_advised(policy, trajectory))
        elif good and (helpful or not hinted):
            parts.append(_done(trajectory))
    return Lessons.join(parts) if parts else None


def _done(trajectory: Trajectory) -> Lessons:
    assert trajectory.inputs is not None
    assert trajectory.candidate is not None
    chunks = trajectory.candidate.chunk
    counts = torch.as_tensor(trajectory.executed)
    task = torch.full((len(chunks),), trajectory.request.task.index)
    executed = torch.arange(chunks.shape[1]) < counts[:, None]
    return Lessons(trajectory.inputs, chunks, executed, task, torch.zeros(len(chunks), dtype=torch.bool))


@torch.no_grad()
def _advised(policy: LearnedPolicy, trajectory: Trajectory) -> Lessons:
    """What the policy would do, greedily, were it told what the guide said unheard."""
    assert trajectory.inputs is not None
    rows = torch.tensor([i for i, hint in enumerate(trajectory.hints) if hint])
    hints = [hint for hint in trajectory.hints if hint]
    if isinstance(trajectory.inputs, Features):
        inputs = features = policy.with_hints(trajectory.inputs[rows], hints)
    else:
        inputs = replace(trajectory.inputs.rows(rows.numpy()), hints=tuple(hints))
        features = policy.encode(inputs)
    chunks = policy.propose(features, None, 1, None)[0].chunks[:, 0]
    task = torch.full((len(chunks),), trajectory.request.task.index)
    whole = torch.ones(chunks.shape[:2], dtype=torch.bool)
    return Lessons(inputs, chunks, whole, task, torch.ones(len(chunks), dtype=torch.bool))


class LessonBook:
    """The lessons of a run so far: the newest of them, as stored features."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.kept: Lessons | None = None

    def add(self, new: Lessons) -> Lessons:
        """All that is kept, with what is new. Observations are not kept: their pictures would fill the memory."""
        if not isinstance(new.inputs, Features):
            return new
        kept = new if self.kept is None else Lessons.join([self.kept, new])
        self.kept = kept.rows(torch.arange(max(len(kept) - self.capacity, 0), len(kept)))
        return self.kept

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint; nothing where nothing is kept."""
        if self.kept is None:
            return {}
        inputs = self.kept.inputs
        assert isinstance(inputs, Features)
        parts = {"tokens": inputs.tokens, "mask": inputs.mask, "pooled": inputs.pooled}
        parts |= {name: getattr(self.kept, name) for name in ("chunks", "executed", "tasks", "advised")}
        return {f"{LESSONS}{name}": tensor.contiguous() for name, tensor in parts.items()}

    def load(self, tensors: Mapping[str, Tensor], version: int) -> None:
        """The inverse; `version` is that of the policy's encoder, which is frozen while features are stored."""
        if f"{LESSONS}chunks" in tensors:
            kept = {name.removeprefix(LESSONS): t for name, t in tensors.items() if name.startswith(LESSONS)}
            inputs = Features(kept.pop("tokens"), kept.pop("mask"), kept.pop("pooled"), version)
            self.kept = Lessons(inputs, **kept)


def distill(
    policy: LearnedPolicy, given: Lessons, config: DistillationConfig, generator: torch.Generator
) -> dict[str, float]:
    """Clone the lessons into what the policy trains; returns the loss of doing it unasked, before and after.

    Every task is drawn equally often: failures are long, and would otherwise crowd out what is nearly mastered.
    `generator` draws the batches. Stored features must be of the encoder as it is, which must then be frozen.
    """
    if isinstance(given.inputs, Features):
        if policy.train_encoder:
            raise HoneError("the encoder is to be trained, but the lessons hold stored features; keep observations.")
        if given.inputs.version != policy.features_version:
            raise HoneError(
                f"the lessons' features are of encoder version {given.inputs.version}, the policy is at version "
                f"{policy.features_version}; roll out again."
            )
    parameters = policy.trainable_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
    words = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    share = 1.0 / torch.bincount(given.tasks)[given.tasks]
    sample = torch.randperm(len(given), generator=generator)[: config.batch_size]
    with torch.no_grad():
        before = float(_unasked(policy, given, sample, generator))
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(step / (0.1 * config.steps), 1 - step / config.steps)
        size = min(config.batch_size, len(given))
        drawn = torch.multinomial(share, size, replacement=True, generator=generator)
        unasked, asked, drilled = drawn.tensor_split([size // 2, 3 * size // 4])
        loss = (
            len(unasked) * _unasked(policy, given, unasked, generator)
            + len(asked) * _loss(policy, given, asked, None, generator)
            + len(drilled) * _drilled(policy, given, drilled, words, generator)
        ) / size
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimizer.step()
    with torch.no_grad():
        after = float(_unasked(policy, given, sample, generator))
    if policy.train_encoder:
        policy.features_version += 1
    return {"distilled_decisions": float(len(given)), "distill_loss_before": before, "distill_loss": after}


def _unasked(policy: LearnedPolicy, given: Lessons, rows: Tensor, generator: torch.Generator) -> Tensor:
    return _loss(policy, given, rows, [""] * len(rows), generator)


def _drilled(
    policy: LearnedPolicy, given: Lessons, rows: Tensor, words: np.random.Generator, generator: torch.Generator
) -> Tensor:
    phrases = [random_phrase(words) for _ in rows]
    steps = given.chunks.shape[1]
    chunks = torch.from_numpy(np.array([actions_of(phrase, steps) for phrase in phrases], np.float32))
    features, mask = _features(policy, given.inputs, rows, phrases), torch.ones(len(rows), steps).bool()
    return policy.head.loss(features, chunks.reshape(len(rows), steps, -1), mask, generator)


def _loss(
    policy: LearnedPolicy, given: Lessons, rows: Tensor, hints: Sequence[str] | None, generator: torch.Generator
) -> Tensor:
    features = _features(policy, given.inputs, rows, hints)
    return policy.head.loss(features, given.chunks[rows], given.executed[rows], generator)


def _features(
    policy: LearnedPolicy, inputs: Features | Observation, rows: Tensor, hints: Sequence[str] | None
) -> Features:
    """Of some rows, with other hints than were given, if any are named."""
    if isinstance(inputs, Features):
        return inputs[rows] if hints is None else policy.with_hints(inputs[rows], hints)
    seen = inputs.rows(rows.numpy())
    return policy.encode(seen if hints is None else replace(seen, hints=tuple(hints)))
