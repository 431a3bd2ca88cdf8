"""What was done with hints goes into the policy without hints: successful hinted episodes become demonstrations.

Evaluation is without hints, and reinforcement changes pi(a | o, hint). After an update, the chunks of the hinted
episodes that the *reward* counts as solved are cloned from the same observations without their hint (self-imitation, Oh
et al. 2018, arXiv:1806.05635, of hinted episodes only). It is a step of its own and no term of the GRPO loss: a group
in which every hinted episode succeeds is dead there, and is the best lesson here. Keeps no state between calls.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hone.errors import HoneError
from hone.policies.base import Features
from hone.policies.learned import LearnedPolicy
from hone.training.rollout import Trajectory, join_inputs
from hone.types import Observation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DistillationConfig:
    """How hinted successes are cloned after an update."""

    steps: int = 20
    """Optimizer steps per call."""
    batch_size: int = 256
    """Decisions per step."""
    learning_rate: float = 1e-4
    """AdamW's, without a schedule."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise HoneError(f"distillation {name} is {getattr(self, name)}; it must be positive.")


@dataclass(frozen=True)
class Lessons:
    """Decisions to imitate: inputs that hold no hint any more, the chunks and which of their steps were executed."""

    inputs: Features | Observation
    chunks: Float[Tensor, "D H A"]
    executed: Bool[Tensor, "D H"]

    def __len__(self) -> int:
        return len(self.chunks)


def lessons(policy: LearnedPolicy, trajectories: Sequence[Trajectory], solved: Bool[Tensor, " N"]) -> Lessons | None:
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
    inputs = policy.without_hint(inputs) if isinstance(inputs, Features) else replace(inputs, hints=None)
    chunks = torch.cat([candidate.chunk for _, candidate in parts])
    counts = torch.cat([torch.as_tensor(t.executed) for t in kept])
    return Lessons(inputs, chunks, torch.arange(chunks.shape[1]) < counts[:, None])


def distill(
    policy: LearnedPolicy, given: Lessons, config: DistillationConfig, generator: torch.Generator
) -> dict[str, float]:
    """Clone the lessons into what the policy trains; returns the cloning loss before and after.

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
    everything = torch.arange(len(given))
    with torch.no_grad():
        before = float(_loss(policy, given, everything))
    for _ in range(config.steps):
        rows = torch.randint(len(given), (min(config.batch_size, len(given)),), generator=generator)
        loss = _loss(policy, given, rows)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimizer.step()
    with torch.no_grad():
        after = float(_loss(policy, given, everything))
    if policy.train_encoder:
        policy.features_version += 1
    return {"distilled_decisions": float(len(given)), "distill_loss_before": before, "distill_loss": after}


def _loss(policy: LearnedPolicy, given: Lessons, rows: Tensor) -> Tensor:
    if isinstance(given.inputs, Features):
        features = given.inputs[rows]
    else:
        features = policy.encode(given.inputs.rows(rows.numpy()))
    return policy.head.loss(features, given.chunks[rows], given.executed[rows])
