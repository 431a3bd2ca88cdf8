"""The configuration of an exported policy, in LeRobot's words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lerobot.configs import (  # pyright: ignore[reportMissingImports]
    FeatureType,
    NormalizationMode,
    PolicyFeature,
    PreTrainedConfig,
)
from lerobot.optim import AdamWConfig  # pyright: ignore[reportMissingImports]

from hone.data.lerobot_format import ACTION, CAMERA_KEYS, STATE
from hone.errors import HoneError
from hone.policies import POLICIES, LearnedPolicy
from hone.types import PROPRIO_DIM

SENT_SIZE = 256
"""Pixels on a side that LeRobot's LIBERO environment sends; the policy shrinks them to what it was trained with."""


@PreTrainedConfig.register_subclass("hone")
@dataclass
class HoneConfig(PreTrainedConfig):  # type: ignore[misc]
    """Which of Hone's policies it is. Normalisation is inside the weights, so LeRobot's processors do none."""

    hone_policy: str = "small"
    hone_config: str = "{}"
    """The policy's own configuration, as JSON text."""
    chunk_size: int = 8
    n_action_steps: int = 8
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)
    )

    @classmethod
    def of(cls, policy: LearnedPolicy) -> HoneConfig:
        """Raises `HoneError` for a policy that LeRobot's observations cannot feed."""
        spec = policy.spec
        if spec.facts or spec.state_tokens != "none":
            raise HoneError("this policy reads object poses from the simulator, which LeRobot's observations have not.")
        unknown = [camera for camera in spec.cameras if camera not in CAMERA_KEYS]
        if unknown:
            raise HoneError(f"camera {', '.join(unknown)} has no name in LeRobot; known: {', '.join(CAMERA_KEYS)}.")
        picture = PolicyFeature(FeatureType.VISUAL, (3, SENT_SIZE, SENT_SIZE))
        return cls(
            input_features={
                **{CAMERA_KEYS[camera]: picture for camera in spec.cameras},
                STATE: PolicyFeature(FeatureType.STATE, (PROPRIO_DIM,)),
            },
            output_features={ACTION: PolicyFeature(FeatureType.ACTION, (spec.action_dim,))},
            device="cpu",
            push_to_hub=False,
            hone_policy=policy.name,
            hone_config=json.dumps(policy.config.to_json()),
            chunk_size=policy.chunk_length,
            n_action_steps=policy.chunk_length,
        )

    def build(self) -> LearnedPolicy:
        """The policy with fresh weights, which LeRobot then loads."""
        if self.hone_policy not in POLICIES:
            raise HoneError(f"this folder holds a '{self.hone_policy}' policy, which this Hone does not know.")
        return POLICIES[self.hone_policy].from_json(json.loads(self.hone_config), "hone_config").build()

    @property
    def observation_delta_indices(self) -> None:
        return None

    @property
    def action_delta_indices(self) -> list[int]:
        return list(range(self.chunk_size))

    @property
    def reward_delta_indices(self) -> None:
        return None

    def get_optimizer_preset(self) -> AdamWConfig:
        return AdamWConfig(lr=1e-3, weight_decay=1e-4)

    def get_scheduler_preset(self) -> None:
        return None

    def validate_features(self) -> None:
        """The pictures and the state that the policy reads must be among the input features."""
        wanted = [CAMERA_KEYS[camera] for camera in self.build().spec.cameras] + [STATE]
        missing = [key for key in wanted if key not in (self.input_features or {})]
        if missing:
            raise HoneError(f"the policy reads {', '.join(wanted)}; {', '.join(missing)} is not among the features.")


def export_lerobot_policy(policy: LearnedPolicy, folder: Path) -> list[str]:
    """Write `policy` as a folder that LeRobot loads, by LeRobot's own save functions. Returns the files' names."""
    from hone.lerobot_plugin.modeling_hone import HonePolicy
    from hone.lerobot_plugin.processor_hone import make_hone_pre_post_processors

    if folder.exists() and any(folder.iterdir()):
        raise HoneError(f"'{folder}' is not empty; give another folder.")
    config = HoneConfig.of(policy)
    exported = HonePolicy(config)
    exported.policy.load_state_dict(policy.state_dict())
    exported.save_pretrained(folder)
    for processor in make_hone_pre_post_processors(config):
        processor.save_pretrained(folder)
    return sorted(path.name for path in folder.iterdir())


__all__: list[Any] = ["HoneConfig", "export_lerobot_policy"]
