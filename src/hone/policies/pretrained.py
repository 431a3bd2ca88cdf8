"""A policy as a folder: `config.json` beside `model.safetensors`, normalisation statistics inside the weights.

Every way in which such a folder can be wrong is one `HoneError` that says what is wrong and what to do.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from hone.errors import HoneError, unknown_name
from hone.policies.inputs import Normalizer

log = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"

VERSION = (1, 0)
"""Of the folder's format, written as "1.0". The second number grows when something is added that a reader may lack (a
setting with a default); the first when an older reader would misunderstand the rest, and it then refuses."""

Config = TypeVar("Config")


def write_folder(folder: Path, policy_name: str, config: dict[str, Any], model: nn.Module) -> None:
    """The policy's folder, with all of `model`, which must have its statistics."""
    require_statistics(model, f"cannot save a policy to {folder}")
    write_tensors(folder, policy_name, config, model.state_dict())


def write_tensors(folder: Path, policy_name: str, config: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Write both files under temporary names, then rename them, so that no reader meets a half-written checkpoint.

    Other files in the folder are left alone.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    document = {"version": "{}.{}".format(*VERSION), "policy": policy_name, "config": config}
    contents = {
        WEIGHTS_NAME: safetensors.torch.save(stored),
        CONFIG_NAME: (json.dumps(document, indent=2) + "\n").encode(),
    }
    temporary = {name: folder / f".{name}.{os.getpid()}.tmp" for name in contents}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            temporary[name].write_bytes(data)
        for name, path in temporary.items():
            os.replace(path, folder / name)
    except OSError as error:
        raise HoneError(
            f"cannot write the policy to {folder}: {error.strerror or error}. The old files are kept."
        ) from error
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def read_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """Name of the policy in `folder` and its configuration as plain data.

    A folder of a newer major version is refused. One of a newer minor version is read, with a warning, if every setting
    in it is known here: a setting nobody knows may change what the weights mean (`build_config` refuses it).
    """
    path = folder / CONFIG_NAME
    try:
        document = json.loads(path.read_text())
        _check_version(document.get("version", "1.0"), path)
        return document["policy"], document["config"]
    except FileNotFoundError as error:
        raise HoneError(f"no policy at {folder}: {CONFIG_NAME} is missing. A policy folder has {CONFIG_NAME} and "
                        f"{WEIGHTS_NAME}; save_pretrained writes it.") from error  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HoneError(
            f"{path} is not the configuration of a Hone policy ({error!r}); save the policy again."
        ) from error


def _check_version(written: str, path: Path) -> None:
    """Raise if `path` was written in a format that is not understood here."""
    major, minor = (int(part) for part in written.split("."))
    ours = "{}.{}".format(*VERSION)
    if major != VERSION[0]:
        raise HoneError(
            f"{path} has format version {written}, and this Hone reads {VERSION[0]}.x; load it with the Hone that "
            "wrote it, or a newer one."
        )
    if minor > VERSION[1]:
        log.warning("%s has format version %s, newer than this Hone's %s.", path, written, ours)


def build_config(config_class: type[Config], data: dict[str, Any], where: str) -> Config:
    """A config dataclass from plain data: unknown keys are an error, absent ones take their default."""
    known = [field.name for field in fields(config_class)]  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise unknown_name(f"key in {where}", key, known)
    try:
        return config_class(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})
    except (TypeError, ValueError) as error:
        raise HoneError(f"{where} has a value of the wrong type: {error}.") from error


def read_weights(folder: Path, model: nn.Module) -> None:
    """Load `model.safetensors` into `model`; every tensor must be there with its shape, statistics included."""
    path = folder / WEIGHTS_NAME
    try:
        tensors = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise HoneError(f"no weights at {path}; the folder is incomplete, save the policy again.") from error
    except (OSError, SafetensorError) as error:
        raise HoneError(f"{path} is damaged ({error}); save the policy again or take an earlier checkpoint.") from error
    expected = model.state_dict()
    statistics = [name for name in _statistics_names(model) if name not in tensors]
    if statistics:
        raise HoneError(f"{path} lacks the normalisation statistics ({', '.join(statistics)}); without them the policy "
                        "would act on wrong inputs. Save it again with save_pretrained.")  # fmt: skip
    problems = [f"{name} is missing" for name in expected if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in expected]
    problems += [
        f"{name} has shape {list(tensors[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise HoneError(f"{path} does not fit its {CONFIG_NAME}: {'; '.join(problems[:3])}{more}.")
    model.load_state_dict(tensors)
    require_statistics(model, f"cannot use {path}")


def require_statistics(model: nn.Module, what: str) -> None:
    """Raise unless every normaliser of `model` has been fitted."""
    for name, module in model.named_modules():
        if isinstance(module, Normalizer) and not module.is_fitted:
            raise HoneError(f"{what}: '{name}' has no normalisation statistics; call fit_normalization first.")


def _statistics_names(model: nn.Module) -> list[str]:
    return [
        f"{name}.{statistic}"
        for name, module in model.named_modules()
        if isinstance(module, Normalizer)
        for statistic in ("mean", "std")
    ]


@contextmanager
def seeded_initialisation(seed: int) -> Iterator[None]:
    """Modules made inside are initialised from `seed`; the global random state is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
