"""LeRobot checkpoints of a few thousand random weights: the library's own classes, processors and save path.

Nothing is downloaded: the backbone's configuration, its processor and a tokenizer of single words are made here and
the checkpoint names their folder.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hone.types import Observation

B, A, CHUNK, EXECUTED, STEPS, MAX_DIM, SIZE = 3, 7, 6, 4, 3, 9, 32
INSTRUCTIONS = ("pick up the milk", "open the drawer", "turn on the stove and put the moka pot on it")
MEAN = torch.linspace(-0.2, 0.3, A)
STD = torch.linspace(0.2, 0.5, A)
STATISTICS = {
    "observation.state": {"mean": torch.linspace(-1, 1, 8), "std": torch.linspace(0.5, 1.5, 8)},
    "action": {"mean": MEAN, "std": STD},
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
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = [SPECIAL[name] for name in ("pad_token", "unk_token", "eos_token")]
    words = sorted({word for sentence in INSTRUCTIONS for word in sentence.split()})
    names = [*specials, *SPECIAL["extra_special_tokens"].values(), *words]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
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
        "vocab_size": 64,
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
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(),
        tokenizer=word_tokenizer(),
        video_processor=SmolVLMVideoProcessor(),
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
    statistics = STATISTICS if statistics is None else statistics
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        policy = SmolVLAPolicy(config)
        before, after = make_pre_post_processors(config, dataset_stats=statistics)
    policy.save_pretrained(folder)
    before.save_pretrained(folder)
    after.save_pretrained(folder)
    return folder
