"""How each LeRobot flow policy is taken apart: what its vision-language model makes of an observation, and one step.

The arithmetic is the library's own (`embed_prefix`, the transformer's forward pass, `denoise_step`, as in lerobot
0.6.1); here it is only called in two parts, so that the first is done once for all candidates and denoising steps.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hone.errors import unknown_name


@dataclass(frozen=True)
class Prefix:
    """Keys and values of every layer over the prefix, `cache.layers[i].keys [B, heads, L, d]`; which of its tokens are
    real, `mask [B, L]`; the normalised and padded `state [B, S]`."""

    cache: Any
    mask: Tensor
    state: Tensor


@runtime_checkable
class Family(Protocol):
    """One kind of checkpoint. `model` is the network inside the library's policy."""

    @property
    def steps_field(self) -> str: ...

    """Name of the checkpoint's setting for the number of denoising steps."""

    def in_prefix(self, parameter: str) -> bool:
        """Whether a parameter of this name, as the library's policy has it, is used for the prefix."""
        ...

    def prefix(self, policy: Any, batch: Mapping[str, Any]) -> Prefix: ...

    def velocity(self, policy: Any, prefix: Prefix, x: Tensor, time: Tensor) -> Tensor:
        """The library's velocity, whose time runs from 1 (noise) to 0 (actions)."""
        ...


class SmolVLA:
    """SmolVLA (arXiv:2506.01844): the state is a token of the prefix; every layer's cache is read by the expert."""

    steps_field = "num_steps"

    def in_prefix(self, parameter: str) -> bool:
        return "vlm_with_expert.vlm." in parameter or "state_proj" in parameter

    def prefix(self, policy: Any, batch: Mapping[str, Any]) -> Prefix:
        from lerobot.policies.common.vla_utils import make_att_2d_masks

        images, image_masks = policy.prepare_images(batch)
        state = policy.prepare_state(batch)
        embedded, mask, attention = policy.model.embed_prefix(images, image_masks, *language(batch), state=state)
        _, cache = policy.model.vlm_with_expert.forward(
            attention_mask=make_att_2d_masks(mask, attention),
            position_ids=mask.cumsum(1) - 1,
            past_key_values=None,
            inputs_embeds=[embedded, None],
            use_cache=True,
        )
        return Prefix(cache, mask, state)

    def velocity(self, policy: Any, prefix: Prefix, x: Tensor, time: Tensor) -> Tensor:
        return policy.model.denoise_step(
            prefix_pad_masks=prefix.mask, past_key_values=prefix.cache, x_t=x, timestep=time
        )


@dataclass(frozen=True)
class PaliGemmaFlow:
    """pi-zero (arXiv:2410.24164), whose state goes to the expert, and pi-0.5 (arXiv:2504.16054), whose state is
    written into the prompt by the checkpoint's own processor."""

    state_in_suffix: bool
    steps_field: str = "num_inference_steps"

    def in_prefix(self, parameter: str) -> bool:
        return "paligemma_with_expert.paligemma." in parameter

    def prefix(self, policy: Any, batch: Mapping[str, Any]) -> Prefix:
        from lerobot.policies.common.vla_utils import make_att_2d_masks, prepare_attention_masks_4d

        images, image_masks = policy._preprocess_images(batch)
        embedded, mask, attention = policy.model.embed_prefix(images, image_masks, *language(batch))
        transformer = policy.model.paligemma_with_expert
        # The additive mask is made for this implementation, which the library too chooses here.
        transformer.paligemma.model.language_model.config._attn_implementation = "eager"
        _, cache = transformer.forward(
            attention_mask=prepare_attention_masks_4d(make_att_2d_masks(mask, attention)),
            position_ids=mask.cumsum(1) - 1,
            past_key_values=None,
            inputs_embeds=[embedded, None],
            use_cache=True,
        )
        return Prefix(cache, mask, _padded_state(policy, batch))

    def velocity(self, policy: Any, prefix: Prefix, x: Tensor, time: Tensor) -> Tensor:
        state = {"state": prefix.state} if self.state_in_suffix else {}
        return policy.model.denoise_step(
            prefix_pad_masks=prefix.mask, past_key_values=prefix.cache, x_t=x, timestep=time, **state
        )


FAMILIES: dict[str, Family] = {
    "smolvla": SmolVLA(),
    "pi0": PaliGemmaFlow(state_in_suffix=True),
    "pi05": PaliGemmaFlow(state_in_suffix=False),
}
"""By the `type` in a checkpoint's config.json."""


def family_of(kind: str) -> Family:
    if kind not in FAMILIES:
        raise unknown_name("kind of LeRobot policy that Hone can run", kind, FAMILIES)
    return FAMILIES[kind]


def language(batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The prompt's tokens and which of them are real, `[B, L]` both."""
    return batch["observation.language.tokens"], batch["observation.language.attention_mask"].bool()


def _padded_state(policy: Any, batch: Mapping[str, Any]) -> Tensor:
    from lerobot.policies.common.vla_utils import pad_vector

    return pad_vector(batch["observation.state"], policy.config.max_state_dim).to(torch.float32)
