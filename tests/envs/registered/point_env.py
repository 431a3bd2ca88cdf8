"""A robot in somebody else's package: a point on a table that has to reach a goal, registered with gymnasium."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

ENV_ID = "point_env:test/Point-v0"
STEP_M = 0.05
GOAL_RADIUS_M = 0.06


class PointEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Actions are steps of at most `STEP_M`, so not in [-1, 1].

    `tells`: how info calls success. `breaks_at`: a step that raises. `drifts`: the same seed leads elsewhere."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        render_mode: str | None = None,
        tells: str = "is_success",
        breaks_at: int | None = None,
        drifts: bool = False,
        terminates: bool = False,
        side: float = 1.0,
    ) -> None:
        self.render_mode, self._tells, self._side = render_mode, tells, side
        self._breaks_at, self._drifts, self._terminates = breaks_at, drifts, terminates
        self.action_space = spaces.Box(-STEP_M, STEP_M, (2,), np.float32)
        box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        picture = spaces.Box(0, 255, (24, 32, 3), np.uint8)
        self.observation_space = spaces.Dict(
            {"agent_pos": box, "goal": box, "pixels": spaces.Dict({"top": picture}), "said": spaces.Text(40)}
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        super().reset(seed=seed)
        self.position = np.zeros(2)
        self.goal = self.np_random.uniform(0.1, 0.4, 2) * self._side
        self._steps = 0
        return self._observed(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(np.asarray(action, np.float32)), action
        self._steps += 1
        if self._steps == self._breaks_at:
            raise RuntimeError("the motor is\nhot")
        self.position = self.position + action + (np.random.normal(0, 0.01, 2) if self._drifts else 0.0)
        reached = bool(np.linalg.norm(self.goal - self.position) < GOAL_RADIUS_M)
        return self._observed(), float(reached), reached and self._terminates, False, {self._tells: reached}

    def render(self) -> np.ndarray:
        return np.full((40, 60, 3), 7, np.uint8)

    def _observed(self) -> dict[str, Any]:
        top = np.zeros((24, 32, 3), np.uint8)
        top[:12] = 200
        place = "right" if self.goal[0] > self.goal[1] else "left"
        said = {"agent_pos": self.position.astype(np.float32), "goal": self.goal.astype(np.float32)}
        return {**said, "pixels": {"top": top}, "said": f"go {place}"}


def expert(env: gymnasium.Env[Any, Any]) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Straight to the goal."""

    def act(observation: dict[str, np.ndarray]) -> np.ndarray:
        return np.clip(observation["goal"] - observation["agent_pos"], -STEP_M, STEP_M)

    return act


gymnasium.register(ENV_ID.partition(":")[2], entry_point="point_env:PointEnv", max_episode_steps=30)
