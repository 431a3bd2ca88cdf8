"""Hone's policies as a LeRobot policy type, "hone": what `hone export` writes is loaded by LeRobot's own tools.

    lerobot-eval --policy.path=FOLDER --policy.discover_packages_path=hone.lerobot_plugin --env.type=libero …

Importing this package registers the type. LeRobot finds the classes by the names of these files
(`configuration_*`, `modeling_*`, `processor_*`). Needs `lerobot` (0.6), which needs Python 3.12.
"""

from hone.lerobot_plugin.configuration_hone import HoneConfig

__all__ = ["HoneConfig"]
