"""LIBERO as a batched `Environment`: slots stepped by the native engine, drawn only when the policy looks.

An episode starts as LIBERO's protocol has it: what a fresh hf-libero process gives after `seed(0)`, `reset()`, one
`set_init_state` and `wait_steps` no-op actions, robosuite's stale first controller step included. The settled start
of a placement is kept and copied for the next episode that begins there, as all episodes of a GRPO group do.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
from jaxtyping import Float32, UInt8

from hone.envs.base import EnvironmentConfig, StepResult
from hone.envs.libero import suites
from hone.envs.libero.assets import asset_pack
from hone.envs.libero.dynamics import Dynamics
from hone.envs.libero.engine import Slot, SlotSnapshot, Stepper, build_stepper
from hone.envs.libero.facts import FactReader, Facts
from hone.envs.libero.incidents import Incident
from hone.envs.libero.perturb import Perturber
from hone.envs.libero.perturb_looks import Look
from hone.envs.libero.render import Renderer
from hone.envs.libero.scene import Physics, RenderProfile, Scene, ensure_placements, load_scene, set_physics
from hone.envs.libero.state_tokens import StateTokens, TokenReader
from hone.errors import HoneError
from hone.specs import Orientation, Spec
from hone.types import Observation, Placement, Task

log = logging.getLogger(__name__)

NO_OP = np.array([0, 0, 0, 0, 0, 0, -1], np.float32)
"""LIBERO's waiting action: stand still, gripper open."""
CAMERAS = ("agentview", "robot0_eye_in_hand")
KEPT_STARTS = 32
"""Settled starts kept for the next episode of the same task and placement (about 1 MB each)."""


@dataclass(frozen=True)
class LiberoConfig(EnvironmentConfig):
    """How LIBERO is run. Everything here but `engine`, `num_threads` and `cores` is part of the protocol."""

    assets: str = "standin"
    """Asset pack: `standin`, `original` (folder in $HONE_LIBERO_ASSETS), or a folder's path."""
    physics: Physics = "exact"
    """`exact`: trajectories equal hf-libero's. `fast`: what lies still is left out; twice as fast, nearly equal."""
    render: RenderProfile = "cheap"
    """`cheap`: no multisampling, no reflections, robot drawn by its hulls. `exact`: LIBERO's own picture."""
    image_size: int = 84
    """Pixels on a side."""
    image_orientation: Orientation = "upright"
    """`upright` as a person sees it, `opengl` as robosuite returns it, `rotated_180` as published VLAs were trained."""
    images: bool = True
    """Give the policy the two camera images."""
    state_tokens: StateTokens = "none"
    """Give the policy privileged object poses, in this layout. Declared in every result. `objects_v1`: movable objects.
    `objects_v2`: also drawers, doors, knobs and places, where the task names them."""
    facts: bool = False
    """Give the policy the privileged truth about the scene. Declared in every result."""
    wait_steps: int = 10
    """No-op steps before the policy's first look."""
    step_cap: int | None = None
    """Control steps an episode may take; by default the suite's own, which scores are compared under."""
    stop_at_success: bool = True
    """End an episode when the task's condition first becomes true (LIBERO's rule)."""
    engine: Literal["native", "numpy"] = "native"
    """`native`: compiled, several times faster. `numpy`: the reference in Python, where no C compiler is at hand."""
    num_threads: int = 1
    """Stepping threads of one environment."""
    cores: tuple[int, ...] = ()
    """Cores on which these threads stay, one each; if none are named the system places them."""
    perturb: tuple[str, ...] = ()
    """Robustness test: perturbations as `kind:level`, `camera:2` say (kinds and levels: perturb.py)."""
    perturb_seed: int = 0
    """Seed of the perturbations."""
    friction: float = 1.0
    """Factor on LIBERO's friction: a wrong model, for methods that plan with one (dynamics.py)."""
    mass: float = 1.0
    """Factor on the masses of loose things."""

    has_facts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.image_size < 16 or self.image_size > 512:
            raise HoneError(f"image_size {self.image_size} is out of range; use 16 to 512 pixels.")
        if self.step_cap is not None and self.step_cap < 1:
            raise HoneError(f"step_cap must be positive, not {self.step_cap}.")
        Perturber(self.perturb, self.perturb_seed)  # raises for what does not exist
        Dynamics(self.friction, self.mass)

    def build(self, num_slots: int) -> LiberoEnvironment:
        return LiberoEnvironment(self, num_slots)

    @property
    def suite(self) -> str:
        return "libero_object"

    def tasks(self, suite: str, indices: Sequence[int] = ()) -> tuple[Task, ...]:
        return tuple(suites.task(suite, index) for index in indices) or suites.tasks(suite)

    def check(self) -> None:
        asset_pack(self.assets)

    def cap(self, suite: str) -> int:
        return self.step_cap or suites.step_cap(suite)

    @property
    def asset_label(self) -> str:
        """Name and digest of the asset pack, for the protocol card."""
        pack = asset_pack(self.assets)
        return f"{pack.name}-{pack.digest}"

    def protocol(self) -> dict[str, Any]:
        return {
            "physics_profile": self.physics,
            "render_profile": self.render,
            "fixture_table": "as composed under seed 0",
            "wait_steps": self.wait_steps,
            "perturbations": self.perturbations,
        }

    @property
    def dynamics(self) -> Dynamics:
        return Dynamics(self.friction, self.mass)

    @property
    def perturbations(self) -> tuple[str, ...]:
        """What was perturbed, for the protocol card."""
        return (*Perturber(self.perturb, self.perturb_seed).labels, *self.dynamics.labels)

    @property
    def spec(self) -> Spec:
        return Spec(
            cameras=CAMERAS if self.images else (),
            image_size=self.image_size,
            image_orientation=self.image_orientation,
            state_tokens=self.state_tokens,
            facts=self.facts,
        )

    def seen_by(self, policy: Spec) -> LiberoConfig:
        """This environment, giving the images, object poses or facts that a policy of this spec needs."""
        known = policy.state_tokens in get_args(StateTokens)  # else `check_compatible` will say what does not fit
        layout = cast("StateTokens", policy.state_tokens) if known else "objects_v1"
        return replace(self, images=bool(policy.cameras), state_tokens=layout, facts=policy.facts)

    @property
    def pictured_spec(self) -> Spec:
        return replace(self, images=True).spec

    def for_practice(self, step_cap: int, stop_at_success: bool) -> LiberoConfig:
        return replace(self, physics="fast", step_cap=step_cap, stop_at_success=stop_at_success)

    def for_demonstrations(self) -> LiberoConfig:
        """It goes on after success, so that a demonstration ends with letting go."""
        return replace(self, stop_at_success=False)

    def prepare(self, tasks: Sequence[Task], placements: Sequence[Placement] = (Placement("sampled", 0),)) -> None:
        """Compose and cache the scenes of `tasks` before workers start, and draw the sampled placements asked for.

        By default these are the first block, which demonstrations, training and validation draw from.
        """
        pack = asset_pack(self.assets)
        sampled = [placement.index for placement in placements if placement.kind == "sampled"]
        for task in tasks:
            ensure_placements(load_scene(task, pack), pack, sampled)


@dataclass(frozen=True)
class LiberoSnapshot:
    """Everything a slot's future depends on: full simulation data, controller and gripper state, step count.

    `placement` and `taken` tell how it came here: where the episode began and the chunks executed since.
    It may be restored in another environment of the same asset pack: a copy that is tried things in.
    """

    task: Task
    placement: Placement
    slot: SlotSnapshot
    taken: tuple[Float32[np.ndarray, "_ 7"], ...] = ()


class LiberoEnvironment:
    """`num_slots` independent LIBERO episodes, each of any task."""

    def __init__(self, config: LiberoConfig, num_slots: int) -> None:
        self.config = config
        self.num_slots = num_slots
        self.spec = config.spec
        self._assets = asset_pack(config.assets)
        self._stepper: Stepper = build_stepper(config.engine, config.num_threads, config.cores)
        self._scenes: dict[Task, Scene] = {}
        self._readers: dict[Task, FactReader] = {}
        self._token_readers: dict[Task, TokenReader] = {}
        self._slots: dict[int, Slot] = {}
        self._tasks: dict[int, Task] = {}
        self._placements: dict[int, Placement] = {}
        self._taken: dict[int, list[np.ndarray]] = {}
        self._looks: dict[int, Look] = {}
        self._perturber = Perturber(config.perturb, config.perturb_seed)
        self._ended: set[int] = set()
        self._starts: OrderedDict[tuple[Task, Placement], LiberoSnapshot] = OrderedDict()
        self._renderer = Renderer(CAMERAS, config.image_size, config.render, config.image_orientation)

    def reset(self, slots: Sequence[int], tasks: Sequence[Task], placements: Sequence[Placement]) -> None:
        for index, task, placement in zip(slots, tasks, placements, strict=True):
            start = self._starts.get((task, placement))
            if start is not None:
                self.restore([index], [start])
                continue
            slot = self._open(index, task, placement)
            slot.reset(self._perturber.initial_state(self._scenes[task], placement))
            self._taken[index] = []
            wait = np.tile(NO_OP, (1, self.config.wait_steps, 1))
            self._stepper.step([slot], wait, np.array([self.config.wait_steps]), stop_at_success=False)
            self._starts[task, placement] = self.snapshot([index])[0]
            if len(self._starts) > KEPT_STARTS:
                self._starts.popitem(last=False)

    def step(
        self, slots: Sequence[int], chunks: Float32[np.ndarray, "n H A"], *, stop_at_success: bool | None = None
    ) -> StepResult:
        """Run the chunks. A slot that already ended takes no more steps.

        A chunk with numbers that are not finite is not executed: its slot counts as diverged, the others go on. What
        led to a divergence is written down (`incidents.py`) and logged.
        """
        running = [self._slots[index] for index in slots]
        senseless = np.array([not np.isfinite(chunk).all() for chunk in chunks], bool)
        caps = np.array([self._steps(i) if i in self._ended else self._cap(i) for i in slots])
        before = np.array([self._steps(index) for index in slots])
        limits = np.where(senseless, 0, np.maximum(caps - before, 0))
        stop = self.config.stop_at_success if stop_at_success is None else stop_at_success
        result = self._stepper.step(running, chunks, limits, stop)
        result = result._replace(diverged=result.diverged | senseless)
        for row, index in enumerate(slots):
            # With the first of the actions that could not be executed: an incident ends with what went wrong.
            self._taken[index].append(chunks[row, : result.steps[row] + int(senseless[row])])
            if result.diverged[row]:
                what = "was given actions that are not finite" if senseless[row] else "diverged"
                path = self._incident(index).save()
                log.warning("slot %d %s after %d steps; written to %s", index, what, self._steps(index), path)
        after = before + result.steps
        succeeded = result.success & ~result.diverged
        terminated = succeeded if stop else np.zeros(len(slots), bool)
        self._ended |= {index for row, index in enumerate(slots) if terminated[row] or result.diverged[row]}
        return StepResult(
            steps=result.steps,
            succeeded=succeeded,
            terminated=terminated,
            truncated=(after >= caps) & ~terminated & ~result.diverged,
            diverged=result.diverged,
        )

    def hold(self, slots: Sequence[int], steps: int) -> list[bool]:
        """Open the gripper, keep the arm still for `steps` control steps, and say whether success still holds."""
        running = [self._slots[index] for index in slots]
        release = np.tile(NO_OP, (len(running), steps, 1))
        self._stepper.step(running, release, np.full(len(running), steps), stop_at_success=False)
        return [slot.success for slot in running]

    def observe(self, slots: Sequence[int]) -> Observation:
        running = [self._slots[index] for index in slots]
        state = None
        if self.config.state_tokens != "none":
            state = np.stack([self._token_readers[self._tasks[i]].read(self._slots[i].data) for i in slots])
        return Observation(
            proprio=np.stack([slot.proprio() for slot in running]).astype(np.float32),
            instructions=tuple(self._perturber.instruction(self._tasks[i], self._placements[i]) for i in slots),
            images=self.render(slots) if self.config.images else None,
            state=state,
            facts=tuple(self.facts(slots)) if self.config.facts else None,
        )

    def render(self, slots: Sequence[int], size: int | None = None) -> UInt8[np.ndarray, "n C H W 3"]:
        pictures = []
        for index in slots:
            scene, state = self._scenes[self._tasks[index]], self._slots[index].state
            look = self._looks[index]
            pictures.append(self._renderer.draw(scene, state["look_qpos"], size, look, state["start_qpos"]))
        return np.stack(pictures)

    def snapshot(self, slots: Sequence[int]) -> list[LiberoSnapshot]:
        return [
            LiberoSnapshot(self._tasks[i], self._placements[i], self._slots[i].snapshot(), tuple(self._taken[i]))
            for i in slots
        ]

    def restore(self, slots: Sequence[int], snapshots: Sequence[LiberoSnapshot]) -> None:
        for index, snapshot in zip(slots, snapshots, strict=True):
            self._open(index, snapshot.task, snapshot.placement).restore(snapshot.slot)
            self._taken[index] = list(snapshot.taken)

    def facts(self, slots: Sequence[int]) -> list[Facts]:
        return [self._readers[self._tasks[index]].read(self._slots[index]) for index in slots]

    def close(self) -> None:
        self._renderer.close()
        self._slots.clear()
        self._starts.clear()

    def _open(self, index: int, task: Task, placement: Placement) -> Slot:
        """The slot, holding simulation data of the task's scene and looking as the placement's perturbations ask."""
        if not 0 <= index < self.num_slots:
            raise HoneError(f"slot {index} does not exist; this environment has slots 0-{self.num_slots - 1}.")
        if task not in self._scenes:
            scene = load_scene(task, self._assets)
            model = self.config.dynamics(set_physics(scene.model, self.config.physics))
            self._scenes[task] = replace(scene, model=model)
            self._readers[task] = FactReader(self._scenes[task])
            if self.config.state_tokens != "none":
                self._token_readers[task] = TokenReader(self._scenes[task], self.config.state_tokens)
        self._ended.discard(index)
        if self._tasks.get(index) == task and self._placements.get(index) == placement:
            return self._slots[index]
        scene = self._scenes[task]
        if placement.kind == "sampled":
            ensure_placements(scene, self._assets, [placement.index])
        if self._tasks.get(index) != task:
            self._slots[index] = Slot(scene.model, scene.robot, scene.goal)
            self._tasks[index] = task
        self._placements[index] = placement
        self._looks[index] = self._perturber.look(scene, placement)
        return self._slots[index]

    def _incident(self, index: int) -> Incident:
        actions = np.concatenate(self._taken[index])
        return Incident(self._tasks[index], self._placements[index], actions, asdict(self.config))

    def _steps(self, index: int) -> int:
        """Control steps the policy has taken in this episode."""
        return int(self._slots[index].state["count"]) - self.config.wait_steps

    def _cap(self, index: int) -> int:
        return self.config.cap(self._tasks[index].suite)
