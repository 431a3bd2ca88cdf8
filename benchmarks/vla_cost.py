"""What a GRPO step costs at SmolVLA's size, with random weights: counted without a GPU, measured on one.

The network is the library's at the sizes of lerobot/smolvla_base. On the device `meta` nothing is computed: every
operation is counted as it would run (FLOPs by torch's own counter), and so is every byte that the backward pass keeps.
On `cuda` or `cpu` the same step is timed, and its peak of memory read.

    python benchmarks/vla_cost.py                              # counts
    python benchmarks/vla_cost.py --device cuda --bfloat16     # seconds and GiB
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.fx.experimental._config
from torch.utils.flop_counter import FlopCounterMode

from hone.policies.adapters import add_adapters
from hone.policies.base import Features
from hone.policies.lerobot_families import FAMILIES
from hone.policies.lerobot_field import LibraryField

TEXT = {
    "model_type": "llama",
    "hidden_size": 960,
    "intermediate_size": 2560,
    "num_hidden_layers": 32,
    "num_attention_heads": 15,
    "num_key_value_heads": 5,
    "head_dim": 64,
    "vocab_size": 49280,
}
VISION = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 512, "patch_size": 16,
          "intermediate_size": 3072}  # fmt: skip
"""SmolVLM2-500M, the backbone; SmolVLA uses the first 16 of its layers."""
IMAGES, WORDS, LORA_RANK = 2, 48, 16


def build(device: str, rows_at_once: int, bfloat16: bool) -> LibraryField:
    """SmolVLA with adapters on `device`, weights random (none at all on `meta`)."""
    from lerobot.policies.smolvla import SmolVLAConfig, SmolVLAPolicy, smolvlm_with_expert
    from transformers import SmolVLMConfig

    backbone = SmolVLMConfig(text_config=TEXT, vision_config=VISION, scale_factor=4)
    tokenizer = SimpleNamespace(fake_image_token_id=1, global_image_token_id=2)
    config = SmolVLAConfig(device="cpu", **features())
    with (
        torch.device(device),
        contextlib.redirect_stdout(io.StringIO()),
        mock.patch.object(smolvlm_with_expert.AutoConfig, "from_pretrained", return_value=backbone),
        mock.patch.object(
            smolvlm_with_expert.AutoProcessor, "from_pretrained", return_value=SimpleNamespace(tokenizer=tokenizer)
        ),
    ):
        policy = SmolVLAPolicy(config)
    if bfloat16:
        for name, weight in policy.named_parameters():
            if "_with_expert." in name:
                weight.data = weight.data.bfloat16()
    with torch.device(device):
        adapted = add_adapters(policy, LORA_RANK, policy._get_default_peft_targets()["target_modules"])
    return LibraryField(adapted, FAMILIES["smolvla"], rows_at_once=rows_at_once, bfloat16=bfloat16).to(device).eval()


def features() -> dict[str, Any]:
    from lerobot.configs.types import FeatureType, PolicyFeature

    image = PolicyFeature(type=FeatureType.VISUAL, shape=(3, 256, 256))
    return {
        "input_features": {
            "observation.images.image": image,
            "observation.images.image2": image,
            "observation.state": PolicyFeature(type=FeatureType.STATE, shape=(8,)),
        },
        "output_features": {"action": PolicyFeature(type=FeatureType.ACTION, shape=(7,))},
    }


def batch_of(decisions: int, device: str) -> dict[str, torch.Tensor]:
    """What the checkpoint's processor would give for so many decisions."""
    ones = torch.ones(decisions, WORDS, dtype=torch.long, device=device)
    pictures = {
        f"observation.images.{name}": torch.zeros(decisions, 3, 512, 512, device=device) for name in ("image", "image2")
    }
    return {
        **pictures,
        "observation.state": torch.zeros(decisions, 8, device=device),
        "observation.language.tokens": ones,
        "observation.language.attention_mask": ones.bool(),
    }


def denoised(field: LibraryField, features: Features, steps: int) -> torch.Tensor:
    """The field at every step of every decision's chain, which is what its log-probability needs."""
    config = field.library.config
    rows, device = len(features), features.tokens.device
    x = torch.zeros(rows * steps, config.chunk_size, config.max_action_dim, device=device)
    given = features[torch.arange(rows, device=device).repeat_interleave(steps)]
    return field(x, torch.zeros(rows * steps, device=device), given)


class Kept:
    """Bytes that the backward pass keeps: the distinct storages saved, parameters left out."""

    def __init__(self, field: LibraryField) -> None:
        self.bytes = 0
        self._seen = {id(parameter.untyped_storage()) for parameter in field.parameters()}
        self._alive: list[Any] = []

    def save(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in self._seen and not isinstance(tensor, torch.nn.Parameter):
            self._seen.add(id(storage))
            self._alive.append(storage)
            self.bytes += storage.nbytes()
        return tensor


def counted(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` gives, and its FLOPs (a multiplication and an addition are two)."""
    with FlopCounterMode(display=False) as counter:
        done = work()
    return done, float(counter.get_total_flops())


def count(field: LibraryField, decisions: int, steps: int) -> dict[str, Any]:
    """FLOPs and kept bytes. The library selects the real patches of a picture, which are all of them."""
    torch.fx.experimental._config.meta_nonzero_assume_all_nonzero = True
    with torch.no_grad():
        prefix, prefix_flops = counted(lambda: field.prefix(batch_of(decisions, "meta")))
        _, forward_flops = counted(lambda: denoised(field, prefix, steps))
    kept = Kept(field)
    with torch.autograd.graph.saved_tensors_hooks(kept.save, lambda tensor: tensor):
        _, step_flops = counted(lambda: denoised(field, prefix, steps).sum().backward())
    return {
        "prefix_tokens": prefix.tokens.shape[1],
        "feature_bytes_a_decision": prefix.tokens[:1].numel() * prefix.tokens.element_size(),
        "tflop_prefix_a_decision": prefix_flops / decisions / 1e12,
        "tflop_denoising_a_decision": forward_flops / decisions / 1e12,
        "tflop_log_prob_and_gradient_a_decision": step_flops / decisions / 1e12,
        "kept_gib": kept.bytes / 2**30,
    }


def measure(field: LibraryField, decisions: int, steps: int, device: str) -> dict[str, Any]:
    """Seconds of collecting and of one optimizer step, and the peak of memory, after one step to warm up."""
    optimizer = torch.optim.AdamW([p for p in field.parameters() if p.requires_grad], lr=1e-5)
    seconds: dict[str, float] = {}
    for _ in range(2):
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        with torch.no_grad():
            prefix = field.prefix(batch_of(decisions, device))
            for _ in range(steps):
                denoised(field, prefix, 1)
            _wait(device)
        seconds["collect"] = time.perf_counter() - started
        started = time.perf_counter()
        denoised(field, prefix, steps).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        _wait(device)
        seconds["update"] = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    return {"collect_s": seconds["collect"], "update_s": seconds["update"], "peak_gib": peak}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="meta")
    parser.add_argument("--decisions", type=int, default=8, help="decisions of one micro-batch")
    parser.add_argument("--steps", type=int, default=10, help="denoising steps that have a density")
    parser.add_argument("--rows-at-once", type=int, default=0, help="gradient checkpointing; 0: off")
    parser.add_argument("--bfloat16", action="store_true")
    chosen = parser.parse_args()
    field = build(chosen.device, chosen.rows_at_once, chosen.bfloat16)
    adapters = field.adapter_parameters()
    row = {
        **vars(chosen),
        "parameters": sum(p.numel() for n, p in field.named_parameters() if n.removeprefix("adapted.") not in adapters),
        "adapters": sum(p.numel() for p in adapters.values()),
        "weight_gib": sum(p.numel() * p.element_size() for p in field.parameters()) / 2**30,
    }
    if chosen.device == "meta":
        row |= count(field, chosen.decisions, chosen.steps)
    else:
        row |= measure(field, chosen.decisions, chosen.steps, chosen.device)
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
