"""Policies on somebody else's network: low-rank adapters put in by `peft`, saved and read without the network."""

# pyright: reportMissingImports=false
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hone.errors import HoneError
from hone.policies.learned import ConfigT, LearnedPolicy
from hone.policies.pretrained import CONFIG_NAME, WEIGHTS_NAME, write_tensors
from hone.types import Observation


class AdaptedPolicy(LearnedPolicy[ConfigT]):
    """A policy whose config names a checkpoint. Its folder holds that config and what was trained, nothing else."""

    keeps_observations = True

    @abstractmethod
    def trained_tensors(self) -> dict[str, Tensor]:
        """All that differs from the checkpoint."""

    def fit_normalization(self, observation: Observation) -> None:
        raise HoneError(f"a {self.name} policy brings its statistics along; they are not fitted anew.")

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json`, which names the checkpoint, and what was trained beside it."""
        write_tensors(Path(folder), self.name, self.config.to_json(), self.trained_tensors())

    def _read(self, folder: Path) -> None:
        read_adapters(folder, self.trained_tensors())

    def __reduce__(self) -> Any:
        raise HoneError(f"a {self.name} policy stays in the process that loaded it; add `--workers 0`.")


def add_adapters(network: Any, rank: int, targets: str) -> nn.Module:
    """`network` with adapters on the layers whose names match `targets`, everything else frozen.

    An adapter is `B A alpha / rank` beside a weight, `alpha = rank`, `B = 0` at first: nothing changes until it learns.
    """
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(network, LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=targets))
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_(".lora_" in name)
        if ".lora_" in name:
            parameter.data = parameter.data.float()
    return adapted


def device_of(wanted: str) -> str:
    """The device named, or for "auto" a GPU where there is one."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


@torch.no_grad()
def read_adapters(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill `tensors` from `folder`; every one must be there with its shape, and no other."""
    path = folder / WEIGHTS_NAME
    try:
        stored = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise HoneError(f"the adapters in {path} cannot be read ({error}); save the policy again.") from error
    wrong = sorted(stored.keys() ^ tensors.keys())
    wrong += [name for name in stored.keys() & tensors.keys() if stored[name].shape != tensors[name].shape]
    if wrong:
        raise HoneError(f"{path} does not fit its {CONFIG_NAME} and checkpoint: {', '.join(wrong[:3])} differ.")
    for name, tensor in tensors.items():
        tensor.copy_(stored[name])
