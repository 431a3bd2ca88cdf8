"""Who demonstrates: LIBERO's scripted expert, or the one that a declared gymnasium environment names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hone.envs.base import EnvironmentConfig
from hone.envs.registered.declaration import GymConfig, named_object
from hone.envs.registered.environment import View
from hone.errors import HoneError
from hone.primitives.expert import HAND_NOISE, VERSION, Expert, Manner
from hone.primitives.skills import Command
from hone.types import Status


@runtime_checkable
class Actor(Protocol):
    """Who acts in one demonstration."""

    def act(self, seen: Any) -> Command | Status:
        """The command of the next control step, given what the demonstrator sees, or how the demonstration ended."""
        ...


@runtime_checkable
class Demonstrator(Protocol):
    """Makes the actor of each demonstration."""

    version: str
    privilege: str
    """What it sees that a robot could not."""
    noise_shares: Sequence[float]
    """How much of injected noise each of the first numbers of an action bears."""

    def see(self, env: Any, slots: Sequence[int]) -> list[Any]:
        """What is shown of each slot."""
        ...

    def begin(self, rests: Sequence[int]) -> Actor:
        """`rests`: control steps to stand still before the first, second, … movement of the fingers."""
        ...


class ScriptedDemonstrator:
    """LIBERO's: picks, places, opens, closes and turns."""

    version = VERSION
    privilege = "object poses (the expert)"
    noise_shares: Sequence[float] = HAND_NOISE

    def see(self, env: Any, slots: Sequence[int]) -> list[Any]:
        return env.facts(slots)

    def begin(self, rests: Sequence[int]) -> Actor:
        return _ScriptedActor(rests)


class _ScriptedActor:
    def __init__(self, rests: Sequence[int]) -> None:
        self._expert = Expert(rests)

    def act(self, seen: Any) -> Command | Status:
        command = self._expert.act(seen)
        if command is None:
            return "success" if all(seen.satisfied) else "failure"
        return command


class DeclaredDemonstrator:
    """The expert named in a declaration: `expert(env)` makes a function from the environment's observations, as it
    gives them, to its actions. The demonstration ends when the environment says so."""

    privilege = "what the environment's own expert sees"

    def __init__(self, config: GymConfig, manner: Manner) -> None:
        if manner.longest_rest:
            raise HoneError("--manner.longest-rest: only LIBERO's expert knows how to rest.")
        if not config.expert:
            raise HoneError(
                f"{config.suite} declares no expert. Name one with --env.expert module:function (a function of the "
                "environment that returns a function from observations to actions), or import demonstrations."
            )
        self.version = config.expert
        self.noise_shares: Sequence[float] = config.noise_shares or (1.0,) * config.spec.action_dim
        self._expert = named_object(config.expert)
        self._to_policy = config.to_policy_range

    def see(self, env: Any, slots: Sequence[int]) -> list[View]:
        return env.views(slots)

    def begin(self, rests: Sequence[int]) -> Actor:
        return _DeclaredActor(self._expert, self._to_policy)


class _DeclaredActor:
    def __init__(self, expert: Callable[[Any], Callable[[Any], Any]], to_policy: Callable[[Any], np.ndarray]) -> None:
        self._expert, self._to_policy = expert, to_policy
        self._acts: Callable[[Any], Any] | None = None

    def act(self, seen: View) -> Command | Status:
        if self._acts is None:
            self._acts = self._expert(seen.env)
        return Command(self._to_policy(self._acts(seen.observation)).astype(np.float64), freedom=1.0)


def demonstrator_for(env: EnvironmentConfig, manner: Manner) -> Demonstrator:
    """Who demonstrates there, in this manner."""
    return DeclaredDemonstrator(env, manner) if isinstance(env, GymConfig) else ScriptedDemonstrator()
