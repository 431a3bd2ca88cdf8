"""What acts. `POLICIES` names the policies that can be built, saved and loaded."""

from dataclasses import replace
from pathlib import Path

from hone.errors import unknown_name
from hone.policies.base import Candidate, Candidates, Features, LogProb, NoLikelihoodError, Policy
from hone.policies.blackbox import BlackBoxPolicy
from hone.policies.flow import FlowPolicy, FlowPolicyConfig
from hone.policies.learned import Augmentation, LearnedPolicy
from hone.policies.lerobot import PREFIX as LEROBOT
from hone.policies.lerobot import LeRobotConfig, LeRobotPolicy
from hone.policies.pretrained import CONFIG_NAME, read_config, read_weights
from hone.policies.small import SmallPolicy, SmallPolicyConfig

POLICIES: dict[str, type[SmallPolicyConfig] | type[FlowPolicyConfig]] = {
    "small": SmallPolicyConfig,
    "flow": FlowPolicyConfig,
}


def load_policy(policy: str | Path, lerobot: LeRobotConfig | None = None) -> LearnedPolicy:
    """The policy saved in the folder `policy`, whichever of `POLICIES` it is, or LeRobot's of `lerobot:FOLDER_OR_ID`,
    run as `lerobot` says."""
    if str(policy).startswith(LEROBOT):
        return replace(lerobot or LeRobotConfig(), base=str(policy).removeprefix(LEROBOT)).build()
    folder = Path(policy)
    name, data = read_config(folder)
    if name == LeRobotPolicy.name:  # adapters on somebody else's checkpoint, which is no weight file of ours
        return LeRobotPolicy.from_pretrained(folder)
    if name not in POLICIES:
        raise unknown_name(f"policy in {folder}", name, POLICIES)
    policy = POLICIES[name].from_json(data, str(folder / CONFIG_NAME)).build()
    read_weights(folder, policy)
    return policy


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
    "load_policy",
]
