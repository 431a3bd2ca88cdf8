"""Reading a LeRobot checkpoint: a folder or hub id with weights, configuration and processors, nothing taken on trust.

The library goes on with random weights where a checkpoint's do not fit (it prints a line), and passes numbers through
where a normaliser has no statistics. Both make a policy that acts nonsense, so here both are errors.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hone.errors import HoneError
from hone.policies.lerobot_families import Family, family_of

FILES = ("config.json", "model.safetensors", "policy_preprocessor.json", "policy_postprocessor.json")


@dataclass(frozen=True)
class Checkpoint:
    """`policy` is the library's (a torch module), `preprocess` makes its inputs from an observation and an instruction,
    `unnormalise` makes actions `[N, A]` of its outputs. `input_names`: what the policy calls a feature, to what the
    recordings it was trained on call it."""

    folder: Path
    family: Family
    policy: Any
    preprocess: Callable[[dict[str, Any]], Mapping[str, Any]]
    unnormalise: Callable[[Tensor], Tensor]
    input_names: Mapping[str, str]

    @property
    def cameras(self) -> dict[str, tuple[int, ...]]:
        """Shape of each image the policy looks at, by the name that its own recordings give it ("image", say).

        Cameras that stand empty in the checkpoint are not among them.
        """
        shapes = {name: feature.shape for name, feature in self.policy.config.image_features.items()}
        return {
            self.input_names.get(name, name).removeprefix("observation.images."): tuple(shape)
            for name, shape in shapes.items()
            if ".empty_camera_" not in name
        }

    @property
    def state_dim(self) -> int:
        feature = self.policy.config.robot_state_feature
        return 0 if feature is None else feature.shape[0]

    @property
    def action_dim(self) -> int:
        return self.policy.config.action_feature.shape[0]


def checkpoint_folder(base: str) -> Path:
    """The local folder of a checkpoint: `base` itself, or where the hub's files of that name are kept."""
    require_lerobot()
    folder = Path(base).expanduser()
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(base, allow_patterns=["*.json", "*.safetensors"]))
        except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise HoneError(
                f"no LeRobot policy '{base}': it is no folder, and the hub did not give it ({reason}). "
                "Use lerobot:FOLDER or lerobot:USER/NAME."
            ) from error
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise HoneError(
            f"'{folder}' is no LeRobot policy that Hone can run: {', '.join(missing)} missing. It needs "
            f"{', '.join(FILES)}; checkpoints from before LeRobot 0.4 get their processors by its "
            "migrate_policy_normalization script."
        )
    return folder


def read_checkpoint(folder: Path, device: str) -> Checkpoint:
    """Everything in `folder`, on `device`."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    try:
        kind = json.loads((folder / "config.json").read_text())["type"]
    except (ValueError, KeyError, TypeError) as error:
        raise HoneError(f"'{folder / 'config.json'}' does not say its policy's type ({error!r}).") from error
    family = family_of(kind)
    # The library greets on standard output, which belongs to the caller's results.
    with contextlib.redirect_stdout(sys.stderr):
        config = PreTrainedConfig.from_pretrained(folder)
        config.device = device
        refuse_unsupported(config)
        policy = get_policy_class(kind).from_pretrained(folder, config=config)
        on_device = {"device_processor": {"device": device}}
        before, after = make_pre_post_processors(
            config, str(folder), preprocessor_overrides=on_device, postprocessor_overrides={}
        )
    require_weights(policy, folder)
    require_statistics(before, after, folder)
    return Checkpoint(folder, family, policy, before, after, _input_names(before))


def require_lerobot() -> None:
    try:
        import lerobot.policies.factory  # noqa: F401
        import peft  # noqa: F401
    except ImportError as error:
        raise HoneError(
            f"a LeRobot policy needs packages that are not there ({error}); pip install 'hone-vla[lerobot]' "
            "(Python 3.12 or newer, in an environment of its own)."
        ) from error


def refuse_unsupported(config: Any) -> None:
    """Settings under which the policy is no longer the flow that is scored here."""
    for name in ("adapt_to_pi_aloha", "use_relative_actions", "compile_model"):
        if getattr(config, name, False):
            raise HoneError(f"the checkpoint sets {name}, which Hone does not support; set it to false in config.json.")
    if config.n_obs_steps != 1:
        raise HoneError(f"the checkpoint looks at {config.n_obs_steps} observations at once; Hone shows it one.")


def require_weights(policy: Any, folder: Path) -> None:
    """Raise unless every tensor of the network is the one in the checkpoint's file."""
    from safetensors.torch import load_file

    stored = load_file(folder / "model.safetensors")
    if hasattr(policy, "_fix_pytorch_state_dict_keys"):  # older names that the library still understands
        stored = policy._fix_pytorch_state_dict_keys(stored, policy.config)
    stored = {name if name.startswith("model.") else f"model.{name}": tensor for name, tensor in stored.items()}
    state = policy.state_dict()
    shared = {tensor.data_ptr() for name, tensor in state.items() if name in stored}
    wrong = [
        name
        for name, tensor in state.items()
        if not (_equal(stored[name], tensor) if name in stored else tensor.data_ptr() in shared)
    ]
    if wrong:
        raise HoneError(
            f"{len(wrong)} of the policy's {len(state)} tensors are not those of '{folder}' ({', '.join(wrong[:3])}); "
            "model.safetensors does not fit config.json, or is of another LeRobot version. It would act at random."
        )


def require_statistics(before: Any, after: Any, folder: Path) -> None:
    """Raise unless every feature that is to be normalised has statistics."""
    for pipeline, wanted in ((before, ("STATE", "VISUAL")), (after, ("ACTION",))):
        normalisers = [step for step in pipeline.steps if hasattr(step, "norm_map")]
        if not normalisers:
            raise HoneError(f"the processors of '{folder}' do not normalise; statistics must travel with the weights.")
        for step in normalisers:
            lacking = [
                name
                for name, feature in step.features.items()
                if feature.type.value in wanted
                and feature.type in step.norm_map
                and step.norm_map[feature.type].value != "IDENTITY"
                and name not in step._tensor_stats
            ]
            if lacking:
                raise HoneError(
                    f"'{folder}' has no normalisation statistics for {', '.join(lacking)}, so its policy would see or "
                    "do wrong numbers; save its processors with the statistics of the data it was trained on."
                )


def _equal(stored: Tensor, loaded: Tensor) -> bool:
    return stored.shape == loaded.shape and torch.equal(stored.to(loaded.device, loaded.dtype), loaded)


def _input_names(before: Any) -> dict[str, str]:
    """What the policy calls a feature, to what its recordings call it."""
    renaming = [step.rename_map for step in before.steps if hasattr(step, "rename_map")]
    return {new: old for names in renaming for old, new in names.items()}
