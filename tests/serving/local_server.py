"""A policy server in a thread of this process, on a free port, and the policies it serves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from hone.policies.base import Candidates, Features, LogProb, NoLikelihoodError, PolicyState
from hone.serving.server import ServerConfig, serve
from hone.serving.service import Service
from hone.specs import Spec
from hone.types import Observation

H, SIZE = 4, 16


class CountingPolicy:
    """A policy with memory: action 0 counts the decisions of the episode, action 1 is the first number of the state,
    action 2 the instruction's length, action 3 a mark of the first picture's left half, action 4 the noise. All / 1000.

    `batches` are the numbers of rows it was asked about, call by call.
    """

    def __init__(self, size: int = SIZE, memory: bool = True) -> None:
        self.spec = Spec(image_size=size)
        self.chunk_length = H
        self.memory = memory
        self.batches: list[int] = []

    def encode(self, observation: Observation) -> Features:
        assert observation.images is not None
        self.batches.append(len(observation))
        left = observation.images[:, 0, :, : self.spec.image_size // 2].mean((1, 2, 3))
        seen = np.stack([observation.proprio[:, 0], [len(i) for i in observation.instructions], left], 1)
        rows = len(observation)
        return Features(torch.zeros(rows, 0, 1), torch.ones(rows, 0, dtype=torch.bool), torch.tensor(seen).float())

    def propose(
        self, features: Features, state: PolicyState, k: int, generators: Sequence[torch.Generator] | None
    ) -> tuple[Candidates, PolicyState]:
        counts = state or [0] * len(features)
        chunks = torch.zeros(len(features), k, self.chunk_length, 7)
        chunks[..., 0] = torch.tensor(counts)[:, None, None]
        chunks[..., 1:4] = features.pooled[:, None, None]
        for row, generator in enumerate(generators or []):
            chunks[row, ..., 4] = 1000 * torch.rand(k, 1, generator=generator)
        chunks[..., 6] = 1000 * torch.arange(self.chunk_length) / self.chunk_length
        return Candidates(chunks / 1000, chunks / 1000), [c + 1 for c in counts] if self.memory else None

    def log_prob(self, features: Features, candidate: object) -> LogProb:
        raise NoLikelihoodError("no")

    def initial_state(self, num_rows: int) -> PolicyState:
        return [0] * num_rows if self.memory else None


@contextmanager
def served(service: Service, config: ServerConfig | None = None, key: str = "") -> Iterator[int]:
    """The port of a server that runs until the block ends."""
    loop = asyncio.new_event_loop()
    port: list[int] = []
    up = threading.Event()

    def ready(number: int) -> None:
        port.append(number)
        up.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            up.set()
            loop.close()

    task = loop.create_task(serve(service, replace(config or ServerConfig(), port=0), key, ready))
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(20)
    assert port, task
    try:
        yield port[0]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)
        assert not thread.is_alive()


def observation(rows: int = 1, size: int = SIZE, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    return Observation(
        proprio=rng.random((rows, 8), np.float32),
        instructions=tuple("pick up the milk" + "!" * row for row in range(rows)),
        images=rng.integers(0, 256, (rows, 2, size, size, 3), np.uint8),
    )
