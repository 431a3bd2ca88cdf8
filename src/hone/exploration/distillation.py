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
from collections.abc import Mapping, Sequence
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
from hone.types import Observation

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
    """`D` decisions to imitate: inputs with the hint that was given, the chunks, and which of their steps were run."""

    inputs: Features | Observation
    chunks: Float[Tensor, "D H A"]
    executed: Bool[Tensor, "D H"]
    tasks: Int64[Tensor, " D"]
    """Number of the task within its suite."""

    def __len__(self) -> int:
        return len(self.chunks)

    def rows(self, index: Int64[Tensor, " n"]) -> Lessons:
        inputs = self.inputs[index] if isinstance(self.inputs, Features) else self.inputs.rows(index.numpy())
        return Lessons(inputs, self.chunks[index], self.executed[index], self.tasks[index])

    def of_tasks(self, numbers: Sequence[int]) -> Lessons:
        """Those of some tasks alone."""
        return self.rows(torch.nonzero(torch.isin(self.tasks, torch.tensor(numbers))).flatten())

    @classmethod
    def join(cls, parts: Sequence[Lessons]) -> Lessons:
        return cls(
            join_inputs([part.inputs for part in parts]),
            torch.cat([part.chunks for part in parts]),
            torch.cat([part.executed for part in parts]),
            torch.cat([part.tasks for part in parts]),
        )


def lessons(policy: LearnedPolicy, trajectories: Sequence[Trajectory], solved: Bool[Tensor, " N"]) -> Lessons | None:
    """What there is to learn from a guide; `None` if there is nothing.

    Of hinted episodes that are `solved` (by the reward's own account): what was done. Of plain ones, at every look for
    which the guide had a hint: what the policy, as it is now, would have done with it.

    Rollouts must have kept features, of a policy that keeps its hints apart, or observations.
    """
    if any(t.inputs is None or t.candidate is None for t in trajectories):
        raise HoneError("these trajectories keep no decisions; roll out with keep='features' or 'observations'.")
    told = [t for t, good in zip(trajectories, solved.tolist(), strict=True) if good and t.request.hinted]
    parts = [_done(t) for t in told]
    parts += [_advised(policy, t) for t in trajectories if not t.request.hinted and any(t.hints)]
    return Lessons.join(parts) if parts else None


def _done(trajectory: Trajectory) -> Lessons:
    assert trajectory.inputs is not None
    assert trajectory.candidate is not None
    chunks = trajectory.candidate.chunk
    counts = torch.as_tensor(trajectory.executed)
    task = torch.full((len(chunks),), trajectory.request.task.index)
    return Lessons(trajectory.inputs, chunks, torch.arange(chunks.shape[1]) < counts[:, None], task)


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
    return Lessons(inputs, chunks, torch.ones(chunks.shape[:2], dtype=torch.bool), task)


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
        parts |= {"chunks": self.kept.chunks, "executed": self.kept.executed, "tasks": self.kept.tasks}
        return {f"{LESSONS}{name}": tensor.contiguous() for name, tensor in parts.items()}

    def load(self, tensors: Mapping[str, Tensor], version: int) -> None:
        """The inverse; `version` is that of the policy's encoder, which is frozen while features are stored."""
        if f"{LESSONS}chunks" in tensors:
            tokens, mask, pooled, chunks, executed, numbers = (
                tensors[f"{LESSONS}{name}"] for name in ("tokens", "mask", "pooled", "chunks", "executed", "tasks")
            )
            self.kept = Lessons(Features(tokens, mask, pooled, version), chunks, executed, numbers)


def distill(
    policy: LearnedPolicy, given: Lessons, config: DistillationConfig, generator: torch.Generator
) -> dict[str, float]:
    """Clone the lessons into what the policy trains; returns the loss of doing it unasked, before and after.

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
    sample = torch.randperm(len(given), generator=generator)[: config.batch_size]
    with torch.no_grad():
        before = float(_unasked(policy, given, sample))
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(step / (0.1 * config.steps), 1 - step / config.steps)
        size = min(config.batch_size, len(given))
        unasked, asked, drilled = torch.randint(len(given), (size,), generator=generator).tensor_split(
            [size // 2, 3 * size // 4]
        )
        loss = (
            len(unasked) * _unasked(policy, given, unasked)
            + len(asked) * _loss(policy, given, asked, None)
            + len(drilled) * _drilled(policy, given, drilled, words)
        ) / size
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimizer.step()
    with torch.no_grad():
        after = float(_unasked(policy, given, sample))
    if policy.train_encoder:
        policy.features_version += 1
    return {"distilled_decisions": float(len(given)), "distill_loss_before": before, "distill_loss": after}


def _unasked(policy: LearnedPolicy, given: Lessons, rows: Tensor) -> Tensor:
    return _loss(policy, given, rows, [""] * len(rows))


def _drilled(policy: LearnedPolicy, given: Lessons, rows: Tensor, words: np.random.Generator) -> Tensor:
    phrases = [random_phrase(words) for _ in rows]
    steps = given.chunks.shape[1]
    chunks = torch.from_numpy(np.array([actions_of(phrase, steps) for phrase in phrases], np.float32))
    features = _features(policy, given.inputs, rows, phrases)
    return policy.head.loss(features, chunks.reshape(len(rows), steps, -1), torch.ones(len(rows), steps).bool())


def _loss(policy: LearnedPolicy, given: Lessons, rows: Tensor, hints: Sequence[str] | None) -> Tensor:
    return policy.head.loss(_features(policy, given.inputs, rows, hints), given.chunks[rows], given.executed[rows])


def _features(
    policy: LearnedPolicy, inputs: Features | Observation, rows: Tensor, hints: Sequence[str] | None
) -> Features:
    """Of some rows, with other hints than were given, if any are named."""
    if isinstance(inputs, Features):
        return inputs[rows] if hints is None else policy.with_hints(inputs[rows], hints)
    seen = inputs.rows(rows.numpy())
    return policy.encode(seen if hints is None else replace(seen, hints=tuple(hints)))
