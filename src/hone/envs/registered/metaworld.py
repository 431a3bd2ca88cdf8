"""Meta-World (Yu et al. 2019, arXiv:1910.10897) as a declared environment: 50 tasks for a Sawyer arm, offline.

Needs `pip install 'hone-vla[metaworld]'`. Departures from Meta-World's own `Meta-World/MT1`:
1. a placement is drawn from the task's region by the seed of `reset`, so any number can be had; MT1 draws 50 once and
   takes one of them at each reset, whatever the seed;
2. the observation is a dictionary: what the arm measures, and, apart from it, what it cannot know (object poses, goal);
3. beside Meta-World's 39 numbers the privileged state has where the objects and the goal are as seen from the hand.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float64

from hone.envs.registered.declaration import GymConfig, GymTask
from hone.errors import HoneError, unknown_name

ENV_ID = "hone/MetaWorld-v0"
STEP_CAP = 500
"""Meta-World's own (`max_path_length`)."""
RATE_HZ = 80.0
STATE_DIM = 39 + 4 * 3
IDLE = (0.0, 0.0, 0.0, -1.0)
"""Stand still, hand open."""
INSTRUCTIONS = {
    "reach-v3": "move the hand to the goal",
    "push-v3": "push the puck to the goal",
    "pick-place-v3": "pick up the puck and place it at the goal",
    "door-open-v3": "open the door",
    "drawer-open-v3": "open the drawer",
    "drawer-close-v3": "close the drawer",
    "button-press-topdown-v3": "press the button from above",
    "peg-insert-side-v3": "insert the peg sideways into the box",
    "window-open-v3": "slide the window open",
    "window-close-v3": "slide the window closed",
}
"""Of MT10, in its order. Meta-World has no words for its tasks; those of the others are their names'."""


class MetaWorldEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """One task. `proprio [4]`: hand position (m) and opening (0 to 1). `state [51]`: Meta-World's 39 numbers (hand and
    objects now and one step ago, and the goal), then both objects and the goal relative to the hand, and the goal
    relative to the first object."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(RATE_HZ)}  # noqa: RUF012 - gymnasium's own way

    def __init__(self, name: str, camera: str = "corner2", size: int = 256, render_mode: str | None = None) -> None:
        classes = _package("metaworld.env_dict").ALL_V3_ENVIRONMENTS
        if name not in classes:
            raise unknown_name("Meta-World task", name, classes)
        self.name, self.render_mode = name, render_mode
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of gymnasium, about Meta-World's spaces
            self._env = classes[name](render_mode=render_mode, camera_name=camera, width=size, height=size)
        # As Meta-World's MT benchmarks have it: the goal is seen. `seeded_rand_vec` draws placements from `seed`.
        self._env._set_task_called = True
        self._env._partially_observable = False
        self._env._freeze_rand_vec = False
        self._env.seeded_rand_vec = True
        self._env.__dict__.pop("sawyer_observation_space", None)  # cached while the goal was hidden
        self.action_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.observation_space = spaces.Dict(
            {
                "proprio": spaces.Box(-np.inf, np.inf, (4,), np.float64),
                "state": spaces.Box(-np.inf, np.inf, (STATE_DIM,), np.float64),
            }
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        super().reset(seed=seed)
        if seed is not None:
            self._env.seed(seed)
        raw, _ = self._env.reset()
        return self._observed(raw), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        raw, reward, terminated, truncated, info = self._env.step(np.asarray(action, np.float32))
        return self._observed(raw), float(reward), bool(terminated), bool(truncated), info

    def render(self) -> np.ndarray:
        picture = self._env.render()
        # Meta-World's camera `corner2` hangs upside down.
        return np.ascontiguousarray(picture[::-1, ::-1]) if self._env.camera_name == "corner2" else picture

    def close(self) -> None:
        self._env.close()

    def _observed(self, raw: Float64[np.ndarray, " 39"]) -> dict[str, np.ndarray]:
        hand, first, second, goal = raw[:3], raw[4:7], raw[11:14], raw[36:39]
        relative = [first - hand, second - hand, goal - hand, goal - first]
        return {"proprio": raw[:4], "state": np.concatenate([raw, *relative])}


def expert(env: gymnasium.Env[Any, Any]) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Meta-World's own scripted policy for the task. Its actions may be out of range; they are clipped, as
    Meta-World does."""
    inner = env.unwrapped
    assert isinstance(inner, MetaWorldEnv)
    policy = _package("metaworld.policies").ENV_POLICY_MAP[inner.name]()

    def act(observation: dict[str, np.ndarray]) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Constant(s) may be too high. Environments clip response to [-1, 1]"
            return np.asarray(policy.get_action(observation["state"][:39]))

    return act


def mt10() -> GymConfig:
    return _suite("metaworld-mt10", tuple(INSTRUCTIONS))


def mt50() -> GymConfig:
    return _suite("metaworld-mt50", tuple(_package("metaworld.env_dict").ALL_V3_ENVIRONMENTS))


def _suite(name: str, tasks: Sequence[str]) -> GymConfig:
    _package("metaworld")
    return GymConfig(
        id=f"{__name__}:{ENV_ID}",
        proprio=("proprio",),
        state=("state",),
        images=("render",),
        success="info:success",
        action_frame="delta",
        idle=IDLE,
        expert=f"{__name__}:expert",
        noise_shares=(1.0, 1.0, 1.0, 0.0),
        made_of=f"metaworld {metadata.version('metaworld')}",
        suite_name=name,
        suite_tasks=tuple(GymTask(task, INSTRUCTIONS.get(task, _words(task)), {"name": task}) for task in tasks),
    )


def _words(task: str) -> str:
    return task.removesuffix("-v3").replace("-", " ")


def _package(module: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise HoneError(
            f"Meta-World is not installed ({error}); pip install 'hone-vla[metaworld]' (it pins mujoco 3.3.0)."
        ) from error


gymnasium.register(ENV_ID, entry_point=f"{__name__}:MetaWorldEnv", max_episode_steps=STEP_CAP)
