"""What the wire costs: a policy that answers at once, served in a process of its own and asked over loopback.

    python benchmarks/serving.py                 # openpi's dialect, two 224-pixel pictures
    python benchmarks/serving.py --dialect vla_eval --rows 8

A look is one `propose` of `rows` episodes at once. Each is timed from the observation in Hone's arrays to the chunk in
Hone's tensors, and what the policy itself took is not in it, since it does nothing: the whole time is overhead. Beside
all looks together (p50, p95) stands the calmest of the windows they fall into: on a machine that does other work too,
the difference is the scheduler's. `client_cpu_ms` and `server_cpu_ms` are what the
two processes computed per look; they take turns, so the sum is about what a look takes on a machine that is free.

One row per call in results/serving.jsonl.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

import numpy as np
import tyro

from hone.policies.blackbox import BlackBoxPolicy
from hone.policies.remote import RemoteConfig, RemotePolicy
from hone.serving.server import ServerConfig, serve
from hone.serving.service import Service
from hone.specs import Spec
from hone.types import Observation
from rows import append_row

HORIZON, WINDOW, WARMUP = 10, 100, 50


@dataclass(frozen=True)
class Config:
    dialect: Literal["openpi", "vla_eval"] = "openpi"
    """Dialect that is spoken."""
    image_size: int = 224
    """Pixels on a side of both pictures."""
    rows: int = 1
    """Episodes that look at once, each on a connection of its own."""
    looks: int = 2000
    """Looks that are timed, after 50 that are not."""


def nothing(observation: Observation) -> np.ndarray:
    return np.zeros((len(observation), HORIZON, 7), np.float32)


def run_server(pipe: Connection, image_size: int) -> None:
    spec = Spec(image_size=image_size, image_orientation="rotated_180")
    service = Service(BlackBoxPolicy(nothing, HORIZON, spec))

    async def until_told() -> None:
        serving = asyncio.create_task(serve(service, ServerConfig(port=0), ready=pipe.send))
        while not pipe.poll():
            await asyncio.sleep(0.2)
        serving.cancel()

    started = time.process_time()

    asyncio.run(until_told())
    pipe.send(time.process_time() - started)


def main(config: Config) -> None:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=run_server, args=(theirs, config.image_size))
    server.start()
    port = ours.recv()
    remote_config = RemoteConfig(dialect=config.dialect, image_size=config.image_size)
    remote = RemotePolicy(f"ws://127.0.0.1:{port}", remote_config)
    state = remote.initial_state(config.rows)
    rng = np.random.default_rng(0)
    size = config.image_size
    observation = Observation(
        proprio=rng.random((config.rows, 8), np.float32),
        instructions=("pick up the milk and place it in the basket",) * config.rows,
        images=rng.integers(0, 256, (config.rows, 2, size, size, 3), np.uint8),
    )

    def look() -> float:
        nonlocal state
        started = time.perf_counter()
        _, state = remote.propose(remote.encode(observation), state, 1, None)
        return (time.perf_counter() - started) * 1000

    for _ in range(WARMUP):
        look()
    cpu_before, load = time.process_time(), os.getloadavg()[0]
    times = np.array([look() for _ in range(config.looks)])
    client_cpu = time.process_time() - cpu_before
    ours.send("stop")
    server_cpu = ours.recv()
    server.join()
    windows = times[: len(times) // WINDOW * WINDOW].reshape(-1, WINDOW)
    calmest = windows[windows.mean(1).argmin()]
    row = {
        **vars(config),
        "bytes": int(observation.images[0].nbytes) if observation.images is not None else 0,
        "p50_ms": round(float(np.percentile(times, 50)), 3),
        "p95_ms": round(float(np.percentile(times, 95)), 3),
        "calmest_p50_ms": round(float(np.percentile(calmest, 50)), 3),
        "calmest_p95_ms": round(float(np.percentile(calmest, 95)), 3),
        "client_cpu_ms": round(1000 * client_cpu / config.looks, 3),
        "server_cpu_ms": round(1000 * server_cpu / (config.looks + WARMUP), 3),
        "load_average": round(load, 1),
    }
    append_row("serving", row)
    print(row)


if __name__ == "__main__":
    main(tyro.cli(Config))
