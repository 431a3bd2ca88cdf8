"""What acts. `POLICIES` names the policies that can be built, saved and loaded."""

from pathlib import Path

from hone.errors import HoneError, unknown_name
from hone.policies.base import NO_GRADIENTS, REMOTE, Candidate, Candidates, Features, LogProb, NoLikelihoodError, Policy
from hone.policies.blackbox import BlackBoxPolicy
from hone.policies.flow import FlowPolicy, FlowPolicyConfig
from hone.policies.learned import Augmentation, LearnedPolicy
from hone.policies.pretrained import CONFIG_NAME, read_config, read_weights
from hone.policies.small import SmallPolicy, SmallPolicyConfig

POLICIES: dict[str, type[SmallPolicyConfig] | type[FlowPolicyConfig]] = {
    "small": SmallPolicyConfig,
    "flow": FlowPolicyConfig,
}


def load_policy(folder: str | Path) -> LearnedPolicy:
    """The policy saved in `folder`, whichever of `POLICIES` it is."""
    if str(folder).startswith(REMOTE):
        raise HoneError(f"{folder} is on a server. {NO_GRADIENTS}")
    folder = Path(folder)
    name, data = read_config(folder)
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
    "LearnedPolicy",
    "LogProb",
    "NoLikelihoodError",
    "Policy",
    "SmallPolicy",
    "SmallPolicyConfig",
    "load_policy",
]
