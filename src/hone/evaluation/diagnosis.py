"""Which convention of a checkpoint is broken: what its files say, and what a few episodes show.

A policy that scores 0 % mostly has no bad weights but a picture upside down, a gripper turned round, or statistics of
other units. So a policy that fails is run once more from the same starts for each convention turned round alone; the
first variant whose success lies beyond chance above that of the policy as it is names the culprit. docs/diagnosis.md
has what this found in a trained policy that was broken on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hone.envs.base import Environment
from hone.evaluation.stats import wilson_interval
from hone.policies.base import Candidate, Candidates, Features, LogProb, Policy, PolicyState
from hone.policies.inputs import PROPRIO_FEATURES, Normalizer, rotation_6d
from hone.training.rollout import EpisodeRequest, rollout
from hone.types import Observation

PLAUSIBLE = 10.0
"""Largest mean and standard deviation of a feature: metres, radians and flags of a table-top robot stay below."""
PROPRIO_BOUNDS = (2.0,) * 3 + (1.0,) * 6 + (0.05,) * 2
"""The same for what every policy here reads first: position (m), two columns of a rotation, finger joints (m)."""
SATURATED = 0.98
MOSTLY = 0.5
"""Share of saturated motion numbers above which actions are presumed to be of another scale or absolute."""

POSITION_M, ROTATION_RAD = 0.05, 0.5
"""What an action of 1 asks for (LIBERO's OSC_POSE)."""

Images = UInt8[np.ndarray, "B C H W 3"]
Chunks = Float[Tensor, "B K H 7"]
Proprio = Float[Tensor, "B 8"]


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis. `todo` is empty where all is well."""

    name: str
    ok: bool
    found: str
    todo: str = ""


@dataclass(frozen=True)
class Variant:
    """One convention turned round: of the pictures the policy sees, or of the actions it gives where it looks."""

    name: str
    todo: str
    images: Callable[[Images], Images] | None = None
    actions: Callable[[Chunks, Proprio], Chunks] | None = None


def gripper_negated(chunks: Chunks, proprio: Proprio) -> Chunks:
    return torch.cat([chunks[..., :6], -chunks[..., 6:]], dim=-1)


def from_metres(chunks: Chunks, proprio: Proprio) -> Chunks:
    """Actions in [-1, 1] of those in metres and radians."""
    return torch.cat([chunks[..., :3] / POSITION_M, chunks[..., 3:6] / ROTATION_RAD, chunks[..., 6:]], dim=-1)


def from_poses(chunks: Chunks, proprio: Proprio) -> Chunks:
    """Deltas of absolute poses (m, rotation vector in rad): from the hand to the first, then on to the next."""
    here = proprio[:, None, None, :6].expand(*chunks.shape[:2], 1, 6)
    poses = torch.cat([here, chunks[..., :6]], dim=-2)
    rotations = _matrices(poses[..., 3:])
    turns = _rotation_vectors(rotations[..., 1:, :, :] @ rotations[..., :-1, :, :].mT)
    return from_metres(torch.cat([poses[..., :3].diff(dim=-2), turns, chunks[..., 6:]], dim=-1), proprio)


def _matrices(rotation_vectors: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    columns = rotation_6d(rotation_vectors.reshape(-1, 3)).unflatten(-1, (2, 3))
    third = torch.linalg.cross(columns[:, 0], columns[:, 1])
    return torch.stack([columns[:, 0], columns[:, 1], third], dim=-1).reshape(*rotation_vectors.shape, 3)


def _rotation_vectors(matrices: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 3"]:
    """Of rotations by less than half a turn."""
    skew = (matrices - matrices.mT) / 2
    axis = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1)
    sine, cosine = axis.norm(dim=-1), (matrices.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return axis * (torch.atan2(sine, cosine) / sine.clamp(min=1e-8))[..., None]


AS_IT_IS = Variant("as it is", "")
VARIANTS = (
    Variant(
        "pictures turned by 180 degrees",
        "the policy was trained on pictures turned by 180 degrees from what its spec says: correct image_orientation",
        images=lambda images: images[:, :, ::-1, ::-1],
    ),
    Variant(
        "pictures flipped upside down",
        "the policy was trained on flipped pictures (robosuite returns them upside down): correct image_orientation",
        images=lambda images: images[:, :, ::-1],
    ),
    Variant(
        "pictures mirrored",
        "the policy was trained on mirrored pictures (upright against rotated_180): correct image_orientation",
        images=lambda images: images[:, :, :, ::-1],
    ),
    Variant(
        "gripper sign negated",
        "the policy opens the gripper where LIBERO closes it (+1 is close): negate the last action number",
        actions=gripper_negated,
    ),
    Variant(
        "actions taken for metres and radians",
        "the policy's actions are not scaled to [-1, 1]: divide them by 0.05 m and 0.5 rad",
        actions=from_metres,
    ),
    Variant(
        "actions taken for absolute poses",
        "the policy gives poses to be at (m, rad): give LIBERO the deltas between them, divided by 0.05 m and 0.5 rad",
        actions=from_poses,
    ),
)


class Turned:
    """A policy with one convention turned round. Counts how many of its motion numbers are at the limit."""

    def __init__(self, policy: Policy, variant: Variant) -> None:
        self.spec, self.chunk_length = policy.spec, policy.chunk_length
        self._policy, self._variant = policy, variant
        self.numbers = self.saturated = 0
        self._proprio = torch.zeros(0, 8)

    def encode(self, observation: Observation) -> Features:
        self._proprio = torch.as_tensor(observation.proprio)
        if self._variant.images is not None and observation.images is not None:
            observation = replace(observation, images=np.ascontiguousarray(self._variant.images(observation.images)))
        return self._policy.encode(observation)

    def propose(
        self, features: Features, state: PolicyState, k: int, generators: Sequence[torch.Generator] | None
    ) -> tuple[Candidates, PolicyState]:
        candidates, state = self._policy.propose(features, state, k, generators)
        motion = candidates.chunks[..., :6]
        self.numbers += motion.numel()
        self.saturated += int((motion.abs() >= SATURATED).sum())
        if self._variant.actions is not None:
            candidates = Candidates(self._variant.actions(candidates.chunks, self._proprio), candidates.samples)
        return candidates, state

    def log_prob(self, features: Features, candidate: Candidate) -> LogProb:
        return self._policy.log_prob(features, candidate)

    def initial_state(self, num_rows: int) -> PolicyState:
        return self._policy.initial_state(num_rows)


@dataclass(frozen=True)
class Tally:
    """What `episodes` of one variant gave. `late`: successes after the step cap that scores are compared under."""

    variant: Variant
    episodes: int
    successes: int
    late: int
    saturated: float


def try_variant(
    env: Environment, policy: Policy, variant: Variant, requests: Sequence[EpisodeRequest], step_cap: int
) -> Tally:
    """Run the requests with the policy so turned. `env` may run longer than `step_cap`; what succeeds later is late."""
    turned = Turned(policy, variant)
    trajectories = list(rollout(env, turned, requests))
    successes = [trajectory for trajectory in trajectories if trajectory.success]
    late = sum(trajectory.steps > step_cap for trajectory in successes)
    return Tally(variant, len(trajectories), len(successes) - late, late, turned.saturated / max(1, turned.numbers))


def check_files(policy: Any) -> list[Finding]:
    """What can be told from the policy alone: weights and normalisation statistics."""
    findings = []
    if isinstance(policy, nn.Module):
        normalizers = [(name, m) for name, m in policy.named_modules() if isinstance(m, Normalizer)]
        statistics = {id(t) for _, m in normalizers for t in (m.mean, m.std)}
        bad = [n for n, t in policy.state_dict(keep_vars=True).items() if id(t) not in statistics and not _finite(t)]
        findings.append(
            Finding("weights", not bad, f"not finite: {', '.join(bad[:3])}", "train again from an earlier checkpoint")
            if bad
            else Finding("weights", True, "finite")
        )
        findings += [_check_statistics(name, normalizer) for name, normalizer in normalizers]
        if not normalizers:
            findings.append(Finding("statistics", True, "none used"))
    return findings


def check_episodes(
    env: Environment, policy: Policy, requests: Sequence[EpisodeRequest], step_cap: int
) -> list[Finding]:
    """Run the policy as it is and, if at most half of its episodes succeed, with conventions turned round until one
    explains it."""
    with _first_inputs(policy) as inputs:
        base = try_variant(env, policy, AS_IT_IS, requests, step_cap)
    findings = [
        Finding("episodes", base.successes > base.episodes / 2, _counts(base), ""),
        Finding(
            "step cap",
            base.late <= base.successes,
            f"{base.late} more after the cap of {step_cap} steps",
            "the policy is slow: it needs longer demonstrations cut, or a second column with an extended cap",
        ),
        Finding(
            "action scale",
            base.saturated < MOSTLY,
            f"{100 * base.saturated:.0f} % of motion numbers at the limit of ±1",
            "actions look absolute or not normalised; LIBERO's are deltas in [-1, 1] (0.05 m, 0.5 rad)",
        ),
    ]
    if findings[0].ok:
        return findings
    findings += [_check_inputs(name, standardised) for name, standardised in inputs.items()]
    for variant in VARIANTS:
        if variant.images is not None and not policy.spec.cameras:
            continue
        findings.append(_compared(base, try_variant(env, policy, variant, requests, step_cap)))
        if not findings[-1].ok:
            break
    culprits = [finding for finding in findings[1:] if not finding.ok]
    todo = culprits[0].todo if culprits else "no single convention explains it: train longer, or check the task"
    return [replace(findings[0], todo=todo), *findings[1:]]


@contextmanager
def _first_inputs(policy: Any) -> Iterator[dict[str, Tensor]]:
    """What each normaliser of the policy gives at its first look, where the policy has not done anything yet."""
    inputs: dict[str, Tensor] = {}

    def keep_first(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(_module: nn.Module, _given: Any, standardised: Tensor) -> None:
            inputs.setdefault(name, standardised.detach())

        return keep

    hooks = [
        module.register_forward_hook(keep_first(name))
        for name, module in (policy.named_modules() if isinstance(policy, nn.Module) else ())
        if isinstance(module, Normalizer)
    ]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


def _check_inputs(name: str, standardised: Float[Tensor, "B D"]) -> Finding:
    """Demonstrations begin where these episodes do, so what the policy reads there is within their spread."""
    beyond = (standardised.abs() >= Normalizer.LIMIT).float().mean(0) > MOSTLY
    if not beyond.any():
        return Finding(f"first inputs of {name}", True, f"within {Normalizer.LIMIT:.0f} standard deviations")
    which = ", ".join(str(int(number)) for number in beyond.nonzero()[:5, 0])
    found = f"feature {which} more than {Normalizer.LIMIT:.0f} standard deviations off at the start"
    todo = "its statistics are those of another robot, scene or unit: fit them on demonstrations of this one"
    return Finding(f"first inputs of {name}", False, found, todo)


def _compared(base: Tally, tally: Tally) -> Finding:
    """Whether the variant is better than the policy as it is beyond chance (95 % intervals that do not meet)."""
    _, high = wilson_interval(base.successes, base.episodes)
    low, _ = wilson_interval(tally.successes, tally.episodes)
    if low > high:
        return Finding(tally.variant.name, False, f"{_counts(tally)}: better than as it is", tally.variant.todo)
    return Finding(tally.variant.name, True, f"{_counts(tally)}: not better")


def _counts(tally: Tally) -> str:
    return f"{tally.successes} of {tally.episodes} succeed"


def _check_statistics(name: str, normalizer: Normalizer) -> Finding:
    mean, std = normalizer.mean, normalizer.std
    todo = "fit them on demonstrations in metres and radians (fit_normalization), and save the policy again"
    if not (_finite(mean) and _finite(std)):
        return Finding(f"statistics of {name}", False, "not finite", todo)
    if bool((std <= 0).any()):
        return Finding(f"statistics of {name}", False, "a standard deviation is not positive", todo)
    bounds = torch.full_like(mean, PLAUSIBLE)
    if len(mean) >= PROPRIO_FEATURES:
        bounds[:PROPRIO_FEATURES] = torch.tensor(PROPRIO_BOUNDS)
    values = torch.maximum(mean.abs(), std)
    largest, worst = float(values.max()), int((values / bounds).argmax())
    if values[worst] > bounds[worst]:
        found = f"feature {worst} has {values[worst]:.3g}, more than {bounds[worst]:.3g}: other units?"
        return Finding(f"statistics of {name}", False, found, todo)
    return Finding(f"statistics of {name}", True, f"{mean.numel()} features, largest value {largest:.2f}")


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
