"""The protocol card: everything that decides what a score means, printed with the score and hashed into its file."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from hone.envs.libero.suites import STEP_CAPS

WAIT_STEPS = 10
"""No-op steps at the start of an episode, while the dropped objects come to rest."""

HELD_STEPS = 20
"""Control steps after release for which a success must stay true to count as held."""

LATER = ("perturbations", "safety_limits", "sampling", "planner")
"""Fields of the card that were added to it."""

PACKAGES = ("hone-vla", "torch", "numpy", "mujoco", "robosuite", "bddl", "hf-libero")
"""Whose versions can move a score."""


def installed_versions() -> dict[str, str]:
    """Version of Python and of each of `PACKAGES`; "missing" for one that is not installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "missing"
    return versions


@dataclass(frozen=True)
class ProtocolCard:
    """How an evaluation was done. Two scores can be compared if their cards have the same hash."""

    suite: str
    tasks: tuple[str, ...]
    """Names of the tasks, in the suite's order."""
    placement_kind: Literal["official", "sampled"]
    placements: tuple[int, ...]
    """Indices of the placements that every task was run from."""
    step_cap: int
    """Control steps after the waiting steps."""
    executed_chunk_length: int
    """Control steps taken between two looks of the policy."""
    asset_pack: str
    """"standin", "original", or a name and digest of another folder."""
    physics_profile: str
    render_profile: str
    fixture_table: str
    """Name or digest of the fixture poses that were used."""
    cameras: tuple[str, ...]
    image_size: int
    """Pixels on a side, as the policy sees it."""
    image_orientation: str
    text_encoder: str
    decoding: Literal["greedy", "sampled"] = "greedy"
    privilege: str = "none"
    """What the policy was told that a robot could not see: "none", "object poses", …"""
    instruction: Literal["own", "blank", "other_task"] = "own"
    """Which instruction the policy was given; the other two are the language probes."""
    wait_steps: int = WAIT_STEPS
    held_steps: int = HELD_STEPS
    """0: whether a success lasts was not looked at."""
    success_rule: str = "the task's goal is true at any control step"
    seeds: tuple[int, ...] = (0,)
    versions: dict[str, str] = field(default_factory=installed_versions)
    perturbations: tuple[str, ...] = ()
    """Robustness tests applied, "camera:2 seed 0" say; see hone/envs/libero/perturb.py."""
    safety_limits: str = ""
    """What the motions were kept to: speed, force, box, height over the table; empty for a policy without limits."""
    sampling: str = ""
    """What was chosen of how chunks are drawn, "best_of 8" say; empty for a policy that acts as it was saved."""
    planner: str = ""
    """How the policy's decisions were looked ahead of, and what was seen for it; empty for the policy alone."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; tuples become lists. `LATER` fields are absent where they are empty, so that a card from before
        they existed keeps its hash."""
        data = json.loads(json.dumps(asdict(self)))
        return {name: value for name, value in data.items() if value or name not in LATER}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ProtocolCard:
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
        return cls(**plain)

    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the card as canonical JSON. The same on every machine and run."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def differences(self, other: ProtocolCard) -> list[str]:
        """One line per field in which the cards differ."""
        return [
            f"{f.name}: {getattr(self, f.name)!r} and {getattr(other, f.name)!r}"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        ]

    def describe(self) -> list[tuple[str, str]]:
        """The card for people: (name, value) lines."""
        step_cap = f"{self.step_cap} control steps"
        published = STEP_CAPS.get(self.suite)
        if published is not None and self.step_cap != published:
            step_cap += f" (published scores use {published})"
        held = f"; held: still true {self.held_steps} steps after release" if self.held_steps else ""
        return [
            ("Suite", self.suite),
            ("Tasks", f"{len(self.tasks)}: {', '.join(self.tasks)}"),
            ("Placements", f"{self.placement_kind}, {_ranges(self.placements)} of each task"),
            ("Start of an episode", f"{self.wait_steps} no-op steps, then the policy"),
            ("Step cap", step_cap),
            ("Success", f"{self.success_rule}{held}"),
            (
                "Instruction",
                {"own": "the task's own", "blank": "blank", "other_task": "another task's"}[self.instruction],
            ),
            ("Decoding", f"{self.decoding}, {self.executed_chunk_length} steps executed of each chunk"),
            ("Sampling", self.sampling or "as saved"),
            ("Planner", self.planner or "none"),
            ("Cameras", f"{', '.join(self.cameras) or 'none'} at {self.image_size} px, {self.image_orientation}"),
            ("Privileged inputs", self.privilege),
            ("Assets", self.asset_pack),
            ("Safety limits", self.safety_limits or "none"),
            ("Perturbations", ", ".join(self.perturbations) or "none"),
            ("Physics", self.physics_profile),
            ("Rendering", self.render_profile),
            ("Fixtures", self.fixture_table),
            ("Text encoder", self.text_encoder),
            ("Seeds", ", ".join(map(str, self.seeds))),
            ("Versions", ", ".join(f"{name} {version}" for name, version in self.versions.items())),
            ("Hash", self.hash()),
        ]


def source_commit() -> str:
    """The commit this code runs from, with "+dirty" if tracked files differ from it; "unknown" outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # An installed package may lie inside somebody else's repository (a venv in a project): only ours counts.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _ranges(indices: tuple[int, ...]) -> str:
    """(0, 1, 2, 7) as "0-2, 7"."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], index]
        else:
            parts.append([index])
    return ", ".join("-".join(map(str, part)) for part in parts) or "none"
