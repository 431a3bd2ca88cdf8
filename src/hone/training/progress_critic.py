"""Trains the progress critic on clips: frames of an episode, and how far each is towards the clip's goal.

A step takes a few frames of each of some clips and compares every ordered pair of a clip, so each pair also teaches its
reversal and each frame is encoded once. Some clips are told the goal of another task: towards that, nothing progresses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.nn import functional

from hone.errors import HoneError
from hone.policies.observations import random_shift
from hone.rewards.progress import ProgressCritic


@dataclass(frozen=True)
class Clip:
    """Looks at one episode. `progress[t]` in [0, 1] is how far frame `t` is towards `goal`; `other_goals` are sentences
    towards which the episode makes no progress."""

    goal: str
    frames: UInt8[np.ndarray, "T C S S 3"]
    progress: Float32[np.ndarray, " T"]
    other_goals: tuple[str, ...] = ()


@dataclass(frozen=True)
class CriticTraining:
    """How the critic is trained. The defaults take under a minute on one core."""

    steps: int = 300
    clips: int = 12
    """Clips per step."""
    frames: int = 4
    """Frames per clip and step; every pair of them is compared."""
    learning_rate: float = 1e-3
    """Peak; linear warm-up over 5 % of the steps, then a cosine to zero."""
    weight_decay: float = 0.01
    wrong_goal: float = 0.0
    """Share of clips that are told the goal of another task."""
    image_shift: int = 3
    """Largest random shift of each image, in pixels."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.clips < 1 or self.frames < 2 or not 0 <= self.wrong_goal <= 1:
            raise HoneError(f"{self}: steps and clips must be at least 1, frames 2, wrong_goal between 0 and 1.")


def train_critic(
    critic: ProgressCritic,
    clips: Sequence[Clip],
    config: CriticTraining,
    generator: torch.Generator,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Minimise the smooth L1 distance between `progress(a, b)` and the difference of the frames' labels."""
    if not clips:
        raise HoneError("the progress critic needs at least one clip to learn from.")
    optimizer = torch.optim.AdamW(critic.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps + 1, pct_start=0.05
    )
    first, second = torch.combinations(torch.arange(config.frames)).unbind(1)
    for step in range(config.steps):
        frames, goals, labels = _batch(clips, config, generator)
        text = critic.encode_goals([goal for goal in goals for _ in range(config.frames)])
        encoded = critic.encode_frames(frames, text).unflatten(0, (-1, config.frames))
        text = text.unflatten(0, (-1, config.frames))
        predicted = critic.between(
            encoded[:, first].flatten(0, 1), encoded[:, second].flatten(0, 1), text[:, first].flatten(0, 1)
        )
        loss = functional.smooth_l1_loss(predicted, (labels[:, second] - labels[:, first]).flatten(), beta=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, float(loss.detach()))


def _batch(
    clips: Sequence[Clip], config: CriticTraining, generator: torch.Generator
) -> tuple[torch.Tensor, list[str], torch.Tensor]:
    """Frames `[clips x frames, C, S, S, 3]`, one goal per clip, labels `[clips, frames]`."""
    frames, goals, labels = [], [], []
    for index in torch.randint(len(clips), (config.clips,), generator=generator).tolist():
        clip = clips[index]
        looks = torch.randint(len(clip.frames), (config.frames,), generator=generator).numpy()
        wrong = bool(clip.other_goals) and float(torch.rand((), generator=generator)) < config.wrong_goal
        other = int(torch.randint(len(clip.other_goals) or 1, (), generator=generator))
        goals.append(clip.other_goals[other] if wrong else clip.goal)
        frames.append(torch.from_numpy(clip.frames[looks]))
        labels.append(torch.zeros(config.frames) if wrong else torch.from_numpy(clip.progress[looks]))
    stacked = torch.cat(frames)
    shifted = [random_shift(view, config.image_shift, generator) for view in stacked.unbind(1)]
    return torch.stack(shifted, dim=1), goals, torch.stack(labels)
