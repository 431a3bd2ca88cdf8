"""Write a policy as a folder that LeRobot loads: `hone export CHECKPOINT FOLDER`.

LeRobot then runs it by `--policy.path=FOLDER --policy.discover_packages_path=hone.lerobot_plugin`; Hone must be
installed beside it. The folder is read back by LeRobot's own classes and compared before this command ends well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hone.cli.output import emit_json, people
from hone.errors import HoneError
from hone.policies import load_policy


@dataclass(frozen=True)
class Config:
    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Folder of the policy (config.json and model.safetensors)."""
    output: Annotated[Path, tyro.conf.Positional]
    """Folder to write."""
    json: bool = False
    """Print the written files as one JSON object on standard output."""


def run(config: Config) -> int:
    policy = load_policy(config.checkpoint)
    try:
        from hone.lerobot_plugin.configuration_hone import export_lerobot_policy
        from hone.lerobot_plugin.modeling_hone import HonePolicy
    except ImportError as error:
        raise HoneError(
            f"exporting to LeRobot needs the package lerobot 0.6, which needs Python 3.12 ({error}): "
            "pip install 'lerobot>=0.6'."
        ) from error
    files = export_lerobot_policy(policy, config.output)
    back = HonePolicy.from_pretrained(config.output).policy.state_dict()
    differing = [name for name, tensor in policy.state_dict().items() if not tensor.equal(back[name])]
    if differing:
        raise HoneError(f"what LeRobot read back differs in {', '.join(differing[:3])}; the export cannot be used.")
    if config.json:
        emit_json({"output": str(config.output), "files": files})
    else:
        people().print(f"Wrote {', '.join(files)} to {config.output}", soft_wrap=True, highlight=False)
    return 0
