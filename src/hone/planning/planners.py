"""The ways to look ahead, by name: what `hone eval --planner NAME` builds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from hone.envs.base import EnvironmentConfig
from hone.envs.libero.environment import LiberoConfig
from hone.errors import HoneError
from hone.planning.macros import MacroLibrary
from hone.planning.preparation import CHUNK_VALUE, LIBRARY
from hone.planning.tree_search import HONESTY, SearchConfig, SearchPlanning
from hone.planning.value import ValueHead
from hone.planning.verification import BestOfPlanning
from hone.training.workers import Planning

Planner = Literal["none", "vlaps", "vvlaps", "best-of-n", "value", "outcome", "consistency"]
PLANNERS: dict[Planner, str] = {
    "none": "the policy alone",
    "vlaps": "tree search; leaves are rolled out with the policy",
    "vvlaps": "tree search; a head on the policy's features values leaves and says when a rollout has failed",
    "best-of-n": "whole rollouts of the policy from here, without a tree",
    "value": "best of the policy's samples by a value of chunks, without a simulator",
    "outcome": "best of the policy's samples by what of the instruction's plan is done after it, simulated",
    "consistency": "best of the policy's samples by how smoothly it goes on",
}
assert set(PLANNERS) == set(get_args(Planner))
NEEDS_VALUE = ("vvlaps", "value")
SIMULATES = ("vlaps", "vvlaps", "best-of-n", "outcome")


@dataclass(frozen=True)
class ModelError:
    """In what the copies that are searched differ from the world that is acted in. 1: not at all."""

    friction: float = 1.0
    """Factor on friction."""
    mass: float = 1.0
    """Factor on the masses of loose things."""

    @property
    def none(self) -> bool:
        return self == ModelError()


def settings(name: Planner, search: SearchConfig) -> SearchConfig:
    """`search` as this planner has it."""
    if name == "vlaps":
        return replace(search, rollout_share=1.0, give_up=0.0)
    if name == "best-of-n":
        alone = replace(search.candidates, samples=search.candidates.count, library=0)
        flat = replace(search.mcts, max_depth=1)
        noisy = replace(search, rollout_share=1.0, give_up=0.0, rollout_noise=alone.noise)
        return replace(noisy, mcts=flat, candidates=alone)
    return search


def build_planning(
    name: Planner, search: SearchConfig, env: EnvironmentConfig, value_folder: Path | None, error: ModelError
) -> Planning | None:
    """For an evaluation in environments of `env`; `None` for the policy alone."""
    if name == "none":
        return None
    if not isinstance(env, LiberoConfig):
        raise HoneError(
            f"planner '{name}' needs copies of the simulator in a given state, which LIBERO alone has here."
        )
    if name in NEEDS_VALUE and value_folder is None:
        raise HoneError(f"planner '{name}' needs --value FOLDER; `hone value` makes it.")
    copies = replace(env, friction=env.friction * error.friction, mass=env.mass * error.mass)
    library = None if value_folder is None else MacroLibrary.load(value_folder / LIBRARY)
    config = settings(name, search)
    if name in ("vlaps", "vvlaps", "best-of-n"):
        head = ValueHead.load(value_folder) if name == "vvlaps" and value_folder is not None else None
        if head is not None and head.config.discount != config.mcts.discount:
            raise HoneError(
                f"the value was trained with discount {head.config.discount}, the search has {config.mcts.discount}; "
                "make them equal (search.mcts.discount)."
            )
        return SearchPlanning(config, copies, head, library, faithful=error.none)
    head = ValueHead.load(value_folder / CHUNK_VALUE) if name == "value" and value_folder is not None else None
    alone = replace(config.candidates, samples=config.candidates.count, library=0)
    return BestOfPlanning(name, copies, alone, head, library)


def label(name: Planner, search: SearchConfig, error: ModelError) -> str:
    """For the protocol card: all that can move the score, and what the planner sees that a robot does not."""
    if name == "none":
        return ""
    config = settings(name, search)
    parts = [name, f"{config.candidates.count} candidates at noise {config.candidates.noise:g}"]
    if name in ("vlaps", "vvlaps", "best-of-n"):
        budget = "" if config.step_budget is None else f", at most {config.step_budget} simulated steps an episode"
        parts.append(f"{config.mcts.simulations} simulations a decision{budget}")
        parts.append(f"rollout share {config.rollout_share:g}, given up below {config.give_up:g} of the best value")
        parts.append(f"rollout noise {config.rollout_noise:g}, discount {config.mcts.discount:g}")
        parts.append(f"PUCT {config.mcts.exploration:g}, depth {config.mcts.max_depth}, {config.candidates}")
    if name in SIMULATES:
        parts.append(HONESTY)
        if not error.none:
            parts.append(f"copies with friction x{error.friction:g}, mass x{error.mass:g}")
    return "; ".join(parts)
