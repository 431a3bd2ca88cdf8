"""Low-rank adapters on somebody else's network: put in by `peft`, saved and read without the network."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hone.cache import write_atomically
from hone.errors import HoneError
from hone.policies.pretrained import CONFIG_NAME, WEIGHTS_NAME


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


def write_adapters(folder: Path, policy_name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write `config.json` and `model.safetensors`, the second with `tensors` alone."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(folder / WEIGHTS_NAME, safetensors.torch.save(stored))
    document = {"policy": policy_name, "config": dict(config)}
    write_atomically(folder / CONFIG_NAME, (json.dumps(document, indent=2) + "\n").encode())


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
