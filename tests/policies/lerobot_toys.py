"""LeRobot checkpoints of a few thousand random weights: the library's own classes, processors and save path.

Nothing is downloaded: the backbone's configuration, its processor and a tokenizer of single words are made here and
the checkpoint names their folder.
"""

from __future__ import annotations

# pyright: reportMissingImports=false
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hone.types import Observation

B, A, CHUNK, EXECUTED, STEPS, MAX_DIM, SIZE = 3, 7, 6, 4, 3, 9, 32
INSTRUCTIONS = ("pick up the milk", "open the drawer", "turn on the stove and put the moka pot on it")
MEAN = torch.linspace(-0.2, 0.3, A)
STD = torch.linspace(0.2, 0.5, A)


def both_ways(mean: torch.Tensor, std: torch.Tensor) -> dict[str, torch.Tensor]:
    """Statistics under which `x std + mean` is right whether a checkpoint wants mean and deviation or quantiles."""
    return {"mean": mean, "std": std, "q01": mean - std, "q99": mean + std}


STATISTICS = {
    "observation.state": both_ways(torch.linspace(-1, 1, 8), torch.linspace(0.5, 1.5, 8)),
    "action": both_ways(MEAN, STD),
}
SPECIAL = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "eos_token": "<eos>",
    "extra_special_tokens": {
        "fake_image_token": "<fake_token_around_image>",
        "image_token": "<image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    },
}


def make_observation(batch: int = B, seed: int = 0, size: int = SIZE) -> Observation:
    rng = np.random.default_rng(seed)
    return Observation(
        proprio=rng.normal(size=(batch, 8)).astype(np.float32),
        instructions=tuple(INSTRUCTIONS[row % len(INSTRUCTIONS)] for row in range(batch)),
        images=rng.integers(0, 256, (batch, 2, size, size, 3), dtype=np.uint8),
    )


def word_tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = [SPECIAL[name] for name in ("pad_token", "unk_token", "eos_token")]
    words = sorted({word.strip(",;") for sentence in INSTRUCTIONS for word in sentence.split()})
    words += ["Task:", "State:", "Action:", *map(str, range(-1, 257))]  # pi-0.5 writes the state into its prompt
    names = [*specials, *SPECIAL["extra_special_tokens"].values(), *words]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s,;]+"), "removed")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def write_smolvlm(folder: Path, **text: Any) -> Path:
    """A backbone's configuration and processor, without weights, as the hub has them."""
    from transformers import SmolVLMConfig, SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

    text = {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 512,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        **text,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "patch_size": 8,
    }
    SmolVLMConfig(text_config=text, vision_config=vision, scale_factor=2, image_token_id=4).save_pretrained(folder)
    side = {"longest_edge": SIZE}
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(do_image_splitting=False, size=side, max_image_size=side),
        tokenizer=word_tokenizer(),
        video_processor=SmolVLMVideoProcessor(),
        image_seq_len=(SIZE // 8 // 2) ** 2,
    )
    processor.save_pretrained(folder)
    return folder


def features(cameras: tuple[str, ...], state: int = 8, action: int = A) -> dict[str, Any]:
    from lerobot.configs.types import FeatureType, PolicyFeature

    inputs = {
        f"observation.images.{name}": PolicyFeature(type=FeatureType.VISUAL, shape=(3, SIZE, SIZE)) for name in cameras
    }
    inputs["observation.state"] = PolicyFeature(type=FeatureType.STATE, shape=(state,))
    return {
        "input_features": inputs,
        "output_features": {"action": PolicyFeature(type=FeatureType.ACTION, shape=(action,))},
    }


def write_smolvla(
    folder: Path,
    *,
    cameras: tuple[str, ...] = ("image", "image2"),
    state: int = 8,
    action: int = A,
    statistics: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """A SmolVLA checkpoint in `folder`, its backbone's description beside it."""
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.policies.smolvla import SmolVLAConfig, SmolVLAPolicy

    backbone = write_smolvlm(folder.parent / f"{folder.name}-backbone")
    settings = {
        "vlm_model_name": str(backbone),
        "device": "cpu",
        "chunk_size": CHUNK,
        "n_action_steps": EXECUTED,
        "max_state_dim": 10,
        "max_action_dim": MAX_DIM,
        "num_steps": STEPS,
        "num_vlm_layers": 2,
        "resize_imgs_with_padding": (SIZE, SIZE),
        "tokenizer_max_length": 16,
        **settings,
    }
    config = SmolVLAConfig(**settings, **features(cameras, state, action))
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        policy = SmolVLAPolicy(config)
        processors = make_pre_post_processors(config, dataset_stats=STATISTICS if statistics is None else statistics)
    for part in (policy, *processors):
        part.save_pretrained(folder)
    return folder


def write_pi(folder: Path, kind: str) -> Path:
    """A `pi0` or `pi05` checkpoint in `folder`; `tiny_gemma` must be in force."""
    from lerobot.policies.factory import get_policy_class, make_policy_config
    from lerobot.policies.factory import make_pre_post_processors as make_processors
    from lerobot.processor import tokenizer_processor

    words = folder.parent / f"{folder.name}-words"
    word_tokenizer().save_pretrained(words)
    config = make_policy_config(
        kind,
        device="cpu",
        chunk_size=CHUNK,
        n_action_steps=EXECUTED,
        max_state_dim=10,
        max_action_dim=MAX_DIM,
        num_inference_steps=STEPS,
        image_resolution=(SIZE, SIZE),
        tokenizer_max_length=24,
        **features(("image", "image2")),
    )
    with torch.random.fork_rng(devices=[]), pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(0)
        policy = get_policy_class(kind)(config)
        for name, weight in policy.named_parameters():
            if name.endswith("dense.weight"):  # the library starts with a time that changes nothing
                torch.nn.init.normal_(weight, std=0.1)
        by_name = tokenizer_processor.AutoTokenizer.from_pretrained
        patch.setattr(tokenizer_processor.AutoTokenizer, "from_pretrained", lambda name: by_name(str(words)))
        processors = make_processors(config, dataset_stats=STATISTICS)
    for part in (policy, *processors):
        part.save_pretrained(folder)
    recipe = folder / "policy_preprocessor.json"
    recipe.write_text(recipe.read_text().replace("google/paligemma-3b-pt-224", str(words)))
    return folder


@contextlib.contextmanager
def tiny_gemma() -> Iterator[None]:
    """pi-zero's network, whose sizes the library fixes by name, at a tiny size."""
    from lerobot.policies.pi0 import modeling_pi0
    from lerobot.policies.pi05 import modeling_pi05
    from transformers import GemmaConfig, PaliGemmaConfig, SiglipVisionConfig

    def pinned(config: Any, **values: Any) -> Any:
        """`config`, in which nobody can change `values` any more."""

        def set_unless_pinned(self: Any, name: str, value: Any) -> None:
            if name not in values:
                super(type(self), self).__setattr__(name, value)

        for name, value in values.items():
            setattr(config, name, value)
        config.__class__ = type(type(config).__name__, (type(config),), {"__setattr__": set_unless_pinned})
        return config

    def paligemma() -> Any:
        vision = SiglipVisionConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=8)
        config = PaliGemmaConfig(vision_config=vision, text_config=GemmaConfig(vocab_size=512), projection_dim=32)
        config.vision_config = pinned(config.vision_config, intermediate_size=32, projection_dim=32)
        config.text_config = pinned(config.text_config, vocab_size=512)
        return config

    def gemma(**settings: Any) -> Any:
        return GemmaConfig(**{**settings, "vocab_size": 512})

    with pytest.MonkeyPatch.context() as patch:
        for module in (modeling_pi0, modeling_pi05):
            tiny = module.GemmaConfig(width=32, depth=2, mlp_dim=48, num_heads=8, num_kv_heads=1, head_dim=8)
            patch.setattr(module, "get_gemma_config", lambda variant, tiny=tiny: tiny)
            patch.setattr(module, "CONFIG_MAPPING", {"paligemma": paligemma, "gemma": gemma})
        yield
