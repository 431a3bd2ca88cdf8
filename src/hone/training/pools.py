"""Where episodes run: in this process, on processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from hone.errors import HoneError
from hone.policies.base import Policy
from hone.training.rollout import EpisodeRequest, Guidance, Keep, Trajectory, Witness
from hone.training.workers import Builder, Planning, RolloutPool


@runtime_checkable
class Pool(Protocol):
    """What rollouts are asked of; `RolloutPool` says what each argument means."""

    num_workers: int

    def collect(
        self,
        requests: Sequence[EpisodeRequest],
        *,
        keep: Keep = "nothing",
        witness: Witness | None = None,
        hold_steps: int = 0,
        guidance: Guidance | None = None,
        planning: Planning | None = None,
        on_episode: Callable[[Trajectory], None] | None = None,
    ) -> list[Trajectory]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Pool: ...

    def __exit__(self, *exception: Any) -> None: ...


def open_pool(builder: Builder, policy: Policy, workers: int, slots: int, ray: str | None = None) -> Pool:
    """`workers` of `slots` environment slots each; with `ray` (`auto`, `local` or HOST:PORT) they are Ray actors."""
    if ray is None:
        return RolloutPool(builder, policy, workers, slots)
    if workers < 1:
        raise HoneError("a Ray cluster needs somebody to work: --workers is 0; give at least 1, or leave --ray out.")
    from hone.training.ray_workers import RayPool

    return RayPool(builder, policy, workers, slots, ray)
