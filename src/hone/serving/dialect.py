"""What every dialect does, on either side of the wire, and what it needs of a connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from hone.serving.names import Names
from hone.serving.service import Service, Session
from hone.serving.wire import WireError
from hone.specs import Orientation, Spec

EXTENSIONS = ("start", "seed", "candidates")
"""What Hone's server understands beyond openpi's protocol: an episode's start, a seed for sampled decoding, and several
candidates."""


@runtime_checkable
class Socket(Protocol):
    """A connection of the server (asyncio)."""

    async def recv(self) -> str | bytes: ...

    async def send(self, message: str | bytes) -> None: ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


@runtime_checkable
class ServerSide(Protocol):
    """Holds one client's conversation until it hangs up. `first` is a frame that was already read."""

    async def converse(self, socket: Socket, service: Service, session: Session, first: str | bytes | None) -> None: ...


@runtime_checkable
class Line(Protocol):
    """A connection of the client (blocking)."""

    address: str

    def send(self, frame: bytes) -> None: ...

    def receive(self, timeout_s: float) -> str | bytes:
        """The next frame; raises `HoneError` if none comes in time and `LineLostError` if the connection breaks."""
        ...

    def listen(self, wait_s: float) -> str | bytes | None:
        """The next frame if one comes within `wait_s`."""
        ...


@dataclass(frozen=True)
class Greeting:
    """What a server says of itself. `None` where its dialect or its version does not tell.

    `wants`: keys an observation must have. `memoryless`: a request may go to another connection.
    """

    dialect: str
    server: str
    wants: tuple[str, ...] | None = None
    spec: Spec | None = None
    image_orientation: Orientation | None = None
    chunk_length: int | None = None
    extensions: tuple[str, ...] = ()
    memoryless: bool = False


@dataclass(frozen=True)
class Question:
    """One row's observation on its way out, pictures turned as the server has them."""

    images: Mapping[str, UInt8[np.ndarray, "H W 3"]]
    proprio: Float32[np.ndarray, " 8"]
    instruction: str
    seed: int | None = None
    candidates: int = 1


@runtime_checkable
class ClientSide(Protocol):
    """Speaks to a server over one line: greet once, begin each episode, then one answer per question.

    `names` are set once the server has been greeted, which may say what it wants.
    """

    names: Names

    def greet(self, line: Line, first: str | bytes | None, timeout_s: float) -> Greeting: ...

    def begin(self, line: Line, instruction: str) -> None: ...

    def ask(self, line: Line, question: Question) -> None: ...

    def answer(self, line: Line, question: Question, timeout_s: float) -> Float32[np.ndarray, "K H A"]: ...


def last_line(text: str) -> str:
    """What a traceback comes to."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "no message"


def as_chunks(actions: Any, who: str) -> Float32[np.ndarray, "K H A"]:
    """Actions `[A]`, a chunk `[H, A]` or candidates `[K, H, A]` as `[K, H, A]`; raises if they are none."""
    array = actions if isinstance(actions, np.ndarray) else np.asarray(actions if actions is not None else [])
    if array.dtype.kind not in "fiu" or not 1 <= array.ndim <= 3 or array.size == 0:
        raise WireError(f"{who} answered with no actions ({array.dtype} {list(array.shape)}).")
    return np.asarray(array, np.float32).reshape((1,) * (3 - array.ndim) + array.shape)
