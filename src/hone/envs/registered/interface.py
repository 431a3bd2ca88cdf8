"""What a registered environment turns out to have: made once per process, looked at, and remembered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np

from hone.envs.registered.reading import DRAWN, Key, describe, picture, vector
from hone.errors import HoneError


@dataclass(frozen=True)
class Interface:
    """The sizes of what was declared, and what the registry says besides."""

    action_low: np.ndarray
    action_high: np.ndarray
    proprio_dim: int
    state_dim: int
    step_cap: int | None
    rate_hz: float | None

    @property
    def action_dim(self) -> int:
        return len(self.action_low)


def make(env_id: str, options: dict[str, Any], draws: bool) -> gymnasium.Env[Any, Any]:
    """The environment, able to draw itself where it is said to."""
    drawing = {"render_mode": "rgb_array"} if draws else {}
    try:
        return gymnasium.make(env_id, disable_env_checker=True, **drawing, **options)
    except HoneError:
        raise
    except Exception as error:
        # Whatever an environment of somebody else's raises, its user needs one line.
        raise HoneError(
            f"gymnasium cannot make '{env_id}' with {options or 'no options'}: {type(error).__name__}: {error} "
            "Environments of a package are registered when it is imported; write `gym:package:ID` where it is not."
        ) from error


@lru_cache(maxsize=16)
def look(
    env_id: str,
    options: str,
    draws: bool,
    proprio: tuple[str, ...],
    state: tuple[str, ...],
    images: tuple[str, ...],
) -> Interface:
    """Make the environment (`options` are JSON), reset it under seed 0, and find what was declared."""
    env = make(env_id, json.loads(options), draws)
    try:
        observation, _ = env.reset(seed=0)
        space = env.action_space
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise HoneError(f"'{env_id}' has actions {space}; Hone acts with vectors of real numbers (a flat Box).")
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise HoneError(f"'{env_id}' does not bound its actions ({space}); wrap it in RescaleAction.")
        if not proprio and not state:
            raise HoneError(
                f"'{env_id}' needs a declaration of its proprioception, images and (privileged) state. It has "
                f"{describe(observation)}; say --env.proprio KEY, --env.images KEY (`{DRAWN}`: it draws itself), "
                "--env.state KEY."
            )
        numbers = [len(vector(observation, keys)) for keys in (proprio, state)]
        for key in images:
            pictures(env, observation, (key,), 16)
        limit = None if env.spec is None else env.spec.max_episode_steps
        return Interface(
            np.asarray(space.low, np.float32),
            np.asarray(space.high, np.float32),
            *numbers,
            step_cap=limit,
            rate_hz=float(rate) if (rate := env.metadata.get("render_fps")) else None,
        )
    finally:
        env.close()


def pictures(env: gymnasium.Env[Any, Any], observation: Any, keys: Sequence[str], size: int) -> np.ndarray:
    """`[C, S, S, 3]`: those in the observation, and the one that the environment draws now."""
    drawn = [env.render() if key == DRAWN else Key(key).read(observation) for key in keys]
    return np.stack([picture(pixels, size, key) for pixels, key in zip(drawn, keys, strict=True)])
