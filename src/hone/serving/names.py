"""What the parts of an observation are called on the wire, and whether both ends agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hone.errors import HoneError


@dataclass(frozen=True)
class Names:
    """Wire keys. The defaults are those of openpi's LIBERO policies."""

    cameras: Mapping[str, str] = field(default_factory=dict)
    """Camera of the spec to its key, in the spec's order."""
    state: str = "observation/state"
    prompt: str = "prompt"

    def keys(self) -> tuple[str, ...]:
        return (*self.cameras.values(), self.state, self.prompt)


OPENPI = {"agentview": "observation/image", "robot0_eye_in_hand": "observation/wrist_image"}
VLA_EVAL = {"agentview": "agentview", "robot0_eye_in_hand": "wrist"}


def openpi_names(cameras: Sequence[str]) -> Names:
    """openpi's LIBERO keys; a camera that has none is `observation/<its name>`."""
    return Names({camera: OPENPI.get(camera, f"observation/{camera}") for camera in cameras})


def vla_eval_names(cameras: Sequence[str]) -> Names:
    """The keys of vla-eval's LIBERO benchmark; the cameras are keys of its `images`."""
    return Names({camera: VLA_EVAL.get(camera, camera) for camera in cameras}, "states", "task_description")


def renamed(names: Names, changes: Sequence[str]) -> Names:
    """`names` with some wire keys replaced: `agentview=observation/base_image`, `state=…`, `prompt=…`."""
    for change in changes:
        ours, equals, theirs = change.partition("=")
        if not (ours and equals and theirs):
            raise HoneError(f"'{change}' is no renaming; write it as agentview=observation/image, say.")
        if ours in ("state", "prompt"):
            names = replace(names, **{ours: theirs})
        elif ours in names.cameras:
            names = replace(names, cameras={**names.cameras, ours: theirs})
        else:
            known = ", ".join([*names.cameras, "state", "prompt"])
            raise HoneError(f"nothing here is called '{ours}', so it cannot be sent as '{theirs}'. Known: {known}.")
    return names


def check_names(sent: Names, wanted: Iterable[str], who: str) -> None:
    """Raise unless everything the server wants is sent, naming what is called what on both sides."""
    wanted = tuple(wanted)
    missing = [key for key in wanted if key not in sent.keys()]  # noqa: SIM118 - a method, not a map's keys
    if missing:
        ours = {**sent.cameras, "state": sent.state, "prompt": sent.prompt}
        raise HoneError(
            f"{who} wants {', '.join(missing)}, which is not sent. It wants {', '.join(wanted)}; sent are "
            f"{', '.join(f'{key} ({name})' for name, key in ours.items())}. "
            f"Rename one: --remote.rename {next(iter(ours))}={missing[0]}."
        )
