"""The state of an optimizer as a flat dictionary of tensors, so that it can be kept without pickle."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hone.errors import HoneError


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of the optimizer's tensors, named `<parameter number>.<name>`. Empty before the first step."""
    return {
        f"{number}.{name}": value.detach().clone()
        for number, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put an optimizer over the same parameters back into the state that `flatten_optimizer` gave."""
    parameters = _parameters(optimizer)
    optimizer.state.clear()
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        if int(number) >= len(parameters) or (value.dim() and value.shape != parameters[int(number)].shape):
            raise HoneError(
                f"optimizer state '{key}' of shape {tuple(value.shape)} does not fit the policy's trainable "
                "parameters; resume with the same policy and the same frozen parts, or start a new run."
            )
        optimizer.state[parameters[int(number)]][name] = value.clone()
