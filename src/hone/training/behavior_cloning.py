"""Behaviour cloning: regress the demonstrated chunk at every step of every demonstration.

Labels are what the demonstrator *wanted* (`Episode.actions`); where noise was injected to visit states off the path
(DART, arXiv:1703.09327) the robot executed something else, which is never imitated.
See docs/algorithms/behavior_cloning.md.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from hone.errors import HoneError
from hone.exploration.phrases import actions_of, fingers_of, random_phrase, relabel
from hone.policies.base import Features
from hone.policies.heads.base import FitsActions
from hone.policies.learned import Augmentation
from hone.training.objectives import CloningBatch, Terms
from hone.training.optimizer_state import flatten_optimizer, restore_optimizer
from hone.types import ACTION_DIM, Episode, Observation

log = logging.getLogger(__name__)


@runtime_checkable
class CloningLoss(Protocol):
    """What cloning needs of a policy's head."""

    def loss(
        self,
        features: Features,
        actions: Float[Tensor, "B H A"],
        mask: Bool[Tensor, "B H"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]: ...


@runtime_checkable
class LossTerm(Protocol):
    """Something that is learned beside the head's own loss; `hone.training.objectives` has some."""

    @property
    def weight(self) -> float: ...

    def __call__(self, head: object, batch: CloningBatch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Its value on one batch, before the weight. Raises `HoneError` for a head that it cannot be had from."""
        ...


@runtime_checkable
class CloneablePolicy(Protocol):
    """What cloning needs of a policy: `hone.policies.learned.LearnedPolicy` has it."""

    chunk_length: int
    past_length: int
    features_version: int

    @property
    def head(self) -> CloningLoss: ...

    @property
    def train_encoder(self) -> bool: ...

    def encode(
        self,
        observation: Observation,
        *,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> Features: ...

    def fit_normalization(self, observation: Observation) -> None: ...

    def trainable_parameters(self) -> list[nn.Parameter]: ...


@dataclass(frozen=True)
class BehaviorCloningConfig:
    """How a policy is cloned from demonstrations."""

    steps: int = 700
    """Optimizer steps."""
    batch_size: int = 64
    """(Episode, step) pairs per optimizer step."""
    learning_rate: float = 1e-3
    """Peak of the one-cycle schedule."""
    warmup_fraction: float = 0.1
    """Share of the steps over which the learning rate rises; after it, it falls along a cosine to nearly zero."""
    weight_decay: float = 1e-4
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    jitter: float = 0.1
    """Noise on normalised proprioception and object poses, in standard deviations of the demonstrations. The largest
    single lever with one demonstration per task: the policy learns to come back to the demonstrated path."""
    image_shift: int = 0
    """Largest random shift of each camera image, in pixels."""
    balance_tasks: bool = True
    """Draw every task equally often, however many and long its demonstrations are."""
    hinted: float = 0.0
    """Share of the pairs that are given a hint: the motion phrase of their own chunk (`hone.exploration.phrases`)."""
    drills: float = 0.0
    """Share of the hinted pairs that are drilled: a phrase drawn at random instead of their own, and the steady motion
    that it describes for a target. Words are then followed also where they were never demonstrated."""
    drill_jitter: float = 2.0
    """In place of `jitter` for drilled pairs, and much larger: words mean the same where nothing was ever shown."""
    terms: Terms = field(default_factory=Terms)
    """What is added to the head's loss, on all pairs but the drilled ones."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise HoneError(f"behaviour cloning {name} is {getattr(self, name)}; it must be positive.")
        if not 0 < self.warmup_fraction < 1:
            raise HoneError(f"behaviour cloning warmup_fraction is {self.warmup_fraction}; it must be in (0, 1).")
        if self.weight_decay < 0:
            raise HoneError(f"behaviour cloning weight_decay is {self.weight_decay}; it must not be negative.")
        for name in ("hinted", "drills"):
            if not 0 <= getattr(self, name) <= 1:
                raise HoneError(f"behaviour cloning {name} is {getattr(self, name)}; a share is between 0 and 1.")
        Augmentation(self.jitter, self.image_shift)  # raises where one is negative
        Augmentation(self.drill_jitter)

    def learning_rate_at(self, step: int) -> float:
        """One cycle: half a cosine from 1/25 of the peak up to it, then half a cosine down to 1/10000 of the start."""
        start, end = self.learning_rate / 25, self.learning_rate / 25 / 1e4
        warmup = max(1.0, self.warmup_fraction * self.steps)
        if step < warmup:
            low, high, progress = start, self.learning_rate, step / warmup
        else:
            low, high, progress = self.learning_rate, end, (step - warmup) / max(1.0, self.steps - 1 - warmup)
        return high + (low - high) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


class ChunkDataset:
    """Demonstrations as (episode, step) pairs; images stay where they are, as bytes, until a pair is drawn.

    A target is the `past_length` actions before the step and the `chunk_length` from it on.
    """

    def __init__(self, episodes: Sequence[Episode], chunk_length: int, past_length: int = 0) -> None:
        self.episodes = [episode for episode in episodes if episode.status == "success" and len(episode)]
        if not self.episodes:
            raise HoneError(
                f"none of the {len(episodes)} demonstrations is a success, so there is nothing to clone; record others."
            )
        if len(self.episodes) < len(episodes):
            log.warning("%d of %d demonstrations failed: left out", len(episodes) - len(self.episodes), len(episodes))
        self.chunk_length, self.past_length = chunk_length, past_length
        lengths = [len(episode) for episode in self.episodes]
        self._episode_of = np.repeat(np.arange(len(lengths)), lengths)
        self._step_of = np.concatenate([np.arange(length) for length in lengths])
        tasks = sorted({episode.task for episode in self.episodes})
        task_of_episode = np.array([tasks.index(episode.task) for episode in self.episodes])
        self._task_of = task_of_episode[self._episode_of]
        self.num_tasks = len(tasks)

    def __len__(self) -> int:
        """Number of (episode, step) pairs."""
        return len(self._step_of)

    def draw(self, count: int, balance_tasks: bool, generator: torch.Generator) -> Int64[np.ndarray, " B"]:
        """`count` pairs with replacement: uniformly, or first a task and then a pair of that task."""
        weights = np.ones(len(self))
        if balance_tasks:
            weights = 1.0 / np.bincount(self._task_of)[self._task_of]
        return torch.multinomial(torch.from_numpy(weights), count, replacement=True, generator=generator).numpy()

    def observation(self, pairs: Int64[np.ndarray, " B"], images: bool = True) -> Observation:
        """What was seen at each pair."""
        rows = [(self.episodes[self._episode_of[pair]], int(self._step_of[pair])) for pair in pairs]
        return Observation(
            proprio=np.stack([episode.proprio[t] for episode, t in rows]),
            instructions=tuple(episode.instruction for episode, _ in rows),
            images=_stack_images(rows) if images else None,
            state=_stack_state(rows),
        )

    def targets(self, pairs: Int64[np.ndarray, " B"]) -> tuple[Float32[np.ndarray, "B H A"], np.ndarray]:
        """The labelled chunk around each pair; its mask `[B, H]` is false outside of the episode."""
        action_dim = self.episodes[0].actions.shape[1]
        actions = np.zeros((len(pairs), self.past_length + self.chunk_length, action_dim), np.float32)
        mask = np.zeros(actions.shape[:2], bool)
        for row, pair in enumerate(pairs):
            t = self._step_of[pair]
            missing = max(self.past_length - t, 0)
            first = t - self.past_length + missing
            chunk = self.episodes[self._episode_of[pair]].actions[first : t + self.chunk_length]
            actions[row, missing : missing + len(chunk)] = chunk
            mask[row, missing : missing + len(chunk)] = True
        return actions, mask

    def phrases(self) -> tuple[str, ...]:
        """The motion phrase of the chunk that starts at each pair."""
        if self.episodes[0].actions.shape[1] != ACTION_DIM:
            raise HoneError("--clone.hinted: motion phrases describe LIBERO's actions only; leave hints out.")
        return tuple(phrase for episode in self.episodes for phrase in relabel(episode.actions, self.chunk_length))


def with_hints(
    observation: Observation,
    actions: Float32[np.ndarray, "B H A"],
    phrases: Sequence[str],
    config: BehaviorCloningConfig,
    generator: torch.Generator,
) -> tuple[Observation, Float32[np.ndarray, "B H A"], Bool[np.ndarray, " B"]]:
    """Observations and targets, of which some have the phrase of their chunk for a hint or are drilled (`config`), and
    which are drilled. With a hint the fingers do as it says, at once."""
    rows, steps = actions.shape[:2]
    hinted = (torch.rand(rows, generator=generator) < config.hinted).numpy()
    drilled = hinted & (torch.rand(rows, generator=generator) < config.drills).numpy()
    words = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    hints, targets = [], actions.copy()
    for row in range(rows):
        hint = random_phrase(words) if drilled[row] else phrases[row]
        hints.append(hint if hinted[row] else "")
        if drilled[row]:
            targets[row] = actions_of(hint, steps)
        elif hinted[row]:
            targets[row, :, -1] = fingers_of(hint, steps)
    return replace(observation, hints=tuple(hints)), targets, drilled


def encoded(
    policy: CloneablePolicy,
    observation: Observation,
    actions: Float[Tensor, "B H A"],
    mask: Bool[Tensor, "B H"],
    augmentation: Augmentation,
    generator: torch.Generator,
) -> CloningBatch:
    """The batch that a loss is computed on; what it is told instead meets the same augmentation."""
    before = generator.get_state()
    features = policy.encode(observation, augmentation=augmentation, generator=generator)

    def told(instructions: Sequence[str]) -> Features:
        again = torch.Generator(generator.device).set_state(before)
        return policy.encode(
            replace(observation, instructions=tuple(instructions)), augmentation=augmentation, generator=again
        )

    return CloningBatch(features, actions, mask, observation.instructions, told)


def _stack_images(rows: Sequence[tuple[Episode, int]]) -> np.ndarray | None:
    """`[B, C, H, W, 3]`, or `None` where a demonstration has no images."""
    images = [episode.images[t] for episode, t in rows if episode.images is not None]
    return np.stack(images) if len(images) == len(rows) else None


def _stack_state(rows: Sequence[tuple[Episode, int]]) -> np.ndarray | None:
    """`[B, M, F]`, or `None`. Tasks may differ in their number of objects: missing tokens are zero (not present)."""
    tokens = [episode.state[t] for episode, t in rows if episode.state is not None]
    if len(tokens) < len(rows):
        return None
    most = max(len(token) for token in tokens)
    return np.stack([np.pad(token, ((0, most - len(token)), (0, 0))) for token in tokens])


@dataclass
class CloneState:
    """A cloning run in progress, handed to `on_step` after every optimizer step."""

    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    step: int = 0
    """Optimizer steps done."""
    loss: float = float("nan")
    """Of the last batch."""
    loss_average: float = float("nan")
    """Exponential moving average of the loss (factor 0.98)."""
    learning_rate: float = float("nan")
    grad_norm: float = float("nan")
    """Before it was clipped."""

    def state_dict(self) -> dict[str, Any]:
        """What `clone(resume=...)` takes; the policy's weights are to be saved beside it."""
        tensors = {**flatten_optimizer(self.optimizer), "generator": self.generator.get_state()}
        return {"tensors": tensors, "step": self.step, "loss_average": self.loss_average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        tensors = dict(state["tensors"])
        self.generator.set_state(tensors.pop("generator"))
        restore_optimizer(self.optimizer, tensors)
        self.step, self.loss_average = int(state["step"]), float(state["loss_average"])


def clone(
    policy: CloneablePolicy,
    episodes: Sequence[Episode],
    config: BehaviorCloningConfig,
    generator: torch.Generator,
    *,
    on_step: Callable[[CloneState], None] | None = None,
    resume: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Fit `policy` (everything it declares trainable) to the successful `episodes`; returns the final metrics.

    `generator` draws the pairs and the augmentation. With `resume` (a `CloneState.state_dict()`), the policy must hold
    the weights saved with it; the run then goes on bit for bit as if it had not stopped.
    """
    if config.hinted and policy.past_length:
        raise HoneError("a hint says what comes, not what was: clone with hints or with a past_length, not with both.")
    dataset = ChunkDataset(episodes, policy.chunk_length, policy.past_length)
    phrases = dataset.phrases() if config.hinted else ("",) * len(dataset)
    augmentation, drilling = Augmentation(config.jitter, config.image_shift), Augmentation(config.drill_jitter)
    terms: tuple[LossTerm, ...] = config.terms.chosen
    parameters = policy.trainable_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    state = CloneState(optimizer, generator)
    if resume is None:
        everything = np.arange(len(dataset))
        policy.fit_normalization(dataset.observation(everything, images=False))
        if isinstance(policy.head, FitsActions):
            policy.head.fit(*map(torch.from_numpy, dataset.targets(everything)))
    else:
        state.load_state_dict(resume)

    while state.step < config.steps:
        pairs = dataset.draw(config.batch_size, config.balance_tasks, generator)
        actions, mask = dataset.targets(pairs)
        observation = dataset.observation(pairs)
        drilled = np.zeros(len(pairs), bool)
        if config.hinted:
            own = [phrases[p] for p in pairs]
            observation, actions, drilled = with_hints(observation, actions, own, config, generator)
        loss = torch.zeros(())
        for rows, noise in ((~drilled, augmentation), (drilled, drilling)):
            if rows.any():
                targets = torch.from_numpy(actions[rows]), torch.from_numpy(mask[rows])
                batch = encoded(policy, observation.rows(np.flatnonzero(rows)), *targets, noise, generator)
                part = policy.head.loss(batch.features, *targets, generator)
                for term in () if noise is drilling else terms:
                    part = part + term.weight * term(policy.head, batch, generator)
                loss = loss + rows.mean() * part
        state.loss = float(loss.detach())
        if not math.isfinite(state.loss):
            raise HoneError(
                f"the cloning loss became {state.loss} at step {state.step}; lower learning_rate "
                f"({config.learning_rate}) or look for values that are not finite in the demonstrations."
            )

        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.grad_norm = float(nn.utils.clip_grad_norm_(parameters, config.max_grad_norm))
        state.learning_rate = config.learning_rate_at(state.step)
        for group in optimizer.param_groups:
            group["lr"] = state.learning_rate
        optimizer.step()

        state.step += 1
        average = state.loss if math.isnan(state.loss_average) else state.loss_average
        state.loss_average = 0.98 * average + 0.02 * state.loss
        if on_step is not None:
            on_step(state)
    if policy.train_encoder:
        policy.features_version += 1
    return {
        "loss": state.loss_average,
        "steps": float(state.step),
        "episodes": float(len(dataset.episodes)),
        "pairs": float(len(dataset)),
        "tasks": float(dataset.num_tasks),
    }
