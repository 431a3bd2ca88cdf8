"""A small flow-matching transformer with the shape of SmolVLA and pi-zero, initialised at random.

It keeps the contracts honest for decoders of many steps: image patches, words and the robot's state become prefix
tokens; an action expert attends to them and is the velocity of a `FlowHead`. Loading pretrained weights is another
file's business.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hone.errors import HoneError
from hone.language.encoder import words_of
from hone.policies.base import Features
from hone.policies.heads.base import ChunkSpace
from hone.policies.heads.field import Field, time_embedding
from hone.policies.heads.flow import FlowHead
from hone.policies.inputs import PROPRIO_FEATURES, PROPRIO_FLOORS, Normalizer, proprio_features
from hone.policies.learned import Augmentation, LearnedPolicy
from hone.policies.observations import as_tensor, camera_images, conditioned_sentences, jittered, random_shift
from hone.policies.pretrained import build_config, seeded_initialisation
from hone.specs import Spec
from hone.types import Observation


@dataclass(frozen=True)
class FlowPolicyConfig:
    """Shape of a `FlowPolicy`."""

    chunk_length: int = 8
    """H, the number of actions decided at one look."""
    cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")
    """Cameras in the order in which the observation stacks them."""
    image_size: int = 84
    """Side of the square images in pixels."""
    patch: int = 14
    """Side of an image patch in pixels; each patch is one token."""
    width: int = 64
    """Width of every token."""
    attention_heads: int = 4
    """Attention heads per layer."""
    prefix_layers: int = 2
    """Transformer layers over the prefix."""
    expert_layers: int = 2
    """Transformer layers of the action expert, each with self-attention and attention to the prefix."""
    vocabulary: int = 1024
    """Word embeddings; words are hashed into them."""
    max_words: int = 32
    """Longest instruction (hint included); more words are cut."""
    denoising_steps: int = 4
    """Euler steps from noise to chunk."""
    exploration: float = 0.1
    """Initial noise scale: what the sampler injects over the whole chain has this standard deviation, in action
    units."""

    def __post_init__(self) -> None:
        if self.chunk_length < 1 or self.denoising_steps < 1 or self.prefix_layers < 1 or self.expert_layers < 1:
            raise HoneError("chunk_length, denoising_steps, prefix_layers and expert_layers must be at least 1.")
        if self.patch < 1 or self.image_size % self.patch:
            raise HoneError(f"image_size {self.image_size} is not a multiple of patch {self.patch}.")
        if self.width % (2 * self.attention_heads):
            raise HoneError(f"width {self.width} must be a multiple of 2 x attention_heads ({self.attention_heads}).")

    @property
    def spec(self) -> Spec:
        return Spec(cameras=self.cameras, image_size=self.image_size)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str) -> FlowPolicyConfig:
        return build_config(cls, data, where)

    def build(self, seed: int = 0) -> FlowPolicy:
        return FlowPolicy(self, seed)


class FlowPolicy(LearnedPolicy[FlowPolicyConfig]):
    """Prefix tokens `[patches of each camera, words, state]` through a bidirectional transformer; `FlowHead`
    decodes them.

    `Features.tokens` are the prefix, `Features.pooled` their masked mean.
    """

    name: ClassVar[str] = "flow"
    config_class = FlowPolicyConfig

    def __init__(self, config: FlowPolicyConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.spec = config.spec
        self.chunk_length = config.chunk_length
        num_patches = (config.image_size // config.patch) ** 2
        with seeded_initialisation(seed):
            self.normalizer = Normalizer(PROPRIO_FLOORS)
            self.patches = nn.Conv2d(3, config.width, config.patch, stride=config.patch)
            self.patch_position = nn.Parameter(torch.randn(len(config.cameras), num_patches, config.width) * 0.02)
            self.words = nn.Embedding(config.vocabulary, config.width, padding_idx=0)
            self.word_position = nn.Parameter(torch.randn(config.max_words, config.width) * 0.02)
            self.state = nn.Linear(PROPRIO_FEATURES, config.width)
            layer = nn.TransformerEncoderLayer(
                config.width,
                config.attention_heads,
                4 * config.width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            self.prefix = nn.TransformerEncoder(layer, config.prefix_layers, enable_nested_tensor=False)
            space = ChunkSpace(config.chunk_length, self.spec.action_dim, self.spec.action_low, self.spec.action_high)
            self.head = FlowHead(
                ActionExpert(config, space.action_dim),
                space,
                steps=config.denoising_steps,
                chain="flow_noise",
                exploration=config.exploration,
            )

    def encode(
        self,
        observation: Observation,
        *,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> Features:
        augmentation = augmentation or Augmentation()
        proprio = as_tensor(observation.proprio, self.device)
        state = jittered(self.normalizer(proprio_features(proprio)), augmentation.jitter, generator)
        tokens = []
        for camera, images in enumerate(camera_images(observation, self.spec)):
            images = random_shift(images, augmentation.image_shift, generator).to(self.device)
            pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
            tokens.append(self.patches(pixels).flatten(2).mT + self.patch_position[camera])
        words = word_ids(conditioned_sentences(observation), self.config.vocabulary, self.config.max_words)
        words = words.to(self.device)
        tokens += [self.words(words) + self.word_position[: words.shape[1]], self.state(state)[:, None]]
        prefix = torch.cat(tokens, dim=1)
        mask = torch.ones(prefix.shape[:2], dtype=torch.bool, device=self.device)
        mask[:, -1 - words.shape[1] : -1] = words > 0
        prefix = self.prefix(prefix, src_key_padding_mask=~mask)
        weights = mask.to(prefix.dtype)[..., None]
        pooled = (prefix * weights).sum(1) / weights.sum(1)
        return Features(prefix, mask, pooled, self.features_version)

    def fit_normalization(self, observation: Observation) -> None:
        self.normalizer.fit(proprio_features(as_tensor(observation.proprio, self.device)))


class ActionExpert(Field):
    """A transformer over the noisy chunk, one token per action, which attends to the prefix."""

    def __init__(self, config: FlowPolicyConfig, action_dim: int) -> None:
        super().__init__()
        width = config.width
        self.action_in = nn.Linear(action_dim, width)
        self.position = nn.Parameter(torch.randn(config.chunk_length, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        layer = nn.TransformerDecoderLayer(
            width,
            config.attention_heads,
            4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.expert = nn.TransformerDecoder(layer, config.expert_layers, norm=nn.LayerNorm(width))
        self.action_out = nn.Linear(width, action_dim)

    def condition(self, features: Features) -> Features:
        return features

    def forward(
        self, x: Float[Tensor, "N H A"], time: Float[Tensor, " N"] | None, given: Features
    ) -> Float[Tensor, "N H A"]:
        assert time is not None, "the expert is told the time"
        embedded_time = self.time(time_embedding(time, self.position.shape[-1]))
        embedded = self.action_in(x) + self.position + embedded_time[:, None]
        return self.action_out(self.expert(embedded, given.tokens, memory_key_padding_mask=~given.mask))


def word_ids(sentences: Sequence[str], vocabulary: int, max_words: int) -> Int64[Tensor, "B L"]:
    """Hashed word ids in [1, vocabulary), zero-padded to `max_words`, so that a row does not depend on its
    neighbours."""
    ids = torch.zeros(len(sentences), max_words, dtype=torch.int64)
    for row, sentence in enumerate(sentences):
        for column, word in enumerate(words_of(sentence)[:max_words]):
            ids[row, column] = 1 + zlib.crc32(word.encode()) % (vocabulary - 1)
    return ids
