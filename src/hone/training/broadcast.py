"""What to send so that a copy of a policy becomes the present one: only the tensors that changed since its version."""

from __future__ import annotations

from typing import Any

import safetensors.torch
import torch
from torch import Tensor


class Versions:
    """The tensors of a policy, and for each of them the version at which it last changed.

    Version 0 is the policy as it was given. A black box has no tensors and stays at version 0. Keeps one copy of all
    tensors on the CPU to compare with.
    """

    def __init__(self, policy: Any) -> None:
        self.version = 0
        self._tensors = {name: tensor.clone() for name, tensor in tensors_of(policy).items()}
        self._changed_at = dict.fromkeys(self._tensors, 0)

    def update(self, policy: Any) -> None:
        """Take over the policy's tensors; counts one version up if any of them changed."""
        present = tensors_of(policy)
        changed = [name for name, tensor in present.items() if not torch.equal(tensor, self._tensors[name])]
        if changed:
            self.version += 1
        for name in changed:
            self._tensors[name] = present[name].clone()
            self._changed_at[name] = self.version

    def since(self, version: int) -> dict[str, Tensor]:
        """What a copy at `version` lacks."""
        return {name: tensor for name, tensor in self._tensors.items() if self._changed_at[name] > version}


def tensors_of(policy: Any) -> dict[str, Tensor]:
    """On the CPU, by name; a black box has none."""
    if not isinstance(policy, torch.nn.Module):
        return {}
    return {name: tensor.detach().cpu() for name, tensor in policy.state_dict().items()}


def to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Each is copied first, since the format refuses tensors that share memory, as tied embeddings do."""
    copies = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return safetensors.torch.save(copies)


def load_into(policy: Any, message: bytes) -> None:
    """Overwrite the policy's tensors that are in the message, if it has any."""
    if not isinstance(policy, torch.nn.Module):
        return
    unknown = policy.load_state_dict(safetensors.torch.load(message), strict=False).unexpected_keys
    assert not unknown, f"tensors that the policy does not have: {unknown}"
