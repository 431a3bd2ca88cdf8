"""Which convention of a checkpoint is broken: what its files say, and what a few episodes show.

A policy that scores 0 % mostly has no bad weights but a picture upside down, a gripper turned round, or statistics of
other units. So a policy that fails is run once more from the same starts for each convention turned round alone; a
variant whose success lies beyond chance above that of the policy as it is names the culprit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hone.envs.base import Environment
from hone.evaluation.stats import wilson_interval
from hone.policies.base import Candidate, Candidates, Features, LogProb, Policy, PolicyState
from hone.policies.inputs import Normalizer
from hone.training.rollout import EpisodeRequest, rollout
from hone.types import Observation

PLAUSIBLE = 10.0
"""Largest mean and standard deviation of a feature: metres, radians and flags of a table-top robot stay below."""
SATURATED = 0.98
MOSTLY = 0.5
"""Share of saturated motion numbers above which actions are presumed to be of another scale or absolute."""

Images = UInt8[np.ndarray, "B C H W 3"]
Chunks = Float[Tensor, "..."]


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis. `todo` is empty where all is well."""

    name: str
    ok: bool
    found: str
    todo: str = ""


@dataclass(frozen=True)
class Variant:
    """One convention turned round: of the pictures the policy sees, or of the actions it gives."""

    name: str
    todo: str
    images: Callable[[Images], Images] | None = None
    actions: Callable[[Chunks], Chunks] | None = None


def _gripper_negated(chunks: Chunks) -> Chunks:
    return torch.cat([chunks[..., :6], -chunks[..., 6:]], dim=-1)


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
        "gripper sign negated",
        "the policy opens the gripper where LIBERO closes it (+1 is close): negate the last action number",
        actions=_gripper_negated,
    ),
)


class Turned:
    """A policy with one convention turned round. Counts how many of its motion numbers are at the limit."""

    def __init__(self, policy: Policy, variant: Variant) -> None:
        self.spec, self.chunk_length = policy.spec, policy.chunk_length
        self._policy, self._variant = policy, variant
        self.numbers = self.saturated = 0

    def encode(self, observation: Observation) -> Features:
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
            candidates = Candidates(self._variant.actions(candidates.chunks), candidates.samples)
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
    """Run the policy as it is and, if at most half of its episodes succeed, with each convention turned round."""
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
    usable = [v for v in VARIANTS if v.images is None or policy.spec.cameras]
    tallies = [try_variant(env, policy, variant, requests, step_cap) for variant in usable]
    findings += [_compared(base, tally) for tally in tallies]
    culprits = [finding for finding in findings[3:] if not finding.ok]
    todo = culprits[0].todo if culprits else "no single convention explains it: train longer, or check the task"
    return [replace(findings[0], todo=todo), *findings[1:]]


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
    largest = max(float(mean.abs().max()), float(std.max()))
    if largest > PLAUSIBLE:
        return Finding(f"statistics of {name}", False, f"a value of {largest:.3g}: other units?", todo)
    return Finding(f"statistics of {name}", True, f"{mean.numel()} features, largest value {largest:.2f}")


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
