"""LIBERO as gymnasium environments: `hone/LIBERO-v0`, one at a time or many in one vector.

    import gymnasium, hone.envs.gym
    env = gymnasium.make("hone/LIBERO-v0", suite="libero_object", task=3)
    envs = gymnasium.make_vec("hone/LIBERO-v0", num_envs=8, task=3)

Importing this module registers it; `gymnasium.make("hone.envs.gym:hone/LIBERO-v0")` imports and makes in one. (The
`gymnasium.envs` entry point of older gymnasiums is no longer read since 1.0.)

One `step` is one control step (20 Hz) with an action of 7 numbers in [-1, 1], see `hone.types.ACTION_DIM`. The reward
is 1.0 at the step that solves the task, else 0. `terminated` is success, `truncated` the suite's step cap, or a
simulation that diverged (`info["diverged"]`; the observation is then the one before). `reset(seed=…)` draws a freshly
sampled placement, `reset(options={"official": 7})` takes a stored initial state, `{"sampled": 7}` names a placement.

Observations by `keys`:

`hone`: `proprio [8]` (see `hone.types.PROPRIO_DIM`), one `[S, S, 3]` image under each camera's name, and with
`state_tokens="objects_v2"` privileged object poses `state [12, 12]`.

`lerobot`: `{"pixels": {"image", "image2"}, "agent_pos": [8]}`. LeRobot's `preprocess_observation`
(lerobot/envs/utils.py) renames these to `observation.images.image`, `observation.images.image2` and
`observation.state`, which its LIBERO policies read. LeRobot's own LiberoEnv (lerobot/envs/libero.py, 2025) has the same
`pixels`, as OpenGL draws them, and a nested `robot_state` that its LiberoProcessorStep
(lerobot/processor/env_processor.py) flattens to the same 8 numbers while it turns the pictures by 180 degrees. So with
these keys pictures are "opengl" unless `image_orientation` is given: with that processor leave it, without it pass
"rotated_180".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from hone.envs.libero.environment import LiberoConfig
from hone.envs.libero.scene import PLACEMENT_BLOCK
from hone.envs.libero.state_tokens import TOKEN_SHAPES
from hone.envs.libero.suites import task as find_task
from hone.errors import HoneError, unknown_name
from hone.types import ACTION_DIM, Observation, Placement, Task

ENV_ID = "hone/LIBERO-v0"
KEYS = ("hone", "lerobot")
LEROBOT_CAMERAS = {"agentview": "image", "robot0_eye_in_hand": "image2"}
PROPRIO_BOUND = np.array([5.0] * 3 + [2 * np.pi + 1e-3] * 3 + [0.2] * 2, np.float32)
"""Twice and more what a LIBERO robot can reach (m, rad, m)."""
RENDER_SIZE = 256
"""Pixels on a side of what `render()` returns."""
PLACEMENT_OPTIONS = ("official", "sampled")

Arrays = dict[str, Any]


class LiberoEnv(gymnasium.Env[Arrays, np.ndarray]):
    """One LIBERO task. `options` are fields of `LiberoConfig`; with `images=False` nothing is ever drawn for `step`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - gymnasium's own way

    def __init__(
        self,
        suite: str = "libero_object",
        task: int | str = 0,
        *,
        keys: str = "hone",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self._task = find_task(suite, task)
        self.task, self.task_description = self._task.name, self._task.instruction
        self.render_mode = _checked_render_mode(render_mode)
        self._keys = keys
        config = libero_config(keys, options)
        self.observation_space = observation_space(config, keys)
        self.action_space = action_space()
        self._env = config.build(1)
        self._last: Arrays | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Arrays, Arrays]:
        super().reset(seed=seed)
        placement = _placement(options or {}, self.np_random)
        _start(self._env, [0], [self._task], [placement])
        self._last = self._look()
        return self._last, _start_info(self._task, placement)

    def step(self, action: np.ndarray) -> tuple[Arrays, SupportsFloat, bool, bool, Arrays]:
        if self._last is None:
            raise HoneError("call reset() before step().")
        result = self._env.step([0], _checked_actions(action, (ACTION_DIM,))[None, None])
        success, diverged = bool(result.terminated[0]), bool(result.diverged[0])
        if not diverged:
            self._last = self._look()
        info = {"is_success": success, "diverged": diverged}
        return self._last, float(success), success, bool(result.truncated[0]) or diverged, info

    def render(self) -> np.ndarray | None:
        """The main camera as a person sees it `[256, 256, 3]`, where the render mode asks for it."""
        if self.render_mode is None or self._last is None:
            return None
        return _upright(self._env.render([0], RENDER_SIZE)[0, 0], self._env.config)

    def close(self) -> None:
        self._env.close()

    def _look(self) -> Arrays:
        return _row(as_arrays(self._env.observe([0]), self._env.config, self._keys), 0)


class LiberoVectorEnv(VectorEnv[Arrays, np.ndarray, np.ndarray]):
    """`num_envs` LIBERO episodes in one process, stepped together natively. `task`: one for all, or one for each.

    What happens at the end of an episode is gymnasium's `autoreset_mode`, declared in `metadata`: "NextStep" (the next
    `step` ignores that row's action and starts its new episode), "SameStep" (the new episode starts at once; `info` has
    `final_obs` and `final_info`), or "Disabled" (call `reset(options={"reset_mask": …})`).
    `options={"official": …}` takes one index, or one for each row.
    """

    def __init__(
        self,
        num_envs: int = 1,
        suite: str = "libero_object",
        task: int | str | Sequence[int | str] = 0,
        *,
        keys: str = "hone",
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        **options: Any,
    ) -> None:
        names = [task] * num_envs if isinstance(task, int | str) else list(task)
        if len(names) != num_envs:
            raise HoneError(f"{len(names)} tasks came for {num_envs} environments; give one, or one for each.")
        self._tasks = [find_task(suite, name) for name in names]
        self.num_envs = num_envs
        self.render_mode = _checked_render_mode(render_mode)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**LiberoEnv.metadata, "autoreset_mode": self.autoreset_mode}
        self._keys = keys
        config = libero_config(keys, options)
        self.single_observation_space = observation_space(config, keys)
        self.single_action_space = action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._env = config.build(num_envs)
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._ended = np.ones(num_envs, bool)
        self._last: Arrays | None = None

    @property
    def task_descriptions(self) -> tuple[str, ...]:
        """The instruction of each row."""
        return tuple(task.instruction for task in self._tasks)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, Arrays]:
        """Start an episode in every row, or where `options["reset_mask"] [N]` is true. Row i gets `seed + i`."""
        options = dict(options or {})
        rows = np.flatnonzero(options.pop("reset_mask", np.ones(self.num_envs, bool)))
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed
        if seeds is not None and len(seeds) != self.num_envs:
            raise HoneError(f"{len(seeds)} seeds came for {self.num_envs} environments.")
        for row in map(int, rows):
            if seeds is not None and seeds[row] is not None:
                self._generators[row] = np.random.default_rng(seeds[row])
        info = self._begin(rows, options, {})
        return self._look(rows), info

    def step(self, actions: np.ndarray) -> tuple[Arrays, np.ndarray, np.ndarray, np.ndarray, Arrays]:
        if self._last is None:
            raise HoneError("call reset() before step().")
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise HoneError(
                f"the episodes of rows {np.flatnonzero(self._ended).tolist()} have ended; "
                'call reset(options={"reset_mask": …}), or choose another autoreset_mode.'
            )
        actions = _checked_actions(actions, (self.num_envs, ACTION_DIM))
        starting = np.flatnonzero(self._ended)  # none in the other modes
        info = self._begin(starting, {}, {})
        rows = np.setdiff1d(np.arange(self.num_envs), starting)
        success, diverged, ended = np.zeros((3, self.num_envs), bool)
        if len(rows):
            result = self._env.step(rows.tolist(), actions[rows, None])
            success[rows], diverged[rows], ended[rows] = result.terminated, result.diverged, result.done
        observation = self._look(np.flatnonzero(~diverged))
        same_step = self.autoreset_mode == AutoresetMode.SAME_STEP
        for row in map(int, rows):
            report: Arrays = {"is_success": bool(success[row]), "diverged": bool(diverged[row])}
            if same_step and ended[row]:
                report = {"final_obs": _row(observation, row), "final_info": report}
            info = self._add_info(info, report, row)
        self._ended = ended
        if same_step and ended.any():
            again = np.flatnonzero(ended)
            info = self._begin(again, {}, info)
            observation = self._look(again)
        return observation, success.astype(np.float64), success, ended & ~success, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The main camera of each row as a person sees it `[256, 256, 3]`, where the render mode asks for it."""
        if self.render_mode is None or self._last is None:
            return None
        pictures = self._env.render(range(self.num_envs), RENDER_SIZE)[:, 0]
        return tuple(_upright(picture, self._env.config) for picture in pictures)

    def close_extras(self, **kwargs: Any) -> None:
        self._env.close()

    def _begin(self, rows: np.ndarray, options: dict[str, Any], info: Arrays) -> Arrays:
        """Start an episode in each of `rows`, and add to `info` how they start."""
        placements = []
        for row in map(int, rows):
            own = {name: value if np.isscalar(value) else value[row] for name, value in options.items()}
            placements.append(_placement(own, self._generators[row]))
            info = self._add_info(info, _start_info(self._tasks[row], placements[-1]), row)
        _start(self._env, rows.tolist(), [self._tasks[row] for row in rows], placements)
        self._ended[rows] = False
        return info

    def _look(self, rows: np.ndarray) -> Arrays:
        """The observation of all rows, with `rows` looked at afresh."""
        if self._last is None:
            self._last = _zeros(self.observation_space)
        if len(rows):
            fresh = as_arrays(self._env.observe(rows.tolist()), self._env.config, self._keys)
            self._last = _with_rows(self._last, fresh, rows)
        return self._last


def libero_config(keys: str, options: dict[str, Any]) -> LiberoConfig:
    """The `LiberoConfig` of these options, with the picture orientation that goes with `keys`."""
    if keys not in KEYS:
        raise unknown_name("observation keys", keys, KEYS)
    known = [field.name for field in fields(LiberoConfig) if field.name != "stop_at_success"]
    for name in options:
        if name not in known:
            raise unknown_name("option", name, [*known, "suite", "task", "keys", "render_mode"])
    config = LiberoConfig(**options)
    if keys == "lerobot" and "image_orientation" not in options:
        return replace(config, image_orientation="opengl")
    return config


def action_space() -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)


def observation_space(config: LiberoConfig, keys: str) -> gymnasium.Space[Any]:
    image: gymnasium.Space[Any] = spaces.Box(0, 255, (config.image_size, config.image_size, 3), np.uint8)
    proprio = spaces.Box(-PROPRIO_BOUND, PROPRIO_BOUND, dtype=np.float32)
    if keys == "lerobot":
        pixels: dict[str, gymnasium.Space[Any]] = {LEROBOT_CAMERAS[name]: image for name in config.spec.cameras}
        return spaces.Dict({"agent_pos": proprio, **({"pixels": spaces.Dict(pixels)} if pixels else {})})
    shown: dict[str, gymnasium.Space[Any]] = {"proprio": proprio, **{name: image for name in config.spec.cameras}}
    if config.state_tokens != "none":
        shown["state"] = spaces.Box(-10.0, 10.0, TOKEN_SHAPES[config.state_tokens], np.float32)
    return spaces.Dict(shown)


def as_arrays(observation: Observation, config: LiberoConfig, keys: str) -> Arrays:
    """An observation of `B` rows as a dictionary of batches in the layout of `observation_space`."""
    names = [LEROBOT_CAMERAS[name] if keys == "lerobot" else name for name in config.spec.cameras]
    images = {} if observation.images is None else {name: observation.images[:, i] for i, name in enumerate(names)}
    if keys == "lerobot":
        return {"agent_pos": observation.proprio, **({"pixels": images} if images else {})}
    tokens = {} if observation.state is None else {"state": observation.state}
    return {"proprio": observation.proprio, **images, **tokens}


def _placement(options: dict[str, Any], generator: np.random.Generator) -> Placement:
    """The placement that `reset`'s options name, or else one drawn."""
    for name in options:
        if name not in PLACEMENT_OPTIONS:
            raise unknown_name("reset option", name, PLACEMENT_OPTIONS)
    if len(options) > 1:
        raise HoneError("reset takes an official or a sampled placement, not both.")
    if "official" in options:
        return Placement("official", int(options["official"]))
    return Placement("sampled", int(options.get("sampled", generator.integers(PLACEMENT_BLOCK))))


def _start(env: Any, slots: list[int], tasks: list[Task], placements: list[Placement]) -> None:
    beyond = [p.index for p in placements if p.kind == "sampled" and not 0 <= p.index < PLACEMENT_BLOCK]
    if beyond:
        raise HoneError(f"sampled placements are numbered 0-{PLACEMENT_BLOCK - 1} here, not {beyond[0]}.")
    env.reset(slots, tasks, placements)


def _start_info(task: Task, placement: Placement) -> Arrays:
    return {
        "is_success": False,
        "diverged": False,
        "task": task.name,
        "instruction": task.instruction,
        "placement_kind": placement.kind,
        "placement": placement.index,
    }


def _checked_actions(actions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    actions = np.asarray(actions, np.float32)
    if actions.shape != shape:
        raise HoneError(f"the action has shape {actions.shape}, expected {shape}.")
    if not np.isfinite(actions).all():
        raise HoneError("the action holds a number that is not finite.")
    return actions


def _checked_render_mode(mode: str | None) -> str | None:
    if mode not in (None, *LiberoEnv.metadata["render_modes"]):
        raise unknown_name("render mode", str(mode), LiberoEnv.metadata["render_modes"])
    return mode


def _upright(picture: np.ndarray, config: LiberoConfig) -> np.ndarray:
    rows = slice(None, None, -1) if config.image_orientation == "opengl" else slice(None)
    columns = slice(None, None, -1) if config.image_orientation == "rotated_180" else slice(None)
    return np.ascontiguousarray(picture[rows, columns])


def _zeros(space: Any) -> Arrays:
    return {
        name: _zeros(part) if isinstance(part, spaces.Dict) else np.zeros(part.shape, part.dtype)
        for name, part in space.spaces.items()
    }


def _with_rows(old: Arrays, fresh: Arrays, rows: np.ndarray) -> Arrays:
    """A copy of `old` in which `rows` are those of `fresh`; what was handed out before does not change."""
    new: Arrays = {}
    for name, part in old.items():
        if isinstance(part, dict):
            new[name] = _with_rows(part, fresh[name], rows)
        else:
            new[name] = part.copy()
            new[name][rows] = fresh[name]
    return new


def _row(observation: Arrays, index: int) -> Arrays:
    """One row of a batched observation."""
    return {name: _row(part, index) if isinstance(part, dict) else part[index] for name, part in observation.items()}


gymnasium.register(
    id=ENV_ID,
    entry_point="hone.envs.gym:LiberoEnv",
    vector_entry_point="hone.envs.gym:LiberoVectorEnv",
)
