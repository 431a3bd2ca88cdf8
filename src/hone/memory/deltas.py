"""Weight deltas: what practice on one task added to the weights it started from. Pure functions on named tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]
"""Parameters by name."""

MAX_RELATIVE_NORM = 1.0
"""A delta longer than the weights it is added to is no adaptation. Runs have moved the head by 1 to 2 % of its norm."""


@runtime_checkable
class Adaptable(Protocol):
    """What the memory needs of a policy: its parameters by name, and which of them practice changes."""

    features_version: int

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]: ...

    def trainable_parameters(self) -> Iterable[nn.Parameter]: ...


def weights_of(policy: Adaptable) -> dict[str, Tensor]:
    """A copy of all parameters, to tell later what practice added. Take it before a warm start is applied."""
    return {name: parameter.detach().cpu().clone() for name, parameter in policy.named_parameters()}


def trained_names(policy: Adaptable) -> list[str]:
    """The parameters that practice changes, which are those a delta has."""
    trained = {id(parameter) for parameter in policy.trainable_parameters()}
    return [name for name, parameter in policy.named_parameters() if id(parameter) in trained]


def base_key(base: Weights, encoder: str) -> str:
    """Hash of the weights a delta is relative to and of the text encoder that made its embedding.

    Deltas add up only from one shared initialisation, and embeddings compare only within one encoder. Buffers (the
    scale of exploration, say) are not weights and do not count.
    """
    digest = hashlib.sha256(encoder.encode())
    for name in sorted(base):
        tensor = base[name].detach().cpu()
        digest.update(f"\0{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def difference(policy: Adaptable, base: Weights) -> dict[str, Tensor]:
    """What practice added to each trained parameter."""
    names = set(trained_names(policy))
    return {
        name: parameter.detach().cpu() - base[name] for name, parameter in policy.named_parameters() if name in names
    }


def add_to(policy: Adaptable, delta: Weights) -> None:
    """Add `delta` to the policy's weights in place; stored features of the policy are stale afterwards."""
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if name in delta:
                parameter.add_(delta[name].to(parameter))
    policy.features_version += 1


def weighted_mean(deltas: Sequence[Weights], weights: Sequence[float]) -> dict[str, Tensor]:
    """`sum_j w_j delta_j`, tensor by tensor, for deltas of the same parameters; the weights sum to one."""
    assert abs(sum(weights) - 1) < 1e-6, f"weights {weights} do not sum to one"
    return {
        name: torch.stack([weight * delta[name] for weight, delta in zip(weights, deltas, strict=True)]).sum(0)
        for name in deltas[0]
    }


def fault_in(delta: Weights, weights: Weights) -> str | None:
    """Why `delta` must not be added to these weights, or `None` if it may."""
    missing, unknown = sorted(set(weights) - set(delta)), sorted(set(delta) - set(weights))
    if missing or unknown:
        lacks = f"lacks {missing[0]}" if missing else f"has {unknown[0]}"
        return f"it {lacks}: it was made by another policy, or with other parameters trained"
    for name, tensor in delta.items():
        if tensor.shape != weights[name].shape:
            return f"{name} has shape {list(tensor.shape)}, not {list(weights[name].shape)}"
        if not torch.isfinite(tensor).all():
            return f"{name} holds numbers that are not finite"
    length, bound = _norm(delta), MAX_RELATIVE_NORM * _norm(weights)
    if not length <= bound:
        return f"its norm is {length:.3g}, more than the {bound:.3g} of the weights it would change"
    return None


def _norm(weights: Weights) -> float:
    return float(torch.stack([tensor.double().square().sum() for tensor in weights.values()]).sum().sqrt())
