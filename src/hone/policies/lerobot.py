"""LeRobot's flow policies (SmolVLA, pi-zero, pi-0.5) as policies of Hone: evaluated and improved in this process.

    hone eval    --policy lerobot:USER/NAME --env.image-size 256 --env.image-orientation rotated_180 --workers 0
    hone improve --policy lerobot:FOLDER ...

Normalisation and processors are the checkpoint's own. What is trained are low-rank adapters (LoRA, arXiv:2106.09685),
by the library's default on the action expert's attention and its projections; saved are they alone, and which
checkpoint they belong to. See docs/ecosystem.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from hone.errors import HoneError, unknown_name
from hone.policies.adapters import AdaptedPolicy, add_adapters, device_of
from hone.policies.base import Features
from hone.policies.heads.flow import Chain, FlowHead
from hone.policies.learned import Augmentation
from hone.policies.lerobot_checkpoint import checkpoint_folder, read_checkpoint
from hone.policies.lerobot_field import LibraryField, NetworkSpace
from hone.policies.observations import as_tensor, camera_images, conditioned_sentences
from hone.policies.pretrained import build_config, seeded_initialisation
from hone.specs import Orientation, Spec
from hone.types import PROPRIO_DIM, Observation

LIBERO_CAMERAS = {"image": "agentview", "image2": "robot0_eye_in_hand", "wrist_image": "robot0_eye_in_hand"}
"""Names that recordings of LIBERO give its cameras."""


@dataclass(frozen=True)
class LeRobotConfig:
    """How a LeRobot checkpoint is run and trained."""

    base: str = ""
    """The checkpoint, a folder or hub id; given by `--policy lerobot:BASE`."""
    cameras: tuple[str, ...] = ()
    """Which camera of the environment each image of the checkpoint is, as `camera1=agentview`, or `camera3=none`;
    LIBERO's usual names are known."""
    image_size: int | None = None
    """Side in pixels of the images given to the checkpoint's processor; by default that of its recordings."""
    image_orientation: Orientation = "rotated_180"
    """How its recordings hold the pictures."""
    control_rate_hz: float = 20.0
    """Rate of its recordings, which checkpoints do not tell."""
    executed: int | None = None
    """Actions executed of each chunk; by default the checkpoint's n_action_steps."""
    denoising_steps: int | None = None
    """Steps from noise to chunk; by default the checkpoint's."""
    chain: Chain = "flow_noise"
    """Where exploration noise enters: in every step, or in one, drawn anew for each chunk."""
    exploration: float = 0.1
    """Scale of the sampling noise, in units of the checkpoint's normalised actions."""
    lora_rank: int = 16
    """Rank of the adapters."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: what is frozen is kept in it and matrix products are done in it; adapters stay float32."""
    rows_at_once: int = 0
    """Gradient checkpointing: so many chunks are denoised at a time, and again in the backward pass. 0: all, once."""
    device: str = "auto"
    """`cuda`, `cpu`, ...; `auto`: a GPU where there is one."""

    def __post_init__(self) -> None:
        for name in ("executed", "denoising_steps", "image_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise HoneError(f"lerobot {name} is {value}; it must be at least 1.")
        if self.lora_rank < 1 or self.rows_at_once < 0:
            raise HoneError(
                f"lora_rank {self.lora_rank} must be positive, rows_at_once {self.rows_at_once} not below 0."
            )
        for entry in self.cameras:
            if entry.count("=") != 1:
                raise HoneError(f"camera '{entry}' does not say which is which; write NAME_IN_CHECKPOINT=CAMERA.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str) -> LeRobotConfig:
        return build_config(cls, data, where)

    def build(self, seed: int = 0) -> LeRobotPolicy:
        return LeRobotPolicy(self, seed)

    def camera_names(self, names: Sequence[str]) -> dict[str, str]:
        """The environment's camera for each image of a checkpoint that is given one; where nobody says which, its own
        name."""
        given = dict(entry.split("=") for entry in self.cameras)
        for name in given:
            if name not in names:
                raise unknown_name(f"camera of {self.base}", name, names)
        chosen = {name: given.get(name, LIBERO_CAMERAS.get(name, name)) for name in names}
        return {name: camera for name, camera in chosen.items() if camera != "none"}


class LeRobotPolicy(AdaptedPolicy[LeRobotConfig]):
    """Prefix by the vision-language model, chunk by a `FlowHead` around the library's denoising step.

    `Features.tokens` are the prefix's keys and values (see `LibraryField`), a few megabytes a row. The density is that
    of the executed, unpadded part of the chain, in the checkpoint's normalised units.
    """

    name: ClassVar[str] = "lerobot"
    config_class = LeRobotConfig

    def __init__(self, config: LeRobotConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        device = device_of(config.device)
        with seeded_initialisation(seed):  # the library draws weights before it reads them
            self.checkpoint = checkpoint = read_checkpoint(checkpoint_folder(config.base), device)
        library = checkpoint.policy.config
        self._cameras = config.camera_names(list(checkpoint.cameras))
        self.spec = self._spec()
        self.chunk_length = config.executed or library.n_action_steps
        if self.chunk_length > library.chunk_size:
            raise HoneError(
                f"{self.chunk_length} actions are to be executed of each chunk, but '{config.base}' decides "
                f"{library.chunk_size}; lower --lerobot.executed."
            )
        if config.precision == "bfloat16":
            for weight_name, weight in checkpoint.policy.named_parameters():
                if "_with_expert." in weight_name:  # the transformers; projections of numbers stay as they are
                    weight.data = weight.data.bfloat16()
        space = NetworkSpace(
            length=library.chunk_size,
            action_dim=library.max_action_dim,
            low=self.spec.action_low,
            high=self.spec.action_high,
            executed=self.chunk_length,
            executed_dim=checkpoint.action_dim,
            unnormalise=checkpoint.unnormalise,
        )
        with seeded_initialisation(seed):
            targets = checkpoint.policy._get_default_peft_targets()["target_modules"]
            adapted = add_adapters(checkpoint.policy, config.lora_rank, targets)
            field = LibraryField(
                adapted,
                checkpoint.family,
                rows_at_once=config.rows_at_once,
                bfloat16=config.precision == "bfloat16",
            )
            steps = config.denoising_steps or getattr(library, checkpoint.family.steps_field)
            self.head = FlowHead(field, space, steps=steps, chain=config.chain, exploration=config.exploration)
        self.to(device).eval()

    def encode(
        self,
        observation: Observation,
        *,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> Features:
        if augmentation not in (None, Augmentation()):
            raise HoneError("a LeRobot policy learns demonstrations in LeRobot itself; Hone only lets it practise.")
        trained = self.train_encoder and bool(self.encoder_parameters())
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            features = self.field.prefix(self.checkpoint.preprocess(self.inputs(observation)))
        return replace(features, version=self.features_version)

    @property
    def text_encoder_name(self) -> str:
        """What reads the instruction, for the protocol card."""
        return f"LeRobot {self.checkpoint.policy.config.type}"

    @property
    def field(self) -> LibraryField:
        """The checkpoint's network, as the head denoises with it."""
        return cast(LibraryField, self.head.get_submodule("field"))

    def inputs(self, observation: Observation) -> dict[str, Any]:
        """An observation as LeRobot's recordings have it: images `[B, 3, S, S]` in [0, 1], state, instruction."""
        images = dict(zip(self.spec.cameras, camera_images(observation, self.spec), strict=True))
        named = {
            f"observation.images.{name}": images[camera].permute(0, 3, 1, 2).float() / 255
            for name, camera in self._cameras.items()
        }
        proprio = as_tensor(observation.proprio.astype(np.float32))
        return {**named, "observation.state": proprio, "task": conditioned_sentences(observation)}

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The adapters that change the prefix. What is not an adapter is never trained."""
        return self.field.prefix_parameters()

    def trained_tensors(self) -> dict[str, Tensor]:
        """All that differs from the checkpoint: the adapters, the exploration scale, the start of greedy chains."""
        own = {name: self.head.get_buffer(name) for name in ("exploration_scale", "greedy_start")}
        return {**self.field.adapter_parameters(), **own}

    def _spec(self) -> Spec:
        """What the checkpoint says of itself, in the terms in which an environment is described."""
        checkpoint, ours = self.checkpoint, Spec()
        used = tuple(self._cameras.values())
        size = min((shape[1] for shape in checkpoint.cameras.values()), default=ours.image_size)
        return Spec(
            action_dim=checkpoint.action_dim,
            control_rate_hz=self.config.control_rate_hz,
            proprio=ours.proprio if checkpoint.state_dim == PROPRIO_DIM else f"{checkpoint.state_dim} numbers",
            # A policy that looks through fewer cameras than there are does without the others.
            cameras=ours.cameras if set(used) <= set(ours.cameras) else used,
            image_size=self.config.image_size or size,
            image_orientation=self.config.image_orientation,
        )
