"""The built-in policy: small enough to clone and improve on one CPU core in minutes.

It reads two small camera images (or, in its privileged variant, object poses), proprioception and the instruction, and
decodes a chunk of actions. See docs/algorithms/small_policy.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
import tyro
from jaxtyping import Float
from torch import Tensor, nn

from hone.errors import HoneError, unknown_name
from hone.language.encoder import build_text_encoder
from hone.policies.base import Features
from hone.policies.camera import CameraEncoder
from hone.policies.heads import HEADS, ChunkSpace, DCTHeadConfig, HeadConfig
from hone.policies.heads.steered_noise import SteeredNoiseHead
from hone.policies.inputs import (
    OBJECT_LAYOUTS,
    Normalizer,
    object_features,
    proprio_features,
    proprio_floors,
    state_floors,
)
from hone.policies.learned import Augmentation, LearnedPolicy
from hone.policies.observations import (
    as_tensor,
    camera_images,
    conditioned_sentences,
    hint_clauses,
    jittered,
    random_shift,
)
from hone.policies.pretrained import build_config, seeded_initialisation
from hone.specs import Spec, vector_width
from hone.types import Observation


@dataclass(frozen=True)
class SmallPolicyConfig:
    """Shape of a `SmallPolicy`."""

    inputs: Literal["images", "state"] = "images"
    """`images`: the cameras. `state`: privileged object tokens ("objects_v1") instead, for fast experiments."""
    chunk_length: int = 8
    """H, the number of actions decided at one look."""
    past_length: int = 0
    """Past actions that are decoded in front of them (past-token prediction). Never executed: they are what a candidate
    takes to have happened, and can be compared with what did."""
    cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")
    """Cameras in the order in which the observation stacks them."""
    image_size: int = 84
    """Side of the square images in pixels."""
    channels: int = 64
    """Width of the camera encoder's convolutions; twice as many keypoint coordinates come out."""
    camera_dim: int = 128
    """Layout features per camera, beside the keypoints."""
    text_encoder: str = "hashed-ngrams-256"
    """Name of the sentence encoder, see `hone.language.encoder`."""
    text_dim: int = 64
    """Features the instruction is projected to; they modulate the cameras and enter the head."""
    follows_hints: bool = False
    """Give hints a block of features of their own, which is zero without a hint. Otherwise a hint is appended to the
    instruction, as any extra sentence is."""
    hint_dim: int = 64
    """Width of that block."""
    head: HeadConfig = field(default_factory=DCTHeadConfig)
    """The action decoder."""
    steer_noise: bool = False
    """Freeze the decoder and learn where it starts from instead (`steered`). For practice, not for cloning."""
    robot: Annotated[Spec, tyro.conf.Suppress] = field(default_factory=Spec)
    """What actions and proprioception mean: LIBERO's, or another environment's (`fitted_to`)."""
    state_tokens: str = "objects_v1"
    """Layout of the privileged state that `inputs="state"` reads: `objects_v1`, the first two objects of interest where
    they are movable, or `objects_v2`, the first four whatever they are and how far drawers, doors and knobs are open.
    Another environment's own comes in its place."""

    def __post_init__(self) -> None:
        if self.inputs not in ("images", "state"):
            raise HoneError(f"inputs is {self.inputs!r}; use 'images' or 'state'.")
        for name in ("chunk_length", "image_size", "channels", "camera_dim", "text_dim", "hint_dim"):
            if getattr(self, name) < 1:
                raise HoneError(f"{name} is {getattr(self, name)}, but it must be at least 1.")
        if self.past_length < 0:
            raise HoneError(f"past_length is {self.past_length}, but it must not be negative.")
        if self.inputs == "images" and not self.cameras:
            raise HoneError("an image policy needs at least one camera; name one, or use inputs='state'.")

    @property
    def spec(self) -> Spec:
        """The conventions the policy is trained with."""
        if self.inputs == "state":
            return replace(self.robot, cameras=(), image_size=self.image_size, state_tokens=self.state_tokens)
        return replace(self.robot, cameras=self.cameras, image_size=self.image_size)

    def fitted_to(self, environment: Spec) -> SmallPolicyConfig:
        """This policy for the robot of an environment (or of a data set), looking through its cameras or at its
        state."""
        head = self.head.for_actions(environment.action_dim) if isinstance(self.head, DCTHeadConfig) else self.head
        if self.inputs == "state":
            if environment.state_tokens == "none" and vector_width(environment.proprio) is not None:
                raise HoneError("this environment declares no state; name its keys with --env.state, or use images.")
            known = environment.state_tokens if environment.state_tokens != "none" else self.state_tokens
            return replace(self, head=head, robot=environment.robot, state_tokens=known)
        if not environment.cameras:
            raise HoneError("there are no pictures to learn from; use --network.inputs state, or give pictures.")
        return replace(self, head=head, robot=environment.robot, cameras=environment.cameras)

    def build(self, seed: int = 0) -> SmallPolicy:
        return SmallPolicy(self, seed)

    def to_json(self) -> dict[str, Any]:
        head_name = next(name for name, kind in HEADS.items() if isinstance(self.head, kind))
        return {**asdict(self), "head": {"name": head_name, **asdict(self.head)}}

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str) -> SmallPolicyConfig:
        head = dict(data.get("head", {}))
        head_name = str(head.pop("name", None))
        if head_name not in HEADS:
            raise unknown_name(f"head in {where}", head_name, HEADS)
        if "predicts" in {field.name for field in fields(HEADS[head_name])} - head.keys():
            raise HoneError(
                f"{where} does not say what its {head_name} head predicts: it was saved by an older Hone. Clone it "
                'again, or add "predicts": "velocity" (flow), "gradient" (eqm) or "preconditioned" (score, hybrid).'
            )
        built: dict[str, Any] = {"head": build_config(HEADS[head_name], head, f"the head in {where}")}
        if "robot" in data:
            built["robot"] = build_config(Spec, dict(data["robot"]), f"the robot in {where}")
        return build_config(cls, {**data, **built}, where)


class SmallPolicy(LearnedPolicy[SmallPolicyConfig]):
    """Camera encoders (or object features), proprioception and instruction, concatenated; then the head.

    `Features.pooled` is that concatenation; there are no tokens (`L = 0`). The head holds the trunk, so freezing the
    encoder (`train_encoder = False`) freezes what turns pixels into numbers and nothing after.

    With `follows_hints` the last `hint_dim` features are the hint's and nothing else depends on it: the same features
    with a block of zeros are those of the observation without its hint (`with_hints`).
    """

    name: ClassVar[str] = "small"
    config_class = SmallPolicyConfig

    def __init__(self, config: SmallPolicyConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.spec = config.spec
        self.chunk_length, self.past_length = config.chunk_length, config.past_length
        self._text_encoder = build_text_encoder(config.text_encoder)
        floors = proprio_floors(self.spec) + (state_floors(self.spec) if config.inputs == "state" else ())
        with seeded_initialisation(seed):
            self.normalizer = Normalizer(floors)
            self.text = nn.Sequential(nn.Linear(self._text_encoder.dim, config.text_dim), nn.SiLU())
            self.cameras = nn.ModuleList(
                CameraEncoder(config.image_size, config.channels, config.text_dim, config.camera_dim)
                for _ in self.spec.cameras
            )
            in_dim = len(floors) + config.text_dim + len(self.cameras) * (2 * config.channels + config.camera_dim)
            if config.follows_hints:
                # Without bias, so that no hint (a vector of zeros) gives a block of zeros.
                self.hint = nn.Sequential(nn.Linear(self._text_encoder.dim, config.hint_dim, bias=False), nn.SiLU())
                in_dim += config.hint_dim
            length = config.past_length + config.chunk_length
            space = ChunkSpace(length, self.spec.action_dim, self.spec.action_low, self.spec.action_high)
            self.head = config.head.build(in_dim, space)
            if config.steer_noise:
                self.head = SteeredNoiseHead(self.head, in_dim)

    def encode(
        self,
        observation: Observation,
        *,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> Features:
        augmentation = augmentation or Augmentation()
        vector = jittered(self.normalizer(self._vector(observation)), augmentation.jitter, generator)
        text = self.text(self._sentences(observation))
        parts = [vector, text]
        for camera, images in zip(self.cameras, camera_images(observation, self.spec), strict=True):
            images = random_shift(images, augmentation.image_shift, generator)
            parts.append(camera(images.to(self.device), text))
        if self.config.follows_hints:
            parts.append(self.hint(self._heard(hint_clauses(observation.hints or ("",) * len(observation)))))
        pooled = torch.cat(parts, dim=-1)
        no_tokens = pooled.new_zeros(len(pooled), 0, pooled.shape[-1])
        no_mask = torch.ones(len(pooled), 0, dtype=torch.bool, device=pooled.device)
        return Features(no_tokens, no_mask, pooled, self.features_version)

    def fit_normalization(self, observation: Observation) -> None:
        self.normalizer.fit(self._vector(observation))

    def _vector(self, observation: Observation) -> Float[Tensor, "B D"]:
        proprio = as_tensor(observation.proprio, self.device)
        plain = vector_width(self.spec.proprio) is not None
        vector = proprio if plain else proprio_features(proprio)
        if not self.privileged:
            return vector
        width = vector_width(self.spec.state_tokens)
        token_width = width or OBJECT_LAYOUTS[self.spec.state_tokens][0]
        if observation.state is None or observation.state.shape[-1] != token_width:
            got = None if observation.state is None else observation.state.shape
            raise HoneError(
                f"a state policy needs {self.spec.state_tokens} [B, M, {token_width}], but observation.state is {got}."
            )
        tokens = as_tensor(observation.state, self.device)
        state = object_features(tokens, proprio[:, :3]) if width is None else tokens.flatten(1)
        return torch.cat([vector, state], dim=-1)

    @property
    def follows_hints(self) -> bool:
        return self.config.follows_hints

    def with_hints(self, features: Features, hints: Sequence[str]) -> Features:
        if not self.config.follows_hints:
            return super().with_hints(features, hints)
        block = self.hint(self._heard(hint_clauses(hints)))
        return replace(features, pooled=torch.cat([features.pooled[:, : -self.config.hint_dim], block], dim=-1))

    def _sentences(self, observation: Observation) -> Float[Tensor, "B E"]:
        if self.config.follows_hints:
            return self._embedded(observation.instructions)
        return self._embedded(conditioned_sentences(observation))

    def _heard(self, clauses: Sequence[Sequence[str]]) -> Float[Tensor, "B E"]:
        """The sum of the clauses' embeddings: a combination never heard is the sum of clauses that were."""
        counts = torch.tensor([len(row) for row in clauses], device=self.device)
        rows = torch.repeat_interleave(torch.arange(len(clauses), device=self.device), counts)
        vectors = self._embedded([clause for row in clauses for clause in row])
        return vectors.new_zeros(len(clauses), vectors.shape[-1]).index_add_(0, rows, vectors)

    def _embedded(self, sentences: Sequence[str]) -> Float[Tensor, "B E"]:
        vectors = as_tensor(self._text_encoder.encode(sentences), self.device)
        return vectors * math.sqrt(vectors.shape[-1])  # components of unit scale


def steered(policy: LearnedPolicy, seed: int = 0) -> SmallPolicy:
    """The same policy with its decoder frozen, and an actor that steers the noise it starts from (`SteeredNoiseHead`).

    Before any practice it acts nearly as before: the actor, drawn from `seed`, begins with small weights.
    """
    if not isinstance(policy, SmallPolicy) or policy.config.steer_noise:
        raise HoneError(
            f"the noise of this '{policy.name}' policy cannot be steered{' twice' if policy.name == 'small' else ''}; "
            "start from a small policy that was cloned with the head flow, eqm or score."
        )
    wrapped = SmallPolicy(replace(policy.config, steer_noise=True), seed)
    weights = {
        f"head.decoder.{name.removeprefix('head.')}" if name.startswith("head.") else name: tensor
        for name, tensor in policy.state_dict().items()
    }
    wrapped.load_state_dict({**wrapped.state_dict(), **weights})
    return wrapped
