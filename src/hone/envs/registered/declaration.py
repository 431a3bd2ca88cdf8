"""The declaration of a gymnasium environment: which of its keys are what, its rate, its tasks, how success is told.

Nothing is guessed: what is not declared does not exist for Hone. A declaration is given by options (`--env gym:ID
--env.proprio …`), as a JSON file with the same fields (`--env gym:FILE.json`), or comes with Hone
(`--env gym:Meta-World/MT10`; see `known.py`).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import tyro
from jaxtyping import Float32

from hone.envs.base import EnvironmentConfig
from hone.envs.registered.interface import Interface, look
from hone.envs.registered.reading import DRAWN
from hone.errors import HoneError
from hone.specs import Spec, vector_layout
from hone.types import Placement, Task

if TYPE_CHECKING:
    from hone.envs.registered.environment import GymEnvironment

OFFICIAL_SEEDS = 1_000_000
"""Official placement `i` is the reset under seed `OFFICIAL_SEEDS + i`, sampled placement `i` that under seed `i`."""


@dataclass(frozen=True)
class GymTask:
    """One task: a name, the words for it, and what `gymnasium.make` is given beside what all tasks share."""

    name: str
    instruction: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GymConfig(EnvironmentConfig):
    """A registered gymnasium environment and what its numbers mean.

    Keys are paths into the observation: `agent_pos`, `pixels.top`, `observation[0:4]`; see reading.py.
    """

    id: Annotated[str, tyro.conf.Suppress]
    """As `gymnasium.make` takes it, `package:ID` included."""
    proprio: tuple[str, ...] = ()
    """Keys of what the robot itself can measure."""
    state: tuple[str, ...] = ()
    """Keys of what it cannot (object poses, say): privileged, and declared in every result."""
    images: tuple[str, ...] = ()
    """Keys of pictures [H, W, 3]. `render`: what the environment draws, only when the policy looks."""
    instruction: str = ""
    """What the policy is told, in an environment of one task."""
    instruction_key: str = ""
    """Key of an instruction that the environment gives anew at every reset."""
    success: str = "info:is_success"
    """How success is told: `info:KEY` (true at some step), or `terminated`."""
    rate_hz: float | None = None
    """Control steps per second; by default the environment's `render_fps`."""
    action_frame: Literal["delta", "absolute", "native"] = "native"
    """What an action is relative to. Policies act in [-1, 1]; this is stretched to the environment's action range."""
    idle: tuple[float, ...] = ()
    """An action, in the environment's own range, that lets go and stands still. With it, whether success lasts is
    looked at (not possible where success terminates)."""
    expert: str = ""
    """Who demonstrates, as `module:function`: made from the environment, a function from observations to actions."""
    noise_shares: tuple[float, ...] = ()
    """How much of a demonstration's noise each action number bears; all of it by default."""
    options: str = "{}"
    """Keyword arguments of the environment, as JSON."""
    image_size: int = 84
    """Pixels on a side, as the policy sees them."""
    step_cap: int | None = None
    """Control steps an episode may take; by default those it is registered with."""
    stop_at_success: bool = True
    """End an episode at success."""
    draws: bool = True
    """It can draw itself (render_mode "rgb_array")."""
    give_images: bool = True
    """Give the policy the images."""
    give_state: bool = True
    """Give the policy the privileged state."""
    made_of: str = ""
    """Package and version of the environment, for the protocol card."""
    suite_name: Annotated[str, tyro.conf.Suppress] = ""
    """The name of the suite in results; by default from `id`."""
    suite_tasks: Annotated[tuple[GymTask, ...], tyro.conf.Suppress] = ()
    """Several tasks, where there are several."""

    has_facts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.id:
            raise HoneError("`--env gym:` names no environment; write gym:ID, or gym:FILE.json.")
        if self.success != "terminated" and not self.success.startswith("info:"):
            raise HoneError(f"success '{self.success}' is told neither by `terminated` nor by `info:KEY`.")
        if self.image_size < 16 or self.image_size > 512:
            raise HoneError(f"image_size {self.image_size} is out of range; use 16 to 512 pixels.")
        if self.step_cap is not None and self.step_cap < 1:
            raise HoneError(f"step_cap must be positive, not {self.step_cap}.")
        if self.idle and self.success == "terminated":
            raise HoneError("where success terminates, whether it lasts cannot be looked at; leave --env.idle out.")
        self.shared_options  # noqa: B018 - raises where it is no JSON

    # ------------------------------------------------------------------------------------------- what it is

    @property
    def shared_options(self) -> dict[str, Any]:
        try:
            options = json.loads(self.options)
        except ValueError as error:
            raise HoneError(f"options of '{self.id}' are not JSON ({error}): {self.options}") from error
        if not isinstance(options, dict):
            raise HoneError(f"options of '{self.id}' are no JSON object: {self.options}")
        return options

    @property
    def suite(self) -> str:
        return self.suite_name or "gym-" + "".join(c if c.isalnum() else "-" for c in self.id)

    @property
    def declared_tasks(self) -> tuple[GymTask, ...]:
        return self.suite_tasks or (GymTask(self.suite, self.instruction),)

    def tasks(self, suite: str, indices: Sequence[int] = ()) -> tuple[Task, ...]:
        if suite != self.suite:
            raise HoneError(f"'{self.id}' has one suite, '{self.suite}', not '{suite}'; leave --suite out.")
        known = [Task(suite, i, each.name, each.instruction) for i, each in enumerate(self.declared_tasks)]
        for index in indices:
            if not 0 <= index < len(known):
                raise HoneError(f"'{self.suite}' has tasks 0-{len(known) - 1}, not {index}.")
        return tuple(known[index] for index in indices) or tuple(known)

    def task_options(self, task: Task) -> dict[str, Any]:
        """What `gymnasium.make` is given for a task."""
        return {**self.shared_options, **self.declared_tasks[task.index].options}

    @property
    def interface(self) -> Interface:
        options = json.dumps(self.task_options(self.tasks(self.suite)[0]), sort_keys=True)
        images = self.images if self.give_images else ()
        return look(self.id, options, self.draws, self.proprio, self.state, images)

    @property
    def spec(self) -> Spec:
        found = self.interface
        rate = self.rate_hz or found.rate_hz
        if rate is None:
            raise HoneError(f"'{self.id}' does not say how many control steps a second has; add --env.rate-hz.")
        return Spec(
            action_dim=found.action_dim,
            action_frame=self.action_frame,
            rotation="native",
            gripper="native",
            control_rate_hz=float(rate),
            proprio=vector_layout(found.proprio_dim, f"{self.suite} {' '.join(self.proprio)}".strip()),
            cameras=self.images if self.give_images else (),
            image_size=self.image_size,
            state_tokens=vector_layout(found.state_dim, " ".join(self.state))
            if self.state and self.give_state
            else "none",
        )

    @property
    def asset_label(self) -> str:
        return self.made_of or f"gymnasium environment {self.id}"

    @property
    def has_pictures(self) -> bool:
        return bool(self.images) or self.draws

    @property
    def pictured_spec(self) -> Spec:
        return replace(self.spec, cameras=self.images or (DRAWN,))

    def cap(self, suite: str) -> int:
        cap = self.step_cap or self.interface.step_cap
        if cap is None:
            raise HoneError(f"'{self.id}' is registered without a step limit; add --env.step-cap.")
        return cap

    def protocol(self) -> dict[str, Any]:
        told = "at any control step" if self.success.startswith("info:") else "when the environment terminates"
        return {
            "physics_profile": "the environment's own",
            "render_profile": "the environment's own",
            "fixture_table": f"as reset under the placement's seed (official: from {OFFICIAL_SEEDS})",
            "wait_steps": 0,
            "success_rule": f"{self.success} {told}",
            **({} if self.idle else {"held_steps": 0}),
        }

    # ------------------------------------------------------------------------------------------- how it is run

    def check(self) -> None:
        found = self.interface
        self.cap(self.suite)
        _ = self.spec
        if self.idle and len(self.idle) != found.action_dim:
            raise HoneError(f"idle has {len(self.idle)} numbers, but an action of '{self.id}' has {found.action_dim}.")
        if len(self.noise_shares) > found.action_dim:
            raise HoneError(f"noise_shares has {len(self.noise_shares)} numbers, an action {found.action_dim}.")

    def prepare(self, tasks: Sequence[Task], placements: Sequence[Placement] = ()) -> None:
        self.check()

    def build(self, num_slots: int) -> GymEnvironment:
        from hone.envs.registered.environment import GymEnvironment

        return GymEnvironment(self, num_slots)

    def seen_by(self, policy: Spec) -> GymConfig:
        if policy.facts:
            self.require_facts("this policy")
        return replace(self, give_images=bool(policy.cameras), give_state=policy.state_tokens != "none")

    def for_practice(self, step_cap: int, stop_at_success: bool) -> GymConfig:
        return replace(self, step_cap=step_cap, stop_at_success=stop_at_success)

    def for_demonstrations(self) -> GymConfig:
        """It ends at success: an environment's expert does not say when it is done."""
        return replace(self, stop_at_success=True)

    def to_environment_range(self, actions: Float32[np.ndarray, "H A"]) -> Float32[np.ndarray, "H A"]:
        """Actions of a policy, in [-1, 1], as the environment takes them."""
        low, high = self.interface.action_low, self.interface.action_high
        return low + (np.clip(actions, -1.0, 1.0) + 1.0) / 2.0 * (high - low)

    def to_policy_range(self, action: Any) -> Float32[np.ndarray, " A"]:
        """An action of the environment's, clipped to its range, as a policy would give it."""
        low, high = self.interface.action_low, self.interface.action_high
        clipped = np.clip(np.asarray(action, np.float32), low, high)
        return 2.0 * (clipped - low) / np.maximum(high - low, 1e-12) - 1.0


def named_object(name: str) -> Any:
    """What `module:name` names."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise HoneError(f"'{name}' names nothing that can be imported ({error}); write module:function.") from error
