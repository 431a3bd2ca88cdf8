"""A progress critic that sees only pictures: which of two frames of an episode is further towards the goal?

    progress(a, b, goal) = tanh(h(z_a, z_b) - h(z_b, z_a)),   z = encoder(frame, goal)

in [-1, 1]: positive where `b` is further than `a` (trained towards 1 from start to goal), exactly antisymmetric and
exactly 0 for equal frames. This is the `C_phi(o_start, o_end, g)` of Agentic-VLA's eq. 4 (arXiv 2605.22896), there a
vision-language model of billions of weights (VLAC). Departure: a network small enough for one core, trained on
rollouts of other tasks (`hone.training.progress_critic`); see docs/algorithms/progress_critic.md for how far it goes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, Float32, UInt8
from safetensors import SafetensorError
from torch import Tensor, nn

from hone.cache import write_atomically
from hone.errors import HoneError
from hone.language.encoder import build_text_encoder
from hone.policies.camera import CameraEncoder
from hone.policies.pretrained import CONFIG_NAME, WEIGHTS_NAME, build_config, seeded_initialisation
from hone.rewards.base import Trajectory
from hone.specs import Spec
from hone.types import Observation

BATCH = 256
"""Frames encoded at once outside training."""


@dataclass(frozen=True)
class CriticConfig:
    """Shape of a `ProgressCritic`."""

    cameras: int = 2
    """Cameras of a frame, in the order in which the observation stacks them (agentview, wrist)."""
    image_size: int = 84
    """Side of the square images in pixels."""
    channels: int = 32
    """Width of the camera encoder's convolutions."""
    camera_dim: int = 64
    """Layout features per camera, beside the keypoints."""
    text_encoder: str = "hashed-ngrams-256"
    """Name of the sentence encoder, see `hone.language.encoder`."""
    text_dim: int = 32
    """Features the goal is projected to."""
    hidden: int = 128
    """Width of the comparison."""

    def __post_init__(self) -> None:
        for name in ("cameras", "image_size", "channels", "camera_dim", "text_dim", "hidden"):
            if getattr(self, name) < 1:
                raise HoneError(f"the critic's {name} is {getattr(self, name)}, but it must be at least 1.")


class ProgressCritic(nn.Module):
    """Camera encoders conditioned on the goal sentence, and an antisymmetric comparison of two frames."""

    def __init__(self, config: CriticConfig | None = None, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or CriticConfig()
        self._sentences = build_text_encoder(config.text_encoder)
        with seeded_initialisation(seed):
            self.text = nn.Sequential(nn.Linear(self._sentences.dim, config.text_dim), nn.SiLU())
            self.cameras = nn.ModuleList(
                CameraEncoder(config.image_size, config.channels, config.text_dim, config.camera_dim)
                for _ in range(config.cameras)
            )
            frame_dim = config.cameras * (2 * config.channels + config.camera_dim)
            self.compare = nn.Sequential(
                nn.Linear(2 * frame_dim + config.text_dim, config.hidden), nn.SiLU(), nn.Linear(config.hidden, 1)
            )

    def encode_goals(self, goals: Sequence[str]) -> Float[Tensor, "B T"]:
        vectors = torch.from_numpy(self._sentences.encode(list(goals)))
        return self.text(vectors * math.sqrt(vectors.shape[-1]))  # components of unit scale

    def encode_frames(self, frames: UInt8[Tensor, "B C S S 3"], goals: Float[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        expected = (self.config.cameras, self.config.image_size, self.config.image_size, 3)
        if tuple(frames.shape[1:]) != expected:
            raise HoneError(f"the progress critic reads frames {list(expected)}, but got {list(frames.shape[1:])}.")
        views = [camera(view, goals) for camera, view in zip(self.cameras, frames.unbind(1), strict=True)]
        return torch.cat(views, dim=-1)

    def between(
        self, a: Float[Tensor, "B D"], b: Float[Tensor, "B D"], goals: Float[Tensor, "B T"]
    ) -> Float[Tensor, " B"]:
        """Progress from encoded frames `a` to encoded frames `b`, in [-1, 1]."""
        forth, back = torch.cat([a, b, goals], dim=-1), torch.cat([b, a, goals], dim=-1)
        return torch.tanh(self.compare(forth) - self.compare(back)).squeeze(-1)

    @torch.no_grad()
    def progress(
        self, a: UInt8[np.ndarray, "B C S S 3"], b: UInt8[np.ndarray, "B C S S 3"], goals: Sequence[str]
    ) -> Float32[np.ndarray, " B"]:
        """How much further frame `b[i]` is than frame `a[i]` towards `goals[i]`, in [-1, 1]."""
        text = self.encode_goals(goals)
        return self.between(self._encoded(a, text), self._encoded(b, text), text).numpy()

    def since_start(self, frames: UInt8[np.ndarray, "T C S S 3"], goal: str) -> Float32[np.ndarray, " T"]:
        """Progress from the first of an episode's frames to each, in [-1, 1]; the first is 0."""
        return self.progress(np.repeat(frames[:1], len(frames), axis=0), frames, [goal] * len(frames))

    @torch.no_grad()
    def between_all(self, frames: UInt8[np.ndarray, "T C S S 3"], goal: str) -> Float32[np.ndarray, "T T"]:
        """Progress from each of `T` frames of one episode (row) to each other (column). Encodes every frame once.

        The first row is the progress since the start, the diagonal above the main one the progress of each step.
        """
        text = self.encode_goals([goal]).expand(len(frames), -1)
        encoded = self._encoded(frames, text)
        row, column = torch.cartesian_prod(torch.arange(len(frames)), torch.arange(len(frames))).unbind(1)
        return self.between(encoded[row], encoded[column], text[row]).unflatten(0, (len(frames), -1)).numpy()

    def _encoded(self, frames: UInt8[np.ndarray, "T C S S 3"], text: Tensor) -> Tensor:
        parts = torch.arange(len(frames)).split(BATCH)
        return torch.cat([self.encode_frames(torch.from_numpy(frames[p.numpy()]), text[p]) for p in parts])

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` to `folder`."""
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}
        document = {"progress_critic": asdict(self.config)}
        write_atomically(Path(folder) / WEIGHTS_NAME, safetensors.torch.save(tensors))
        write_atomically(Path(folder) / CONFIG_NAME, (json.dumps(document, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path) -> ProgressCritic:
        """Read back what `save` wrote; raises `HoneError` about what is missing or damaged."""
        folder = Path(folder)
        try:
            data: dict[str, Any] = json.loads((folder / CONFIG_NAME).read_text())["progress_critic"]
            critic = cls(build_config(CriticConfig, data, str(folder / CONFIG_NAME)))
            critic.load_state_dict(safetensors.torch.load((folder / WEIGHTS_NAME).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise HoneError(
                f"'{folder}' holds no readable progress critic ({error!r}); benchmarks/progress_critic.py trains one."
            ) from error
        return critic


@runtime_checkable
class SeenTrajectory(Trajectory, Protocol):
    """A trajectory that kept its observations: one row per look, each before a chunk."""

    @property
    def inputs(self) -> Any: ...


@dataclass(frozen=True)
class CriticRewardConfig:
    """Of the reward `critic`."""

    folder: Path | None = None
    """Folder of a trained critic (config.json and model.safetensors); benchmarks/progress_critic.py trains one."""
    threshold: float = 0.65
    """Progress from an episode's first look to its last from which on it counts as a success."""

    def __post_init__(self) -> None:
        if not -1.0 <= self.threshold <= 1.0:
            raise HoneError(f"critic.threshold is {self.threshold}; progress lies between -1 and 1.")


class ProgressReward:
    """Sum over consecutive looks of the critic's progress towards the instruction; at most one per pair of looks.

    For rollouts with `keep="observations"`. The last look is before the last chunk, so the pictures never show the
    episode's end. Hints are not part of the goal. The success flag is never read.
    """

    def __init__(self, critic: ProgressCritic, threshold: float = CriticRewardConfig.threshold) -> None:
        """`threshold`: progress from the first look to the last from which on an episode is taken for a success."""
        self.critic = critic
        self.threshold = threshold
        self.calls = 0
        """Episodes looked at so far."""

    @classmethod
    def load(cls, config: CriticRewardConfig) -> ProgressReward:
        if config.folder is None:
            raise HoneError(
                "reward 'critic' needs the folder of a trained critic (critic.folder); "
                "benchmarks/progress_critic.py trains one."
            )
        return cls(ProgressCritic.load(config.folder), config.threshold)

    def check(self, spec: Spec) -> None:
        """Raises `HoneError` where a policy of this `spec` is not shown the pictures that the critic reads."""
        expected = (self.critic.config.cameras, self.critic.config.image_size)
        if (len(spec.cameras), spec.image_size) != expected:
            raise HoneError(
                f"the critic reads {expected[0]} cameras of {expected[1]} pixels, but this policy sees "
                f"{len(spec.cameras)} of {spec.image_size}; practise an image policy of that size, or train a critic "
                "on its pictures."
            )

    def __call__(self, trajectories: Sequence[SeenTrajectory]) -> Float32[np.ndarray, " N"]:
        return np.array([worth for worth, _ in self.judge_all(trajectories)], dtype=np.float32)

    def judge_all(self, trajectories: Sequence[SeenTrajectory]) -> list[tuple[float, bool]]:
        """The reward of each episode, and whether it is taken for a success."""
        self.calls += len(trajectories)
        tables = [self._between_looks(trajectory.inputs) for trajectory in trajectories]
        return [(float(np.diagonal(table, 1).sum()), bool(table[0, -1] >= self.threshold)) for table in tables]

    def _between_looks(self, seen: Any) -> Float32[np.ndarray, "T T"]:
        if not isinstance(seen, Observation) or seen.images is None:
            raise HoneError(
                "the progress reward looks at pictures, but the trajectories kept none; "
                "roll out an image policy with keep='observations'."
            )
        return self.critic.between_all(np.ascontiguousarray(seen.images), seen.instructions[0])
