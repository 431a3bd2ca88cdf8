"""What acts. `POLICIES` names the policies that can be built, saved and loaded."""

from dataclasses import replace
from pathlib import Path

from hone.errors import HoneError, unknown_name
from hone.policies.base import NO_GRADIENTS, REMOTE, Candidate, Candidates, Features, LogProb, NoLikelihoodError, Policy
from hone.policies.blackbox import BlackBoxPolicy
from hone.policies.flow import FlowPolicy, FlowPolicyConfig
from hone.policies.learned import Augmentation, LearnedPolicy
from hone.policies.lerobot import LeRobotConfig, LeRobotPolicy
from hone.policies.pretrained import CONFIG_NAME, read_config, read_weights
from hone.policies.small import SmallPolicy, SmallPolicyConfig
from hone.policies.vlm import VLMConfig, VLMPolicy

POLICIES: dict[str, type[SmallPolicyConfig] | type[FlowPolicyConfig]] = {
    "small": SmallPolicyConfig,
    "flow": FlowPolicyConfig,
}


ON_CHECKPOINTS = {policy.name: policy for policy in (LeRobotPolicy, VLMPolicy)}
"""Policies on somebody else's checkpoint, `--policy NAME:CHECKPOINT`. Their own folders hold what was trained."""


def load_policy(
    policy: str | Path, lerobot: LeRobotConfig | None = None, vlm: VLMConfig | None = None
) -> LearnedPolicy:
    """The policy saved in the folder `policy`, whichever it is, or one on a checkpoint, `lerobot:CHECKPOINT` or
    `vlm:CHECKPOINT`, run as `lerobot` or `vlm` says."""
    kind, _, base = str(policy).partition(":")
    if base and kind in ON_CHECKPOINTS:
        base = str(Path(base).resolve()) if Path(base).is_dir() else base
        config = {"lerobot": lerobot or LeRobotConfig(), "vlm": vlm or VLMConfig()}[kind]
        return replace(config, base=base).build()
    if str(policy).startswith(REMOTE):
        raise HoneError(f"{policy} is on a server. {NO_GRADIENTS}")
    folder = Path(policy)
    name, data = read_config(folder)
    if name in ON_CHECKPOINTS:
        return ON_CHECKPOINTS[name].from_pretrained(folder)
    if name not in POLICIES:
        raise unknown_name(f"policy in {folder}", name, [*POLICIES, *ON_CHECKPOINTS])
    built = POLICIES[name].from_json(data, str(folder / CONFIG_NAME)).build()
    read_weights(folder, built)
    return built


__all__ = [
    "POLICIES",
    "Augmentation",
    "BlackBoxPolicy",
    "Candidate",
    "Candidates",
    "Features",
    "FlowPolicy",
    "FlowPolicyConfig",
    "LeRobotConfig",
    "LeRobotPolicy",
    "LearnedPolicy",
    "LogProb",
    "NoLikelihoodError",
    "Policy",
    "SmallPolicy",
    "SmallPolicyConfig",
    "VLMConfig",
    "VLMPolicy",
    "load_policy",
]
