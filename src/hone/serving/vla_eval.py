"""vla-eval's dialect (vla-evaluation-harness, protocol version 1): typed messages, one action per observation.

Every frame is `{"type", "payload", "seq", "timestamp"}`. The client says `hello` and is answered with the same; then
`episode_start`, and for each control step an `observation`, answered by an `action` with the same `seq`;
`episode_end`. An `error` carries a text. The server keeps the rest of a chunk between observations and drops it when an
episode starts.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from jaxtyping import Float32

from hone import __version__
from hone.errors import HoneError
from hone.serving.dialect import Greeting, Line, Question, Socket, as_chunks
from hone.serving.names import Names
from hone.serving.service import Ask, Service, Session
from hone.serving.wire import WireError, pack, unpack

log = logging.getLogger(__name__)

VERSION = 1
SERVER = "Hone"
"""What Hone's own server calls itself."""
FIELDS = ("type", "payload", "seq", "timestamp")


def is_hello(frame: str | bytes) -> bool:
    """Whether a client that speaks first speaks this dialect."""
    try:
        return isinstance(frame, bytes) and _read(frame)[0] == "hello"
    except WireError:
        return False


class VlaEvalServer:
    """The server's side of one connection."""

    def __init__(self, names: Names) -> None:
        self.names = names

    async def converse(self, socket: Socket, service: Service, session: Session, first: str | bytes | None) -> None:
        while True:
            frame = first if first is not None else await socket.recv()
            first = None
            try:
                kind, payload, seq = _read(frame)
            except WireError as error:
                await socket.send(_frame("error", {"error": str(error)}, 0))
                await socket.close(1002, "not vla-eval's dialect")
                return
            try:
                reply = await self._reply(kind, payload, service, session)
            except HoneError as error:
                reply = "error", {"error": str(error)}
            except Exception as error:
                log.exception("the policy failed")
                reply = "error", {"error": f"the policy failed: {type(error).__name__}: {error}"}
            if reply is not None:
                await socket.send(_frame(*reply, seq))

    async def _reply(
        self, kind: str, payload: dict[str, Any], service: Service, session: Session
    ) -> tuple[str, dict[str, Any]] | None:
        if kind == "hello":
            theirs = payload.get("protocol_version")
            if theirs != VERSION:
                raise HoneError(f"your protocol version is {theirs!r}; this server speaks version {VERSION}.")
            return "hello", self.hello(service)
        if kind == "episode_start":
            service.begin_episode(session)
        elif kind == "observation":
            if not session.waiting:
                answer = await service.answer(session, Ask(self._observation(payload, service)))
                session.waiting.extend(answer.chunks[0])
            return "action", {"actions": session.waiting.popleft()}
        elif kind == "error":
            log.warning("a client reports: %s", payload)
        return None

    def hello(self, service: Service) -> dict[str, Any]:
        """What the server gives and needs, in vla-eval's words."""
        cameras = {key: {"name": "image", "dims": 0, "format": "rgb_hwc_uint8"} for key in self.names.cameras.values()}
        return {
            "harness_version": f"hone {__version__}",
            "protocol_version": VERSION,
            "model_server": SERVER,
            "capabilities": {},
            "observation_params": {"send_wrist_image": "wrist" in cameras, "send_state": True},
            "action_spec": {
                "position": {"name": "position", "dims": 3, "format": "delta_xyz", "range": [-1, 1]},
                "rotation": {"name": "rotation", "dims": 3, "format": "axis_angle", "range": [-1, 1]},
                "gripper": {"name": "gripper", "dims": 1, "format": "binary_close_positive", "range": [-1, 1]},
            },
            "observation_spec": {
                **cameras,
                "state": {"name": "state", "dims": 8, "format": "eef_pos3_axisangle3_gripper2"},
                "language": {"name": "language", "dims": 0, "format": "language"},
            },
        }

    def _observation(self, payload: dict[str, Any], service: Service) -> Any:
        images = payload.get("images")
        images = images if isinstance(images, dict) else {}
        missing = [key for key in self.names.cameras.values() if key not in images]
        state = payload.get(self.names.state, payload.get("state"))
        if missing or state is None or self.names.prompt not in payload:
            raise WireError(
                f"the observation has images {', '.join(images) or 'none'} and {', '.join(map(str, payload))}; this "
                f"policy wants images {', '.join(self.names.cameras.values())}, {self.names.state} and "
                f"{self.names.prompt}."
            )
        pictures = {camera: images[key] for camera, key in self.names.cameras.items()}
        return service.observation(pictures, state, payload[self.names.prompt])


class VlaEvalClient:
    """The client's side of one connection."""

    def __init__(self) -> None:
        self.names = Names()
        self._seq = 0

    def greet(self, line: Line, first: str | bytes | None, timeout_s: float) -> Greeting:
        if first is not None:
            raise HoneError(f"{line.address} spoke first, as openpi's servers do; say --remote.dialect openpi.")
        self._say(line, "hello", {"harness_version": f"hone {__version__}", "protocol_version": VERSION})
        kind, payload = self._hear(line, timeout_s)
        if kind != "hello":
            raise HoneError(f"{line.address} answered the greeting with '{kind}' instead of 'hello'.")
        if payload.get("protocol_version") != VERSION:
            theirs = payload.get("protocol_version")
            raise HoneError(
                f"{line.address} speaks version {theirs!r} of vla-eval's protocol; Hone speaks version {VERSION}."
            )
        server = str(payload.get("model_server", "a vla-eval server"))
        spec = payload.get("observation_spec")
        cameras = [key for key, entry in spec.items() if _is_image(entry)] if isinstance(spec, dict) else []
        # Other servers declare "image" and take the pictures by their order, so their names bind nobody.
        return Greeting("vla_eval", server, tuple(cameras) if server == SERVER else None)

    def begin(self, line: Line, instruction: str) -> None:
        self._say(line, "episode_start", {"task": {"name": instruction}})

    def ask(self, line: Line, question: Question) -> None:
        if question.candidates > 1:
            raise HoneError("a vla-eval server gives one action at a time; several candidates need openpi's dialect.")
        images = {key: question.images[camera] for camera, key in self.names.cameras.items()}
        words = {self.names.state: question.proprio, self.names.prompt: question.instruction}
        self._say(line, "observation", {"images": images, **words})

    def answer(self, line: Line, question: Question, timeout_s: float) -> Float32[np.ndarray, "K H A"]:
        kind, payload = self._hear(line, timeout_s)
        if kind != "action":
            raise HoneError(f"{line.address} answered an observation with '{kind}' instead of 'action'.")
        return as_chunks(payload.get("actions", payload.get("action")), line.address)

    def _say(self, line: Line, kind: str, payload: dict[str, Any]) -> None:
        self._seq += 1
        line.send(_frame(kind, payload, self._seq))

    def _hear(self, line: Line, timeout_s: float) -> tuple[str, dict[str, Any]]:
        frame = line.receive(timeout_s)
        try:
            kind, payload, seq = _read(frame)
        except WireError as error:
            raise HoneError(f"{line.address} does not speak vla-eval's dialect: {error}") from error
        if kind == "error":
            raise HoneError(f"the server at {line.address} reports an error: {payload.get('error', payload)}")
        if seq != self._seq:
            raise HoneError(f"{line.address} answered message {seq} where {self._seq} was asked.")
        return kind, payload


def _frame(kind: str, payload: dict[str, Any], seq: int) -> bytes:
    return pack({"type": kind, "payload": payload, "seq": seq, "timestamp": time.time()}, "text")


def _read(frame: str | bytes) -> tuple[str, dict[str, Any], int]:
    """Kind, payload and number of a message."""
    if isinstance(frame, str):
        raise WireError("a text frame came; messages are binary (msgpack).")
    message = unpack(frame)
    if not isinstance(message, dict) or any(name not in message for name in FIELDS):
        found = ", ".join(map(str, message)) if isinstance(message, dict) else type(message).__name__
        raise WireError(f"a message has {', '.join(FIELDS)}; this one has {found}.")
    if not isinstance(message["payload"], dict) or not isinstance(message["seq"], int):
        raise WireError("a message's payload is a map and its seq an integer.")
    return str(message["type"]), message["payload"], message["seq"]


def _is_image(entry: Any) -> bool:
    return isinstance(entry, dict) and str(entry.get("format", "")).startswith("rgb")
