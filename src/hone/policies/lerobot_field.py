"""The velocity of a LeRobot flow policy as a `Field`, so that Hone's own chains sample from it and score it."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hone.policies.base import Features
from hone.policies.heads.base import ChunkSpace
from hone.policies.heads.field import Field
from hone.policies.lerobot_families import Family, Prefix, language


@dataclass(frozen=True)
class NetworkSpace(ChunkSpace):
    """The chunks that a library's network denoises: normalised, and padded to more steps and numbers than are executed.

    `executed` steps of `executed_dim` numbers are `explored`; `clamp` turns them into what the robot does, with the
    checkpoint's own `unnormalise`.
    """

    executed: int
    executed_dim: int
    unnormalise: Any

    @property
    def explored(self) -> Bool[Tensor, "H A"]:
        inside = torch.zeros(self.shape, dtype=torch.bool)
        inside[: self.executed, : self.executed_dim] = True
        return inside

    def clamp(self, chunks: Float[Tensor, "*B H A"]) -> Float[Tensor, "*B H2 A2"]:
        kept = chunks[..., : self.executed, : self.executed_dim]
        actions = self.unnormalise(kept.reshape(-1, self.executed_dim)).reshape(kept.shape)
        return actions.clamp(self.low, self.high).to(chunks)


class LibraryField(Field):
    """`v(x, t) = -denoise_step(x, 1 - t)`: the library's time runs from 1 (noise) to 0, ours the other way.

    `adapted` is the library's policy with its adapters. `Features.tokens` hold, for every token of the prefix, the keys
    and values of all layers side by side; `Features.pooled` is the padded state.

    `rows_at_once`: this many rows are evaluated at a time and, where there is a gradient, evaluated again for it
    (gradient checkpointing), so that memory is that of one slice whatever the library's layers keep. 0: all at once.
    """

    def __init__(self, adapted: nn.Module, family: Family, *, rows_at_once: int, bfloat16: bool) -> None:
        super().__init__()
        self.adapted = adapted
        self.family = family
        self.rows_at_once = rows_at_once
        self.in_bfloat16 = bfloat16

    @property
    def library(self) -> Any:
        """The library's policy, whose layers the adapters have been put into."""
        return cast(Any, self.adapted).get_base_model()

    def prefix_parameters(self) -> list[nn.Parameter]:
        """The adapters that change the prefix."""
        return [p for name, p in self.adapter_parameters().items() if self.family.in_prefix(name)]

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.adapted.named_parameters() if ".lora_" in name}

    def prefix(self, batch: Mapping[str, Any]) -> Features:
        """What the vision-language model makes of a batch as the checkpoint's own processor has prepared it."""
        with self._precision():
            prefix = self.family.prefix(self.library, batch)
        tokens, state = pack(prefix.cache), prefix.state.float()
        # Prompts of other batches may be longer; padding at the end is masked, and positions count real tokens only.
        missing = max(0, self.library.config.tokenizer_max_length - language(batch)[0].shape[1])
        return Features(functional.pad(tokens, (0, 0, 0, missing)), functional.pad(prefix.mask, (0, missing)), state)

    def condition(self, features: Features) -> Features:
        return features

    def forward(
        self, x: Float[Tensor, "N H A"], time: Float[Tensor, " N"] | None, given: Features
    ) -> Float[Tensor, "N H A"]:
        assert time is not None, "a flow is told the time"
        rows = (x, time, given.tokens, given.mask, given.pooled)
        if self.rows_at_once == 0:
            return self._velocity(*rows)
        slices = zip(*(part.split(self.rows_at_once) for part in rows), strict=True)
        if not torch.is_grad_enabled():
            return torch.cat([self._velocity(*part) for part in slices])
        return torch.cat([cast(Tensor, checkpoint(self._velocity, *part, use_reentrant=False)) for part in slices])

    def _velocity(self, x: Tensor, time: Tensor, tokens: Tensor, mask: Tensor, state: Tensor) -> Tensor:
        with self._precision():
            prefix = Prefix(unpack(tokens, self.library), mask, state)
            return -self.family.velocity(self.library, prefix, x, 1 - time).float()

    def _precision(self) -> AbstractContextManager[Any]:
        if not self.in_bfloat16:
            return nullcontext()
        return torch.autocast(next(self.parameters()).device.type, torch.bfloat16)


def pack(cache: Any) -> Float[Tensor, "B L D"]:
    """Keys and values of all layers, `[B, heads, L, d]` each, side by side for every token."""
    parts = [part for layer in cache.layers for part in (layer.keys, layer.values)]
    return torch.stack(parts, dim=2).permute(0, 3, 2, 1, 4).flatten(2)


def unpack(tokens: Float[Tensor, "B L D"], library: Any) -> Any:
    """The inverse of `pack`, as a cache that the library can read."""
    from transformers import DynamicCache

    heads, width = _key_shape(library)
    cache = DynamicCache()
    parts = tokens.unflatten(-1, (-1, 2, heads, width)).permute(2, 3, 0, 4, 1, 5)
    for layer, (keys, values) in enumerate(parts):
        cache.update(keys, values, layer)
    return cache


def _key_shape(library: Any) -> tuple[int, int]:
    """Heads of the keys, and their width."""
    model = library.model
    if hasattr(model, "vlm_with_expert"):
        text = model.vlm_with_expert.config.text_config
    else:
        text = model.paligemma_with_expert.paligemma.config.text_config
    return text.num_key_value_heads, text.head_dim
