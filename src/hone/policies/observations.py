"""From an `Observation` (NumPy) to what networks read, with the noise that cloning may add. Shared by the policies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hone.errors import HoneError
from hone.specs import Spec
from hone.types import Observation


def as_tensor(array: np.ndarray, device: torch.device | None = None) -> Tensor:
    """The array as a tensor, copied only where torch could not share it (flipped views, read-only arrays)."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)


def conditioned_sentences(observation: Observation) -> list[str]:
    """What the policy is told: each instruction, with its hint appended where there is one."""
    hints = observation.hints or ("",) * len(observation)
    return [f"{instruction} {hint}".strip() for instruction, hint in zip(observation.instructions, hints, strict=True)]


def hint_clauses(hints: Sequence[str]) -> list[list[str]]:
    """The clauses of each row's hint, which commas separate; none where there is no hint."""
    return [[clause.strip() for clause in hint.split(",") if clause.strip()] for hint in hints]


def camera_images(observation: Observation, spec: Spec) -> Sequence[UInt8[Tensor, "B S S 3"]]:
    """The images of each camera in `spec`, checked against it; nothing for a policy without cameras."""
    if not spec.cameras:
        return ()
    expected = (len(observation), len(spec.cameras), spec.image_size, spec.image_size, 3)
    if observation.images is None or observation.images.shape != expected:
        got = None if observation.images is None else observation.images.shape
        raise HoneError(f"the policy needs images {expected} (cameras {', '.join(spec.cameras)}), but got {got}.")
    return as_tensor(observation.images).unbind(1)


def jittered(features: Float[Tensor, "B D"], jitter: float, generator: torch.Generator | None) -> Float[Tensor, "B D"]:
    """Normalised features plus Gaussian noise of standard deviation `jitter`."""
    if jitter == 0:
        return features
    generator = _required(generator)
    return features + jitter * torch.randn(features.shape, generator=generator, device=generator.device).to(features)


def random_shift(
    images: UInt8[Tensor, "B S S 3"], pixels: int, generator: torch.Generator | None
) -> UInt8[Tensor, "B S S 3"]:
    """Each image moved by up to `pixels` both ways, its border repeated (DrQ, Kostrikov et al. 2020,
    arXiv:2004.13649)."""
    if pixels == 0:
        return images
    batch, side = images.shape[:2]
    shifts = torch.randint(-pixels, pixels + 1, (batch, 2), generator=_required(generator)).to(images.device)
    index = torch.arange(side, device=images.device)
    rows = (index + shifts[:, :1]).clamp(0, side - 1)
    columns = (index + shifts[:, 1:]).clamp(0, side - 1)
    return images[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _required(generator: torch.Generator | None) -> torch.Generator:
    if generator is None:
        raise HoneError("augmentation draws random numbers; pass a generator with it.")
    return generator
