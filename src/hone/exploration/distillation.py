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
from jaxtyping import Bool, Float
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

    steps: int = 600
    """Optimizer steps per call."""
    batch_size: int = 256
    """Decisions per step."""
    learning_rate: float = 5e-4
    """AdamW's at the first step; it falls linearly to zero."""
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

    def __len__(self) -> int:
        return len(self.chunks)


def lessons(trajectories: Sequence[Trajectory], solved: Bool[Tensor, " N"]) -> Lessons | None:
    """The decisions of hinted episodes that are `solved` (by the reward's own account); `None` if there are none.

    Rollouts must have kept features, of a policy that keeps its hints apart, or observations.
    """
    kept = [t for t, good in zip(trajectories, solved.tolist(), strict=True) if good and t.request.hinted]
    parts = [(t.inputs, t.candidate) for t in kept if t.inputs is not None and t.candidate is not None]
    if len(parts) < len(kept):
        raise HoneError("these trajectories keep no decisions; roll out with keep='features' or 'observations'.")
    if not parts:
        return None
    inputs = join_inputs([inputs for inputs, _ in parts])
    chunks = torch.cat([candidate.chunk for _, candidate in parts])
    counts = torch.cat([torch.as_tensor(t.executed) for t in kept])
    return Lessons(inputs, chunks, torch.arange(chunks.shape[1]) < counts[:, None])


class LessonBook:
    """The lessons of a run so far: the newest of them, as stored features."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.kept: Lessons | None = None

    def add(self, new: Lessons) -> Lessons:
        """All that is kept, with what is new. Observations are not kept: their pictures would fill the memory."""
        if not isinstance(new.inputs, Features):
            return new
        known = self.kept
        if known is not None and isinstance(known.inputs, Features):
            inputs = Features.cat([known.inputs, new.inputs])
            new = Lessons(inputs, torch.cat([known.chunks, new.chunks]), torch.cat([known.executed, new.executed]))
        last = slice(max(len(new) - self.capacity, 0), None)
        assert isinstance(new.inputs, Features)
        self.kept = Lessons(new.inputs[last], new.chunks[last], new.executed[last])
        return self.kept

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint; nothing where nothing is kept."""
        if self.kept is None:
            return {}
        inputs = self.kept.inputs
        assert isinstance(inputs, Features)
        parts = {"tokens": inputs.tokens, "mask": inputs.mask, "pooled": inputs.pooled}
        parts |= {"chunks": self.kept.chunks, "executed": self.kept.executed}
        return {f"{LESSONS}{name}": tensor.contiguous() for name, tensor in parts.items()}

    def load(self, tensors: Mapping[str, Tensor], version: int) -> None:
        """The inverse; `version` is that of the policy's encoder, which is frozen while features are stored."""
        if f"{LESSONS}chunks" in tensors:
            tokens, mask, pooled, chunks, executed = (
                tensors[f"{LESSONS}{name}"] for name in ("tokens", "mask", "pooled", "chunks", "executed")
            )
            self.kept = Lessons(Features(tokens, mask, pooled, version), chunks, executed)


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
        before = float(_unasked(policy, given, sample, generator))
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 - step / config.steps)
        size = min(config.batch_size, len(given))
        unasked, asked, drilled = torch.randint(len(given), (size,), generator=generator).tensor_split(
            [size // 2, 3 * size // 4]
        )
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
