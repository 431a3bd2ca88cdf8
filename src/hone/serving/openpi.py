"""openpi's websocket dialect: metadata first, then an observation in and a chunk out.

    server, on connecting    a map of metadata (any keys)
    client                   a map of arrays and text, keys as the policy was trained with
    server                   {"actions": [H, A], "server_timing": {"infer_ms": …, "prev_total_ms": …}}
    server, where it failed  a *text* frame with the traceback, then it closes the connection

There is no sign of an episode's start, so for openpi's own clients a policy with memory forgets only when they connect
anew.

Hone's server adds a key "hone" to the metadata: its version, keys, spec and chunk length. A client that finds
extensions named there may add "hone/start" (an episode's first observation), "hone/seed" (decode by sampling) and
"hone/candidates" (K chunks, in "hone/candidates" of the reply) to an observation. Others never send them and are served
the greedy chunk.
"""

from __future__ import annotations

import logging
import time
import traceback
from typing import Any

import numpy as np
from jaxtyping import Float32

from hone import __version__
from hone.errors import HoneError
from hone.serving.dialect import EXTENSIONS, Greeting, Line, Question, Socket, as_chunks, last_line
from hone.serving.names import Names
from hone.serving.service import Answer, Ask, Service, Session
from hone.serving.wire import WireError, pack, unpack
from hone.specs import Spec

log = logging.getLogger(__name__)

VERSION = 1
"""Of the key "hone" in the metadata."""
MAX_CANDIDATES = 64
START, SEED, CANDIDATES = "hone/start", "hone/seed", "hone/candidates"
INTERNAL_ERROR = 1011


class OpenpiServer:
    """The server's side of one connection."""

    def __init__(self, names: Names) -> None:
        self.names = names

    def metadata(self, service: Service) -> dict[str, Any]:
        hone = {
            "version": VERSION,
            "wants": list(self.names.keys()),
            "spec": {**service.spec.to_json(), "cameras": list(service.spec.cameras)},
            "image_orientation": service.image_orientation,
            "chunk_length": service.policy.chunk_length,
            "memoryless": service.memoryless,
            "extensions": list(EXTENSIONS),
        }
        return {"server": f"hone {__version__}", "hone": hone}

    async def converse(self, socket: Socket, service: Service, session: Session, first: str | bytes | None) -> None:
        await socket.send(pack(self.metadata(service), "bytes"))
        previous_ms: float | None = None
        while True:
            frame = first if first is not None else await socket.recv()
            first, started = None, time.perf_counter()
            try:
                data = self._read(frame)
                if data.get(START) is True:
                    service.begin_episode(session)
                ask = self._asked(data, service)
                answer = await service.answer(session, ask)
            except HoneError as error:
                await socket.send(f"HoneError: {error}")
                await socket.close(INTERNAL_ERROR, "refused; the text frame before says why")
                return
            except Exception:
                log.exception("the policy failed")
                await socket.send(traceback.format_exc())
                await socket.close(INTERNAL_ERROR, "the policy failed; the text frame before has the traceback")
                return
            await socket.send(pack(_reply(answer, ask, previous_ms), "bytes"))
            previous_ms = (time.perf_counter() - started) * 1000

    def _read(self, frame: str | bytes) -> dict[Any, Any]:
        if isinstance(frame, str):
            raise WireError("a text frame came; observations are binary (msgpack).")
        data = unpack(frame)
        if not isinstance(data, dict):
            raise WireError(f"an observation is a map, not a {type(data).__name__}.")
        if {"type", "payload"} <= data.keys():
            raise WireError("this is vla-eval's dialect, spoken to a server that has taken you for openpi's client; "
                            "serve with --dialect vla_eval.")  # fmt: skip
        missing = [key for key in self.names.keys() if key not in data]  # noqa: SIM118 - a method, not a map's keys
        if missing:
            raise WireError(f"the observation lacks {', '.join(missing)}. It has {_listed(data)}; this policy wants "
                            f"{', '.join(self.names.keys())}.")  # fmt: skip
        return data

    def _asked(self, data: dict[Any, Any], service: Service) -> Ask:
        seed, candidates = data.get(SEED), data.get(CANDIDATES, 1)
        if not (seed is None or (isinstance(seed, int) and 0 <= seed < 2**63)):
            raise WireError(f"{SEED} is {seed!r}; send an integer from 0 to 2^63.")
        if not isinstance(candidates, int) or not 1 <= candidates <= MAX_CANDIDATES:
            raise WireError(f"{CANDIDATES} is {candidates!r}; send 1 to {MAX_CANDIDATES}.")
        images = {camera: data[key] for camera, key in self.names.cameras.items()}
        return Ask(service.observation(images, data[self.names.state], data[self.names.prompt]), seed, candidates)


def _reply(answer: Answer, ask: Ask, previous_ms: float | None) -> dict[str, Any]:
    timing = {"infer_ms": answer.infer_ms, "batch": answer.batch}
    if previous_ms is not None:
        timing["prev_total_ms"] = previous_ms
    more = {CANDIDATES: answer.chunks} if ask.candidates > 1 else {}
    return {"actions": answer.chunks[0], "server_timing": timing, **more}


class OpenpiClient:
    """The client's side of one connection."""

    def __init__(self) -> None:
        self.names = Names()
        self._extensions: tuple[str, ...] = ()
        self._starting = False

    def greet(self, line: Line, first: str | bytes | None, timeout_s: float) -> Greeting:
        first = first if first is not None else line.listen(timeout_s)
        if first is None:
            raise HoneError(
                f"{line.address} sent no metadata within {timeout_s:g} s, as openpi's servers do. If it speaks "
                "vla-eval's dialect, say --remote.dialect vla_eval."
            )
        metadata = _message(first, line)
        if metadata.keys() >= {"type", "payload"}:
            raise HoneError(f"{line.address} speaks vla-eval's dialect; say --remote.dialect vla_eval.")
        hone = metadata.get("hone")
        if not isinstance(hone, dict):
            return Greeting("openpi", str(metadata.get("server", "an openpi server")), memoryless=True)
        version = hone.get("version")
        if version != VERSION:
            raise HoneError(f"{line.address} is {metadata.get('server')}, whose metadata have version {version!r}; "
                            f"this Hone knows version {VERSION}. Use the same Hone on both ends.")  # fmt: skip
        try:
            self._extensions = tuple(hone["extensions"])
            return Greeting(
                "openpi",
                str(metadata["server"]),
                tuple(hone["wants"]),
                Spec.from_json(hone["spec"]),
                hone["image_orientation"],
                int(hone["chunk_length"]),
                self._extensions,
                bool(hone["memoryless"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HoneError(f"{line.address} sent metadata that cannot be read ({error!r}).") from error

    def begin(self, line: Line, instruction: str) -> None:
        """Said with the first observation to a server by Hone; the dialect itself has no word for it."""
        self._starting = True

    def ask(self, line: Line, question: Question) -> None:
        data: dict[str, Any] = {key: question.images[camera] for camera, key in self.names.cameras.items()}
        data |= {self.names.state: question.proprio, self.names.prompt: question.instruction}
        if self._starting and "start" in self._extensions:
            data[START] = True
        self._starting = False
        if question.seed is not None and "seed" in self._extensions:
            data[SEED] = question.seed
        if question.candidates > 1 and "candidates" in self._extensions:
            data[CANDIDATES] = question.candidates
        frame = pack(data, "bytes")
        for _ in range(self._times(question)):
            line.send(frame)

    def answer(self, line: Line, question: Question, timeout_s: float) -> Float32[np.ndarray, "K H A"]:
        replies = [_message(line.receive(timeout_s), line) for _ in range(self._times(question))]
        chunks = [as_chunks(reply.get(CANDIDATES, reply.get("actions")), line.address) for reply in replies]
        return np.concatenate(chunks)

    def _times(self, question: Question) -> int:
        """A server that knows no candidates is asked once for each: openpi's policies draw anew every time."""
        return 1 if "candidates" in self._extensions else question.candidates


def _message(frame: str | bytes, line: Line) -> dict[str, Any]:
    if isinstance(frame, str):
        raise HoneError(f"the server at {line.address} reports an error: {last_line(frame)}")
    try:
        message = unpack(frame)
    except WireError as error:
        raise HoneError(f"{line.address} does not speak openpi's dialect: {error}") from error
    if not isinstance(message, dict):
        raise HoneError(f"{line.address} does not speak openpi's dialect: it sent a {type(message).__name__}.")
    return message


def _listed(data: dict[Any, Any]) -> str:
    return ", ".join(str(key) for key in data) or "nothing"
