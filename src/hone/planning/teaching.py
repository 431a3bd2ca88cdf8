"""Search teaches: what it found becomes what the policy does by itself.

    L(theta) = sum_d sum_k  v_dk  loss(policy(o_d), u_dk)         v_dk: share of the visits of candidate k at decision d

the distillation of visit counts (expert iteration, Anthony et al. 2017, arXiv:1705.08439; AlphaZero), with the head's
cloning loss in place of a cross-entropy over moves, because chunks are continuous. At the decisions of a solution that
was simulated the share is one for the chunk on its line. Two kinds of targets can be switched off: the visits, which
leaves what was executed, and episodes that failed, which leaves solved trajectories.

For GRPO nothing is needed here: a rollout with a lookahead keeps the executed chunks with the policy's likelihood of
them, so a searched episode is a member of its group like any other (`hone.training.credit`). It was not drawn from the
policy; the ratio starts at one all the same, as for any off-policy demonstration that is mixed into a group. Chunks of
the library have no likelihood, so for this `candidates.library` is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hone.errors import HoneError
from hone.planning.candidates import CandidateConfig
from hone.planning.mcts import MctsConfig
from hone.planning.tree_search import SearchConfig, SearchPlanning
from hone.policies.base import Features
from hone.policies.learned import LearnedPolicy
from hone.training.rollout import EpisodeRequest, Trajectory, join_inputs
from hone.training.workers import Builder
from hone.types import Observation

LEAST_SHARE = 0.02
"""Candidates visited less are left out."""


@dataclass(frozen=True)
class TeachingConfig:
    """How a search's findings are distilled."""

    visits: bool = True
    """Imitate all candidates by their visits; otherwise what was executed alone."""
    failures: bool = False
    """Learn from episodes that failed, too."""
    steps: int = 600
    """Optimizer steps."""
    batch_size: int = 256
    """(Decision, candidate) pairs per step, drawn by their shares."""
    learning_rate: float = 3e-4
    """AdamW's highest; it rises from zero over a tenth of the steps and falls to zero again."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise HoneError(f"teaching {name} is {getattr(self, name)}; it must be positive.")


@dataclass(frozen=True)
class TeacherConfig:
    """A search that acts in some of the practice episodes, and what is learned from these. It sees success, so it goes
    with the plain reward alone."""

    members: int = 0
    """Episodes of each group in which a search acts (VLAPS); 0: no teacher."""
    in_groups: bool = True
    """They are members of their GRPO group."""
    distil: bool = True
    """What the search found is distilled after the update."""
    search: SearchConfig = field(
        default_factory=lambda: SearchConfig(
            MctsConfig(simulations=16), CandidateConfig(library=0), rollout_share=1.0, step_budget=2000
        )
    )
    """The search. Chunks of a library have no likelihood, so that members of groups need `candidates.library` 0."""
    teaching: TeachingConfig = field(default_factory=lambda: TeachingConfig(steps=100))
    """The distillation."""

    def __post_init__(self) -> None:
        if self.members < 0:
            raise HoneError(f"teacher members is {self.members}; it must not be negative.")
        if self.members and not (self.in_groups or self.distil):
            raise HoneError("a teacher that is neither in groups nor distilled teaches nothing; switch one on.")
        if self.members and self.in_groups and self.search.candidates.library:
            raise HoneError("chunks of a library have no likelihood; set teacher.search.candidates.library to 0.")
        if self.search.rollout_share < 1:
            raise HoneError("a teacher has no value; its search needs rollout_share 1.")

    def planning(self, copies: Builder) -> SearchPlanning:
        return SearchPlanning(self.search, copies, keep_targets=True)

    def divided(
        self, requests: Sequence[EpisodeRequest], group_size: int
    ) -> tuple[list[EpisodeRequest], list[EpisodeRequest]]:
        """Those the policy acts in by itself, and those in which a search does: the last of each group."""
        searched = [r for r in requests if r.episode_id % group_size >= group_size - self.members]
        return [r for r in requests if r not in searched], searched


@dataclass(frozen=True)
class Taught:
    """`P` pairs: which row of `inputs` was seen, the chunk, which of its steps count, and its weight."""

    inputs: Features | Observation
    rows: Tensor
    chunks: Float[Tensor, "P H A"]
    mask: Bool[Tensor, "P H"]
    weights: Float[Tensor, " P"]


def taught(trajectories: Sequence[Trajectory], config: TeachingConfig) -> Taught:
    """What there is to learn from searched episodes, which must have kept decisions and targets."""
    inputs, rows, chunks, masks, weights = [], [], [], [], []
    first = 0
    for trajectory in trajectories:
        if not (trajectory.success or (config.failures and trajectory.status == "failure")):
            continue
        if trajectory.inputs is None or len(trajectory.targets) != trajectory.decisions:
            raise HoneError("these episodes keep no targets; search with keep_targets and roll out with keep=...")
        inputs.append(trajectory.inputs)
        assert trajectory.candidate is not None
        for decision, target in enumerate(trajectory.targets):
            done = np.arange(target.chunks.shape[1]) < trajectory.executed[decision]
            if config.visits:
                for chunk, share in zip(target.chunks, target.visits, strict=True):
                    if share >= LEAST_SHARE:
                        rows.append(first + decision)
                        chunks.append(chunk)
                        masks.append(done)
                        weights.append(float(share))
            else:
                rows.append(first + decision)
                chunks.append(trajectory.candidate.chunk[decision].numpy())
                masks.append(done)
                weights.append(1.0)
        first += trajectory.decisions
    if not inputs:
        raise HoneError("no episode was solved, so the search has nothing to teach; search longer.")
    return Taught(
        join_inputs(inputs),
        torch.tensor(rows),
        torch.from_numpy(np.stack(chunks)),
        torch.from_numpy(np.stack(masks)),
        torch.tensor(weights),
    )


def teach(
    policy: LearnedPolicy, lesson: Taught, config: TeachingConfig, generator: torch.Generator
) -> dict[str, float]:
    """Distil into what the policy trains; `generator` draws the batches."""
    if isinstance(lesson.inputs, Features) and policy.train_encoder:
        raise HoneError("the encoder is to be trained, but the targets hold stored features; keep observations.")
    parameters = policy.trainable_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
    losses = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(step / (0.1 * config.steps), 1 - step / config.steps)
        drawn = torch.multinomial(lesson.weights, config.batch_size, replacement=True, generator=generator)
        rows = lesson.rows[drawn]
        features = (
            lesson.inputs[rows]
            if isinstance(lesson.inputs, Features)
            else policy.encode(lesson.inputs.rows(rows.numpy()))
        )
        loss = policy.head.loss(features, lesson.chunks[drawn], lesson.mask[drawn], generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
    if policy.train_encoder:
        policy.features_version += 1
    tenth = max(len(losses) // 10, 1)
    return {
        "pairs": float(len(lesson.rows)),
        "loss_before": float(np.mean(losses[:tenth])),
        "loss": float(np.mean(losses[-tenth:])),
    }
