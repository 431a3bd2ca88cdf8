"""Rollouts on a Ray cluster: the jobs of `RolloutPool` in actors, behind the same contract. Needs `hone-vla[ray]`.

Episodes are divided into as many shares as workers were asked for, by their id, and every idle actor takes the next
share. So the same number of workers gives the same run, bit for bit, however many of them the cluster has room for:
an actor that finds no room waits in Ray's queue and joins when a node does.

Staleness is 0: an actor has exactly the weights of the call before it begins a share. They go to the object store once
per version, and only the tensors that changed since the actor's version are in it. Episodes come back as one object
each, as they end.

An actor that dies with its process or node, or says nothing for `SILENCE_S`, is replaced, and its unfinished episodes
go to whoever is idle under the same seeds; those that were running each by themselves. An episode is awaited from one
actor at a time, so it is recorded once. Departure from `RolloutPool`: Ray does not tell a crash from a kill, so what
ends its worker `MAX_ATTEMPTS` times is always a fault and never a failure of the policy.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import pickle
import queue
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from hone.errors import HoneError
from hone.policies.base import Policy
from hone.training.broadcast import Versions, load_into, to_bytes
from hone.training.ray_cluster import HEAD_S, HeadWatch, connect, import_ray, leave
from hone.training.rollout import MAX_ATTEMPTS, EpisodeRequest, Guidance, Keep, Progress, Trajectory, Witness
from hone.training.workers import SILENCE_S, START_S, Builder, Planning, run_job

log = logging.getLogger(__name__)

BEAT_S = 1.0
"""An actor reports the start of every episode, and otherwise at most so often."""
_FORWARDED = ("MUJOCO_GL", "LP_NUM_THREADS", "OMP_WAIT_POLICY")
"""Settings of this process that an actor takes over where its machine has none of its own."""


class RolloutActor:
    """Holds an environment and a policy on a machine of the cluster. One thread of its own runs everything, because a
    GL context belongs to the thread that made it."""

    def __init__(self, environ: dict[str, str], built: bytes, policy: bytes, num_slots: int) -> None:
        for name, value in environ.items():
            os.environ.setdefault(name, value)
        torch.set_num_threads(1)
        self._builder: Builder = pickle.loads(built)  # after the environment is set: this may import the simulator
        self._policy: Policy = pickle.loads(policy)
        self._slots = num_slots
        self._env: Any = None
        self._version = 0
        self._thread = ThreadPoolExecutor(1)

    def place(self) -> str:
        """Where it runs."""
        return f"process {os.getpid()} on {socket.gethostname()}"

    def build(self) -> None:
        """Make the environment, which takes longer than anything after it."""
        self._env = self._thread.submit(self._builder.build, self._slots).result()

    def run(
        self, base: int, version: int, weights: bytes, requests: list[EpisodeRequest], options: dict[str, Any]
    ) -> Iterator[Progress | bytes]:
        """Run a job with the weights of `version`, given those of `base`; yields signs of life and pickled episodes."""
        messages: queue.SimpleQueue[Progress | bytes | BaseException | None] = queue.SimpleQueue()
        self._thread.submit(self._work, base, version, weights, requests, options, messages.put)
        while (message := messages.get()) is not None:
            if isinstance(message, BaseException):
                raise message
            yield message

    def _work(
        self,
        base: int,
        version: int,
        weights: bytes,
        requests: list[EpisodeRequest],
        options: dict[str, Any],
        send: Callable[[Any], None],
    ) -> None:
        told, heard = (), 0.0

        def report(progress: Progress) -> None:
            nonlocal told, heard
            if progress.episodes == told and time.monotonic() - heard < BEAT_S:
                return
            told, heard = progress.episodes, time.monotonic()
            faulthandler.dump_traceback_later(SILENCE_S - 2 * BEAT_S)  # where it hangs, in this actor's log
            send(progress)

        try:
            if version != self._version:
                assert base == self._version, f"weights after version {base} came to version {self._version}"
                load_into(self._policy, weights)
                self._version = version
            for trajectory in run_job(self._env, self._policy, requests, **options, on_progress=report):
                send(pickle.dumps(trajectory))
        except BaseException as error:  # carried to the caller, who decides; nothing is swallowed
            send(error)
        finally:
            faulthandler.cancel_dump_traceback_later()
            send(None)


@dataclass
class _Worker:
    """`waiting`: what is ready once the actor has a place, then once it has built its environment. `stream`: what comes
    back of the job it works on."""

    actor: Any
    waiting: Any
    version: int = 0
    where: str = ""
    stream: Any = None
    last_heard: float = 0.0
    progress: Progress | None = None
    pending: dict[int, EpisodeRequest] = field(default_factory=dict)

    @property
    def limit_s(self) -> float:
        """How long it may say nothing: for ever, while it waits for a place."""
        if self.stream is not None:
            return SILENCE_S
        return START_S if self.where and self.waiting is not None else float("inf")

    @property
    def idle(self) -> bool:
        return self.waiting is None and self.stream is None


class RayPool:
    """Up to `num_workers` actors with `slots_per_worker` environment slots each, one CPU for each actor."""

    def __init__(
        self, builder: Builder, policy: Policy, num_workers: int, slots_per_worker: int, address: str = "local"
    ) -> None:
        self._ray = import_ray()
        connect(address, num_workers)
        self.num_workers = num_workers
        self.restarts = 0
        self._policy = policy
        self._versions = Versions(policy)
        self._sent: dict[int, Any] = {}  # what a worker of that version lacks, in the object store
        self._stillborn = 0  # actors that ended before they were ready, since anyone last reported
        environ = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
        remote = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(RolloutActor)
        given = [self._ray.put(pickle.dumps(part)) for part in (builder, policy)]
        self._new_actor = lambda: remote.remote(environ, *given, slots_per_worker)
        self._jobs: deque[list[EpisodeRequest]] = deque()
        self._homeless_since = time.monotonic()
        self._head = HeadWatch(self._ray.nodes)
        self._workers = [self._start() for _ in range(num_workers)]

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
    ) -> list[Trajectory]:
        """Run every request with the policy's present weights; trajectories come back ordered by episode id."""
        options = self._ray.put(
            {
                "keep": keep,
                "witness": witness,
                "hold_steps": hold_steps,
                "guidance": guidance,
                "planning": planning,
            }
        )
        before = self._versions.version
        self._versions.update(self._policy)
        if self._versions.version != before:
            self._sent.clear()
        done: dict[int, Trajectory] = {}

        def record(trajectory: Trajectory) -> None:
            done[trajectory.request.episode_id] = trajectory
            if on_episode is not None:
                on_episode(trajectory)

        ordered = sorted(requests, key=lambda request: request.episode_id)
        shares = [ordered[index :: self.num_workers] for index in range(self.num_workers)]
        self._jobs = deque(share for share in shares if share)
        self._stillborn, self._homeless_since = 0, time.monotonic()
        while len(done) < len(ordered):
            self._assign(options)
            self._listen(record)
            self._check_cluster()
        return [done[request.episode_id] for request in ordered]

    def close(self) -> None:
        self._head.stop()
        for worker in self._workers:
            self._ray.kill(worker.actor)
        self._workers = []

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> _Worker:
        actor = self._new_actor()
        return _Worker(actor, actor.place.remote())

    def _assign(self, options: Any) -> None:
        """The next jobs, to those who are idle, with the weights that each of them lacks."""
        for worker in self._workers:
            if worker.idle and self._jobs:
                requests = self._jobs.popleft()
                base, version = worker.version, self._versions.version
                run = worker.actor.run.options(num_returns="streaming")
                worker.stream = run.remote(base, version, self._lacking(base), requests, options)
                worker.version = version
                worker.pending = {request.episode_id: request for request in requests}
                worker.progress, worker.last_heard = None, time.monotonic()

    def _lacking(self, version: int) -> Any:
        if version not in self._sent:
            tensors = self._versions.since(version)
            message = to_bytes(tensors)
            log.debug("version %d: %d tensors, %d bytes", self._versions.version, len(tensors), len(message))
            self._sent[version] = self._ray.put(message)
        return self._sent[version]

    def _listen(self, record: Callable[[Trajectory], None]) -> None:
        """Take what the workers have to say; replace those that died or fell silent."""
        listening = {worker.waiting or worker.stream: worker for worker in self._workers if not worker.idle}
        ready, _ = self._ray.wait(list(listening), timeout=1.0, fetch_local=False)
        if ready:  # all of them, so that the first in the list do not talk the others down
            ready, _ = self._ray.wait(list(listening), num_returns=len(listening), timeout=0, fetch_local=False)
        for source in ready:
            try:
                self._hear(listening[source], record)
            except self._ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
            except (self._ray.exceptions.RayActorError, self._ray.exceptions.ObjectLostError) as error:
                self._replace(listening[source], f"was lost ({type(error).__name__})", record)
        for worker in self._workers:
            if time.monotonic() - worker.last_heard > worker.limit_s:
                self._replace(worker, f"was silent for {worker.limit_s:.0f} s", record)

    def _hear(self, worker: _Worker, record: Callable[[Trajectory], None]) -> None:
        if worker.waiting is not None:
            answer, worker.last_heard = self._ray.get(worker.waiting), time.monotonic()
            worker.waiting = None if worker.where else worker.actor.build.remote()
            worker.where = worker.where or answer
            return
        try:
            message = self._ray.get(next(worker.stream))
        except StopIteration:
            assert not worker.pending, f"a job ended without its episodes {sorted(worker.pending)}"
            worker.stream = worker.progress = None
            return
        self._stillborn, worker.last_heard = 0, time.monotonic()
        if isinstance(message, Progress):
            worker.progress = message
        else:
            trajectory = pickle.loads(message)
            del worker.pending[trajectory.request.episode_id]
            record(trajectory)

    def _replace(self, worker: _Worker, why: str, record: Callable[[Trajectory], None]) -> None:
        if worker.progress is not None:
            why += f" during '{worker.progress.doing}'"
        log.warning(
            "rollout actor (%s) %s; %d episodes go to others",
            worker.where or "not yet placed",
            why,
            len(worker.pending),
        )
        self._ray.kill(worker.actor)
        self.restarts += 1
        self._stillborn += worker.stream is None
        if self._stillborn >= MAX_ATTEMPTS * self.num_workers:
            raise HoneError(
                f"Ray actors end before they have built an environment (the last one {why}); their log says why. "
                "Every machine of the cluster needs this version of Hone."
            )
        seen = worker.progress.episodes if worker.progress else ()
        running = [request for number, request in worker.pending.items() if number in seen]
        suspects = running or list(worker.pending.values())
        for request in suspects:
            attempts = request.attempt + 1
            if attempts == MAX_ATTEMPTS:
                fault = f"actor {why} (attempt {attempts})"
                record(Trajectory(request, "error", 0, np.zeros(0, np.int32), fault=fault))
            else:
                self._jobs.append([replace(request, attempt=attempts)])
        others = [request for request in worker.pending.values() if request not in suspects]
        if others:
            self._jobs.append(others)
        self._workers[self._workers.index(worker)] = self._start()

    def _check_cluster(self) -> None:
        if self._head.silent_s > HEAD_S:
            self._workers = []  # there is nobody left to ask to end them
            leave()
            raise HoneError(
                f"the head of the Ray cluster has not answered for {HEAD_S:.0f} s. What was finished is saved: start "
                "the cluster again, then give the same command, with or without --ray."
            )
        if any(worker.where for worker in self._workers):
            self._homeless_since = time.monotonic()
        elif time.monotonic() - self._homeless_since > START_S:
            raise HoneError(
                f"no rollout actor found a place in the Ray cluster for {START_S:.0f} s: each needs one free CPU. "
                "`ray status` shows who has them."
            )
