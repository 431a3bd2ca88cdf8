"""A policy that many connections share: requests that come together are decided together, each with its own state."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from hone.data.lerobot_format import reorient
from hone.errors import HoneError
from hone.policies.base import Policy
from hone.seeding import torch_generator
from hone.specs import Orientation
from hone.types import PROPRIO_DIM, Observation

IN_USE_S = 1.0
"""A connection that has not asked for so long is not waited for."""


@dataclass(eq=False)
class Session:
    """What one connection carries through an episode: the policy's state, and actions not yet handed out.

    `asked` is when it last asked, on the event loop's clock.
    """

    state: Any = None
    asked: float = float("-inf")
    waiting: deque[Float32[np.ndarray, " A"]] = field(default_factory=deque)


@dataclass(frozen=True)
class Ask:
    """One observation (a single row) and how to act on it. Without a `seed` the greedy chunk is asked for."""

    observation: Observation
    seed: int | None = None
    candidates: int = 1


@dataclass(frozen=True)
class Answer:
    """`candidates` chunks, clipped to the action range, and how long the policy took for its whole batch."""

    chunks: Float32[np.ndarray, "K H A"]
    infer_ms: float
    batch: int


class Service:
    """Answers with `policy`, up to `max_batch` rows at a time.

    A request waits for others at most `max_wait_ms`, and not at all once every connection has asked that is in use.
    Pictures come as `image_orientation` says, of any size; they are turned and shrunk to what the policy sees.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        image_orientation: Orientation = "rotated_180",
        max_batch: int = 16,
        max_wait_ms: float = 5.0,
    ) -> None:
        if policy.spec.facts or policy.spec.state_tokens != "none":
            raise HoneError("this policy reads object poses from the simulator, which no client can send.")
        if max_batch < 1 or max_wait_ms < 0:
            raise HoneError(f"max_batch is {max_batch} and max_wait_ms is {max_wait_ms}; use at least 1 and 0.")
        self.policy = policy
        self.spec = policy.spec
        self.image_orientation: Orientation = image_orientation
        self.max_batch = max_batch
        self.max_wait_ms = max_wait_ms
        self.memoryless = policy.initial_state(1) is None
        self._sessions: list[Session] = []
        self._queue: asyncio.Queue[tuple[Session, Ask, asyncio.Future[Answer]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "hone-policy")

    def open(self) -> Session:
        session = Session()
        self.begin_episode(session)
        self._sessions.append(session)
        return session

    def close(self, session: Session) -> None:
        self._sessions.remove(session)

    def begin_episode(self, session: Session) -> None:
        """Forget what the connection's last episode left behind."""
        session.state = (self.policy.initial_state(1) or [None])[0]
        session.waiting.clear()

    def observation(self, images: dict[str, Any], proprio: Any, instruction: Any) -> Observation:
        """One row as the policy sees it, from wire values that may be anything. `images` has every camera's picture."""
        state = np.asarray(proprio)
        if state.shape != (PROPRIO_DIM,) or state.dtype.kind not in "fiu" or not np.isfinite(state).all():
            raise HoneError(f"the state must be {PROPRIO_DIM} finite numbers ({self.spec.proprio}); {_told(proprio)}.")
        if not isinstance(instruction, str):
            raise HoneError(f"the prompt must be text; {_told(instruction)}.")
        pictures = [self._picture(camera, images[camera]) for camera in self.spec.cameras]
        return Observation(
            proprio=state.astype(np.float32)[None],
            instructions=(instruction,),
            images=np.stack(pictures)[None] if pictures else None,
        )

    def _picture(self, camera: str, image: Any) -> np.ndarray:
        picture = np.asarray(image)
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.shape[0] < 1:
            raise HoneError(f"the picture of {camera} must be uint8 [H, W, 3]; {_told(image)}.")
        if picture.shape[0] != picture.shape[1]:
            raise HoneError(f"the picture of {camera} must be square; {_told(image)}.")
        return _resized(reorient(picture, self.image_orientation, self.spec.image_orientation), self.spec.image_size)

    async def answer(self, session: Session, ask: Ask) -> Answer:
        """Decide on one request, together with whatever else came."""
        loop = asyncio.get_running_loop()
        session.asked = loop.time()
        future: asyncio.Future[Answer] = loop.create_future()
        self._queue.put_nowait((session, ask, future))
        return await future

    async def run(self) -> None:
        """Decide batch after batch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            deadline = loop.time() + self.max_wait_ms / 1000
            while len(batch) < min(self.max_batch, self._in_use(loop.time())) and (left := deadline - loop.time()) > 0:
                try:
                    batch.append(await asyncio.wait_for(self._queue.get(), left))
                except TimeoutError:
                    break
            # What is asked in another way cannot share a call of the policy.
            batch.sort(key=lambda entry: _manner(entry[1]))
            for _, entries in groupby(batch, key=lambda entry: _manner(entry[1])):
                group = list(entries)
                try:
                    answers = await loop.run_in_executor(self._thread, self._decide, group)
                except Exception as error:  # carried to every connection of the batch; nothing is swallowed
                    for _, _, future in group:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, _, future), answer in zip(group, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)

    def _in_use(self, now: float) -> int:
        return sum(now - session.asked < IN_USE_S for session in self._sessions)

    def _decide(self, group: list[tuple[Session, Ask, asyncio.Future[Answer]]]) -> list[Answer]:
        started = time.perf_counter()
        sessions = [session for session, _, _ in group]
        asks = [ask for _, ask, _ in group]
        seeds = [ask.seed for ask in asks]
        generators = None if seeds[0] is None else [torch_generator(seed) for seed in seeds if seed is not None]
        state = None if sessions[0].state is None else [session.state for session in sessions]
        with torch.inference_mode():
            features = self.policy.encode(Observation.cat([ask.observation for ask in asks]))
            candidates, state = self.policy.propose(features, state, asks[0].candidates, generators)
        for row, session in enumerate(sessions):
            session.state = None if state is None else state[row]
        chunks = candidates.chunks.float().cpu().numpy()
        took = (time.perf_counter() - started) * 1000
        return [Answer(chunk, took, len(group)) for chunk in chunks]


def _manner(ask: Ask) -> tuple[bool, int]:
    return ask.seed is None, ask.candidates


def _resized(picture: UInt8[np.ndarray, "H W 3"], side: int) -> UInt8[np.ndarray, "S S 3"]:
    """The picture at `side` pixels a side, averaged over areas."""
    if picture.shape[0] == side:
        return picture
    from PIL import Image  # comes with imageio; a client that draws at the policy's size needs none of it

    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))


def _told(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)} came"
    return "nothing came" if value is None else f"{type(value).__name__} came"
