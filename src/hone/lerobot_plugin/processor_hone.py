"""LeRobot's default processors, which only batch and move: normalisation is inside a Hone policy's weights."""

from __future__ import annotations

from typing import Any

from lerobot.processor import make_default_pre_post_processors  # pyright: ignore[reportMissingImports]

from hone.lerobot_plugin.configuration_hone import HoneConfig


def make_hone_pre_post_processors(config: HoneConfig, dataset_stats: Any = None) -> tuple[Any, Any]:
    return make_default_pre_post_processors(config, dataset_stats, normalizer_device=config.device)
