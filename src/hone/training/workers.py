"""Rollouts on several processes: each worker holds an environment and a copy of the policy and runs whole episodes.

Workers are plain processes here; `ray_workers` runs the same jobs in actors on a cluster. Episodes go to workers by
their id, so with the same number of workers the same seed gives the same run.

A worker reports before every reset, look, decision and chunk. One that dies, or says nothing for `SILENCE_S`, is
replaced, and its unfinished episodes run again under the same seeds: none is lost, none counted twice. Those that were
running are suspects, and each of them runs again by itself. An episode that by itself crashes the process while its
chunk is simulated, and did so before in the same way, was driven there by the policy and is a failure. Whatever else
comes back is the machinery's: a process killed from outside (out of memory), or one that hangs or crashes while it
draws, says nothing about the policy. After three attempts such an episode is returned with status "error".
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import multiprocessing
import os
import pickle
import re
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from hone.envs.base import Environment
from hone.errors import HoneError
from hone.policies.base import Policy
from hone.training.broadcast import load_into, tensors_of, to_bytes
from hone.training.rollout import (
    MAX_ATTEMPTS,
    EpisodeRequest,
    Guidance,
    Keep,
    Lookahead,
    Progress,
    Trajectory,
    Witness,
    rollout,
)

log = logging.getLogger(__name__)

SILENCE_S = 45.0
"""A worker that reports nothing for this long is presumed hung (a blocked GL driver, say) and replaced."""
START_S = 300.0
"""The same before the first report of a job: a new worker imports torch and builds the environment first."""
STACK_S = 2.0
"""How long a silent worker has to write down where it stands before it is killed."""
_DUMP_SIGNAL = signal.SIGUSR1


@runtime_checkable
class Builder(Protocol):
    """Makes an environment inside a worker; small and picklable, like an environment's config."""

    def build(self, num_slots: int) -> Environment: ...


@runtime_checkable
class Planning(Protocol):
    """Makes a lookahead for a policy inside a worker; picklable."""

    def build(self, policy: Policy, num_slots: int) -> Lookahead: ...


@dataclass
class _Worker:
    """`pending`: sent and not yet returned. `jobs`: to be sent one after the other once nothing is pending."""

    process: Any
    pipe: Connection
    stack_file: Path
    last_heard: float
    progress: Progress | None = None
    pending: dict[int, EpisodeRequest] = field(default_factory=dict)
    jobs: deque[list[EpisodeRequest]] = field(default_factory=deque)


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
        self._stillborn = 0  # workers that ended before their first report, since anyone last reported
        self._ends: dict[int, str] = {}  # how the last worker ended that ran an episode
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
        options = {
            "keep": keep,
            "witness": witness,
            "hold_steps": hold_steps,
            "guidance": guidance,
            "planning": planning,
        }
        done: dict[int, Trajectory] = {}

        def record(trajectory: Trajectory) -> None:
            done[trajectory.request.episode_id] = trajectory
            if on_episode is not None:
                on_episode(trajectory)

        if self._local is not None:
            for trajectory in run_job(self._local, self._policy, requests, **options):
                record(trajectory)
        else:
            ordered = sorted(requests, key=lambda request: request.episode_id)
            job = {"weights": to_bytes(tensors_of(self._policy)), "options": options}
            self._ends.clear()
            for index, worker in enumerate(self._workers):
                worker.jobs.append(ordered[index :: len(self._workers)])
                self._send_next(worker, job)
            while any(worker.pending for worker in self._workers):
                self._listen(job, record)
        return [done[request.episode_id] for request in sorted(requests, key=lambda request: request.episode_id)]

    def close(self) -> None:
        for worker in self._workers:
            _end(worker)
        self._workers = []
        if self._local is not None:
            self._local.close()

    def __enter__(self) -> RolloutPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        descriptor, stack_file = tempfile.mkstemp(prefix="hone-worker-", suffix=".stack")
        os.close(descriptor)
        arguments = (theirs, self._builder, self._policy, self._slots, stack_file)
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, Path(stack_file), time.monotonic())

    def _send_next(self, worker: _Worker, job: dict[str, Any]) -> None:
        """The next job with anything in it, if nothing is pending."""
        while worker.jobs and not worker.pending:
            requests = worker.jobs.popleft()
            if requests:
                worker.pending = {request.episode_id: request for request in requests}
                worker.progress = None
                worker.last_heard = time.monotonic()
                with contextlib.suppress(BrokenPipeError):  # it died just now: `_listen` will find that out
                    worker.pipe.send_bytes(pickle.dumps({**job, "requests": requests}))

    def _listen(self, job: dict[str, Any], record: Callable[[Trajectory], None]) -> None:
        """Take what the workers have to say; replace those that died or fell silent and hand them their work again."""
        busy = [worker for worker in self._workers if worker.pending]
        ready = wait([worker.pipe for worker in busy], timeout=1.0)
        for index, worker in enumerate(self._workers):
            if worker.pipe in ready:
                try:
                    message = pickle.loads(worker.pipe.recv_bytes())
                except (EOFError, ConnectionResetError):
                    worker.process.join()
                    self._replace(index, _how_it_ended(worker.process.exitcode), job, record)
                    continue
                if isinstance(message, BaseException):
                    raise message
                worker.last_heard = time.monotonic()
                self._stillborn = 0
                if isinstance(message, Progress):
                    worker.progress = message
                else:
                    del worker.pending[message.request.episode_id]
                    record(message)
                    self._send_next(worker, job)
            elif worker.pending:
                limit = START_S if worker.progress is None else SILENCE_S
                if time.monotonic() - worker.last_heard > limit:
                    self._replace(index, f"was silent for {limit:.0f} s in {_where_it_hangs(worker)}", job, record)

    def _replace(self, index: int, why: str, job: dict[str, Any], record: Callable[[Trajectory], None]) -> None:
        worker = self._workers[index]
        if worker.progress is not None:
            why += f" during '{worker.progress.doing}'"
        log.warning(
            "rollout worker %d (process %d) %s; restarting it with its %d unfinished episodes",
            index,
            worker.process.pid,
            why,
            len(worker.pending),
        )
        _end(worker)
        self.restarts += 1
        self._stillborn += worker.progress is None
        if self._stillborn >= MAX_ATTEMPTS * self.num_workers:
            raise HoneError(
                f"rollout workers end before their first episode (the last one {why}); what they printed says why. "
                "A script that starts workers needs its own code under `if __name__ == '__main__':`."
            )
        running = worker.progress.episodes if worker.progress else tuple(worker.pending)
        crashed_in_step = why.startswith(_CRASHED) and worker.progress is not None and worker.progress.doing == "step"
        again: list[list[EpisodeRequest]] = []
        for request in (request for number, request in worker.pending.items() if number in running):
            attempts = request.attempt + 1
            end = Trajectory(request, "error", 0, np.zeros(0, np.int32), fault=f"worker {why} (attempt {attempts})")
            if crashed_in_step and len(running) == 1 and self._ends.get(request.episode_id) == why:
                record(replace(end, status="failure"))
            elif attempts == MAX_ATTEMPTS:
                record(end)
            else:
                again.append([replace(request, attempt=attempts)])
            self._ends[request.episode_id] = why
        others = [request for number, request in worker.pending.items() if number not in running]
        self._workers[index] = self._start()
        self._workers[index].jobs.extend([*again, others, *worker.jobs])
        self._send_next(self._workers[index], job)


_CRASHED = "crashed"


def _how_it_ended(exit_code: int | None) -> str:
    """A process ended from outside was killed or terminated; by its own doing it crashed."""
    if exit_code in (-signal.SIGKILL, -signal.SIGTERM):
        return f"was killed from outside ({signal.Signals(-exit_code).name}; out of memory?)"
    if exit_code is not None and exit_code < 0:
        return f"{_CRASHED} ({signal.Signals(-exit_code).name})"
    return f"{_CRASHED} (exit code {exit_code})"


def _where_it_hangs(worker: _Worker) -> str:
    """The innermost Python frames of a worker's main thread, written by its own signal handler."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker.process.pid, _DUMP_SIGNAL)
    deadline, size = time.monotonic() + STACK_S, -1
    while time.monotonic() < deadline and (size < 1 or worker.stack_file.stat().st_size > size):
        size = worker.stack_file.stat().st_size
        time.sleep(0.1)
    main_thread = worker.stack_file.read_text().split("hread 0x")[-1]  # the main thread is written last
    frames = re.findall(r'File "(.+)", line (\d+) in (\S+)', main_thread)[:4]
    if not frames:
        return "an unknown place (it does not answer signals: stopped, or blocked in the kernel)"
    return " < ".join(f"{function} ({Path(file).name}:{line})" for file, line, function in frames)


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()
    worker.stack_file.unlink(missing_ok=True)


def run_job(
    env: Environment,
    policy: Policy,
    requests: Sequence[EpisodeRequest],
    keep: Keep,
    witness: Witness | None,
    hold_steps: int,
    guidance: Guidance | None,
    planning: Planning | None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[Trajectory]:
    hold = (lambda slots: env.hold(slots, hold_steps)) if hold_steps else None
    lookahead = None if planning is None else planning.build(policy, env.num_slots)
    try:
        yield from rollout(
            env,
            policy,
            requests,
            keep=keep,
            witness=witness,
            hold=hold,
            guidance=guidance,
            lookahead=lookahead,
            on_progress=on_progress,
        )
    finally:
        if lookahead is not None:
            lookahead.close()


def _serve(pipe: Connection, builder: Builder, policy: Policy, num_slots: int, stack_file: str) -> None:
    """A worker's life: wait for a job, run it, send each trajectory as it ends. Ends when the pipe closes."""
    torch.set_num_threads(1)
    os.environ.setdefault("LP_NUM_THREADS", "1")

    def report(progress: Progress) -> None:
        pipe.send_bytes(pickle.dumps(progress))

    try:
        with open(stack_file, "w") as stack:
            faulthandler.register(_DUMP_SIGNAL, stack)
            env = builder.build(num_slots)
            while True:
                job = pickle.loads(pipe.recv_bytes())
                load_into(policy, job["weights"])
                for trajectory in run_job(env, policy, job["requests"], **job["options"], on_progress=report):
                    pipe.send_bytes(pickle.dumps(trajectory))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:  # carried to the caller, who decides; nothing is swallowed
        pipe.send_bytes(pickle.dumps(error))
        raise
