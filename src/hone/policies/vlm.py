"""Policies in the manner of OpenVLA-OFT: any image-text model of `transformers`, its action read in parallel.

    hone eval --policy vlm:FOLDER --vlm.decoder l1 ...

The model is given the pictures, a sentence and `H x A` empty places; one forward pass fills them (arXiv:2502.19645).
Its `tokens` decoder reads them as words of the language model, `l1` by regression. Trained and saved are low-rank
adapters and the regression. Departures from OpenVLA-OFT: attention is the model's own (causal, in most), not made
bidirectional among the places; no FiLM, no proprioception; the places hold one word of the vocabulary, not zeros.

OpenVLA's own checkpoints bring their own model code, which is not run here: convert them to a class that `transformers`
has. Normalisation is theirs: `norm_stats` in the checkpoint's config.json.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hone.errors import HoneError, unknown_name
from hone.policies.adapters import AdaptedPolicy, add_adapters, device_of
from hone.policies.base import Features
from hone.policies.heads.base import ChunkSpace
from hone.policies.heads.slots import SlotRegressionHead, SlotTokensHead
from hone.policies.learned import Augmentation
from hone.policies.observations import camera_images, conditioned_sentences
from hone.policies.pretrained import build_config, seeded_initialisation
from hone.specs import Orientation, Spec
from hone.types import Observation


@dataclass(frozen=True)
class VLMConfig:
    """How an image-text model is run and trained as a policy."""

    base: str = ""
    """The model, a folder or hub id; given by `--policy vlm:BASE`."""
    decoder: Literal["tokens", "l1"] = "tokens"
    """`tokens`: numbers are words of the vocabulary. `l1`: a regression of the hidden states."""
    chunk_length: int = 8
    """H, the number of actions decided at one look."""
    statistics: str = ""
    """Which of the checkpoint's norm_stats its actions were normalised by; "" where there is but one."""
    open_gripper: Literal["minus_one", "one"] = "minus_one"
    """The number by which the checkpoint opens the gripper: 1 in OpenVLA's recordings of LIBERO, whose closed is 0."""
    prompt: str = "In: What action should the robot take to {instruction}?\nOut:"
    """What is asked; `{instruction}` in lower case."""
    cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")
    """Cameras of the environment, in the order in which the model is shown them."""
    image_size: int = 224
    """Side in pixels of the images given to the checkpoint's processor."""
    image_orientation: Orientation = "rotated_180"
    """How the recordings hold the pictures."""
    bins: int = 256
    """Words that stand for numbers (`tokens`)."""
    hidden_sizes: tuple[int, ...] = (1024, 1024)
    """Widths of the regression's hidden layers (`l1`)."""
    exploration: float = 1.0
    """`tokens`: temperature. `l1`: scale of the noise, in normalised units."""
    lora_rank: int = 32
    """Rank of the adapters."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What is frozen is kept in it, and matrix products are done in it; adapters and regression stay float32."""
    checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them (gradient checkpointing)."""
    device: str = "auto"
    """`cuda`, `cpu`, ...; `auto`: a GPU where there is one."""

    def __post_init__(self) -> None:
        if self.chunk_length < 1 or self.lora_rank < 1 or self.bins < 3:
            raise HoneError("vlm chunk_length and lora_rank must be at least 1, bins at least 3.")
        if "{instruction}" not in self.prompt:
            raise HoneError(f"the prompt '{self.prompt}' has no {{instruction}} in it.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str) -> VLMConfig:
        return build_config(cls, data, where)

    def build(self, seed: int = 0) -> VLMPolicy:
        return VLMPolicy(self, seed)


@dataclass(frozen=True)
class QuantileSpace(ChunkSpace):
    """Chunks in [-1, 1] for the network; `clamp` gives what is executed.

    Numbers that `scaled` names lie at -1 and 1 on the recordings' first and last percentile, `q01` and `q99 [A]`; the
    others are executed as they are. `open_gripper` is what opens the gripper in the last of them.
    """

    q01: Float[Tensor, " A"]
    q99: Float[Tensor, " A"]
    scaled: Tensor
    open_gripper: Literal["minus_one", "one"]

    def clamp(self, chunks: Float[Tensor, "*B H A"]) -> Float[Tensor, "*B H A"]:
        q01, q99, scaled = (part.to(chunks.device) for part in (self.q01, self.q99, self.scaled))
        inside = chunks.clamp(-1, 1)
        actions = torch.where(scaled, (inside + 1) / 2 * (q99 - q01) + q01, chunks)
        if self.open_gripper == "one":  # recorded in [0, 1]: to -1 (open) or 1 (closed)
            actions[..., -1] = torch.where(actions[..., -1] > 0.5, -1.0, 1.0)
        return actions.clamp(self.low, self.high)


class VLMPolicy(AdaptedPolicy[VLMConfig]):
    """`Features.tokens` are the hidden states of the places `[B, H A, D]`, `Features.pooled` their mean."""

    name: ClassVar[str] = "vlm"
    config_class = VLMConfig

    def __init__(self, config: VLMConfig, seed: int = 0) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        super().__init__()
        self.config = config
        self.spec = Spec(
            cameras=config.cameras, image_size=config.image_size, image_orientation=config.image_orientation
        )
        self.chunk_length = config.chunk_length
        frozen = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        try:
            network = AutoModelForImageTextToText.from_pretrained(config.base, dtype=frozen)
            self._processor: Any = AutoProcessor.from_pretrained(config.base)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise HoneError(
                f"'{config.base}' is no image-text model that transformers can load ({reason}). Use vlm:FOLDER or "
                "vlm:USER/NAME with weights, config.json and processor; models with code of their own are not run."
            ) from error
        text = network.config.get_text_config()
        space = quantile_space(config, network.config, self.spec)
        with seeded_initialisation(seed):
            self.network = adapted(network, config.lora_rank)
            if config.decoder == "tokens":
                vocabulary = text.vocab_size - getattr(network.config, "pad_to_multiple_of", 0)
                read = network.get_output_embeddings()
                self.head = SlotTokensHead(_Borrowed(read), vocabulary, space, config.bins, config.exploration)
            else:
                self.head = SlotRegressionHead(text.hidden_size, config.hidden_sizes, space, config.exploration)
        if config.checkpointing:
            network.gradient_checkpointing_enable({"use_reentrant": False})
            network.enable_input_require_grads()
            self.network.train()  # transformers checkpoints only then; nothing is dropped out in such models
        self.to(device_of(config.device))

    def encode(
        self,
        observation: Observation,
        *,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> Features:
        if augmentation not in (None, Augmentation()):
            raise HoneError("this policy does not augment its inputs; clone it without jitter and image shift.")
        batch = self.inputs(observation)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            hidden = self.network(**batch, output_hidden_states=True, use_cache=False).hidden_states[-1]
        places = hidden[:, -self.chunk_length * self.spec.action_dim :]
        mask = torch.ones(places.shape[:2], dtype=torch.bool, device=places.device)
        return Features(places, mask, places.mean(1), self.features_version)

    def inputs(self, observation: Observation) -> dict[str, Tensor]:
        """Pictures and prompts as the model's processor has them, padded on the left, the empty places after them."""
        pictures = [images.numpy() for images in camera_images(observation, self.spec)]
        marker = self._processor.image_token * len(pictures)
        prompts = [
            marker + self.config.prompt.format(instruction=sentence.lower())
            for sentence in conditioned_sentences(observation)
        ]
        batch = self._processor(
            text=prompts,
            images=[[camera[row] for camera in pictures] for row in range(len(observation))],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        ids, mask = batch["input_ids"], batch["attention_mask"]
        places = ids.new_full((len(ids), self.chunk_length * self.spec.action_dim), self._place)
        batch["input_ids"] = torch.cat([ids, places], dim=1)
        batch["attention_mask"] = torch.cat([mask, torch.ones_like(places)], dim=1)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    @property
    def text_encoder_name(self) -> str:
        """What reads the instruction, for the protocol card."""
        return f"transformers {self._processor.__class__.__name__}"

    @property
    def _place(self) -> int:
        """The word that an empty place holds."""
        return self._processor.tokenizer.pad_token_id

    def trained_tensors(self) -> dict[str, Tensor]:
        adapters = {name: p for name, p in self.network.named_parameters() if ".lora_" in name}
        return {**adapters, **{f"head.{name}": tensor for name, tensor in self.head.state_dict(keep_vars=True).items()}}


class _Borrowed(nn.Module):
    """A layer that belongs to another module: used, but neither counted among the head's parameters nor saved."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._layer = [layer]

    def forward(self, hidden: Tensor) -> Tensor:
        layer = self._layer[0]
        return layer(hidden.to(cast(Tensor, layer.weight).dtype))


def adapted(network: Any, rank: int) -> nn.Module:
    """`network` with adapters on the attention of its language model, the rest frozen."""
    return add_adapters(network, rank, r".*(language_model|text_model).*\.(q|k|v|o)_proj")


def quantile_space(config: VLMConfig, network: Any, spec: Spec) -> QuantileSpace:
    """The space of chunks by the statistics in the checkpoint's own configuration."""
    known = getattr(network, "norm_stats", None)
    if not known:
        raise HoneError(f"'{config.base}' has no norm_stats in its config.json; statistics travel with the weights.")
    name = config.statistics or (next(iter(known)) if len(known) == 1 else "")
    if name not in known:
        raise unknown_name(f"statistics of {config.base} (--vlm.statistics)", name, known)
    action = known[name]["action"]
    width = len(action["q01"])
    if width != spec.action_dim:
        raise HoneError(f"the statistics '{name}' are of {width} numbers an action, the environment's actions have "
                        f"{spec.action_dim}.")  # fmt: skip
    return QuantileSpace(
        config.chunk_length,
        spec.action_dim,
        spec.action_low,
        spec.action_high,
        q01=torch.tensor(action["q01"], dtype=torch.float32),
        q99=torch.tensor(action["q99"], dtype=torch.float32),
        scaled=torch.tensor(action.get("mask", [True] * width)),
        open_gripper=config.open_gripper,
    )
