"""Rollouts on several processes: each worker holds an environment and a copy of the policy and runs whole episodes.

Workers are plain processes here; a cluster wraps the same `rollout` in remote actors. Episodes go to workers by
their id, so with the same number of workers the same seed gives the same run. A worker that dies or falls silent is
replaced and its unfinished episodes run again under the same seeds: none is lost, none counted twice. Episodes whose
workers die three times over are returned with status "error": a fault of the machinery, never a failure of the policy.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from hone.envs.base import Environment
from hone.policies.base import Policy
from hone.training.rollout import EpisodeRequest, Keep, Trajectory, rollout

log = logging.getLogger(__name__)

SILENCE_S = 120.0
"""A worker that reports nothing for this long is presumed hung (a blocked GL driver, say) and replaced."""


@runtime_checkable
class Builder(Protocol):
    """Makes an environment inside a worker; small and picklable, like an environment's config."""

    def build(self, num_slots: int) -> Environment: ...


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    pending: dict[int, EpisodeRequest]
    last_heard: float


class RolloutPool:
    """`num_workers` processes with `slots_per_worker` environment slots each. `num_workers=0` runs in this process."""

    def __init__(self, builder: Builder, policy: Policy, num_workers: int, slots_per_worker: int) -> None:
        self._builder = builder
        self._policy = policy
        self._slots = slots_per_worker
        self.num_workers = num_workers
        self._context = multiprocessing.get_context("spawn")
        self._local = builder.build(slots_per_worker) if num_workers == 0 else None
        self.restarts = 0
        self._workers = [self._start() for _ in range(num_workers)]

    def collect(
        self,
        requests: Sequence[EpisodeRequest],
        *,
        keep: Keep = "nothing",
        hold_steps: int = 0,
        on_episode: Callable[[Trajectory], None] | None = None,
    ) -> list[Trajectory]:
        """Run every request with the policy's present weights; trajectories come back ordered by episode id."""
        options = {"keep": keep, "hold_steps": hold_steps}
        done: dict[int, Trajectory] = {}

        def record(trajectory: Trajectory) -> None:
            done[trajectory.request.episode_id] = trajectory
            if on_episode is not None:
                on_episode(trajectory)

        if self._local is not None:
            for trajectory in _run(self._local, self._policy, requests, **options):
                record(trajectory)
        else:
            ordered = sorted(requests, key=lambda request: request.episode_id)
            job = {"weights": _weights(self._policy), "options": options}
            for index, worker in enumerate(self._workers):
                self._send(worker, job, ordered[index :: len(self._workers)])
            while any(worker.pending for worker in self._workers):
                self._listen(job, record)
        return [done[request.episode_id] for request in sorted(requests, key=lambda request: request.episode_id)]

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self._workers = []
        if self._local is not None:
            self._local.close()

    def __enter__(self) -> RolloutPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._builder, self._policy, self._slots)
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, {}, time.monotonic())

    def _send(self, worker: _Worker, job: dict[str, Any], requests: Sequence[EpisodeRequest]) -> None:
        worker.pending = {request.episode_id: request for request in requests}
        worker.last_heard = time.monotonic()
        worker.pipe.send_bytes(pickle.dumps({**job, "requests": list(requests)}))

    def _listen(self, job: dict[str, Any], record: Callable[[Trajectory], None]) -> None:
        """Take what the workers have to say; replace those that died or fell silent and hand them their work again."""
        busy = [worker for worker in self._workers if worker.pending]
        ready = wait([worker.pipe for worker in busy], timeout=1.0)
        for index, worker in enumerate(self._workers):
            if worker.pipe in ready:
                try:
                    message = pickle.loads(worker.pipe.recv_bytes())
                except (EOFError, ConnectionResetError):
                    self._replace(index, "died", job, record)
                    continue
                if isinstance(message, BaseException):
                    raise message
                worker.last_heard = time.monotonic()
                del worker.pending[message.request.episode_id]
                record(message)
            elif worker.pending and time.monotonic() - worker.last_heard > SILENCE_S:
                self._replace(index, f"was silent for {SILENCE_S:.0f} s", job, record)

    def _replace(self, index: int, why: str, job: dict[str, Any], record: Callable[[Trajectory], None]) -> None:
        worker = self._workers[index]
        log.warning(
            "rollout worker %d %s; restarting it with its %d unfinished episodes", index, why, len(worker.pending)
        )
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        self.restarts += 1
        again = []
        for request in worker.pending.values():
            if request.attempt < 2:
                again.append(replace(request, attempt=request.attempt + 1))
            else:
                fault = f"worker {why} in {request.attempt + 1} attempts"
                record(Trajectory(request, "error", 0, np.zeros(0, np.int32), fault=fault))
        self._workers[index] = self._start()
        if again:
            self._send(self._workers[index], job, again)


def _run(
    env: Environment, policy: Policy, requests: Sequence[EpisodeRequest], keep: Keep, hold_steps: int
) -> Iterator[Trajectory]:
    hold = (lambda slots: env.hold(slots, hold_steps)) if hold_steps else None
    return rollout(env, policy, requests, keep=keep, hold=hold)


def _weights(policy: Any) -> dict[str, Any] | None:
    """A policy's tensors and its exploration scale; a black box has neither and is sent as it was at the start."""
    if not isinstance(policy, torch.nn.Module):
        return None
    return {name: tensor.detach().cpu().numpy() for name, tensor in policy.state_dict().items()}


def _serve(pipe: Connection, builder: Builder, policy: Policy, num_slots: int) -> None:
    """A worker's life: wait for a job, run it, send each trajectory as it ends. Ends when the pipe closes."""
    torch.set_num_threads(1)
    os.environ.setdefault("LP_NUM_THREADS", "1")
    try:
        env = builder.build(num_slots)
        while True:
            job = pickle.loads(pipe.recv_bytes())
            if job["weights"] is not None:
                assert isinstance(policy, torch.nn.Module)
                policy.load_state_dict({name: torch.from_numpy(array) for name, array in job["weights"].items()})
            for trajectory in _run(env, policy, job["requests"], **job["options"]):
                pipe.send_bytes(pickle.dumps(trajectory))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:  # carried to the caller, who decides; nothing is swallowed
        pipe.send_bytes(pickle.dumps(error))
        raise
