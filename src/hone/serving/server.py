"""The websocket server: who may connect, which dialect they speak, and how long anyone is waited for.

    GET /healthz            "OK", as openpi has it
    GET /health, /config    JSON, as vla-eval has it (the batching is shown there, not changed)
    anything else           a websocket

In `auto` a client that speaks first within `HELLO_WAIT_S` speaks vla-eval's dialect; one that waits is greeted as
openpi's client. Frames are not compressed (pictures hardly shrink, and a bomb could not be refused by its size).
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from hone.errors import HoneError
from hone.serving.dialect import ServerSide
from hone.serving.names import openpi_names, renamed, vla_eval_names
from hone.serving.openpi import OpenpiServer
from hone.serving.service import Service
from hone.serving.vla_eval import VlaEvalServer, is_hello

log = logging.getLogger(__name__)

HELLO_WAIT_S = 0.3
"""How long a client may take to say hello in vla-eval's dialect before it is greeted in openpi's."""
HANDSHAKE_S = 10.0
"""A connection that has not become a websocket by then is closed."""
PING_S, PONG_S = 30.0, 300.0
"""A connection is tried every 30 s, and closed if nothing comes back for 300 s: a simulator may block for minutes."""

Dialect = Literal["auto", "openpi", "vla_eval"]


@dataclass(frozen=True)
class ServerConfig:
    """Where and how a policy is served."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in, which should then need a key."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    dialect: Dialect = "auto"
    """`openpi`, `vla_eval`, or both, told apart by who speaks first."""
    rename: tuple[str, ...] = ()
    """Keys that clients use instead of openpi's LIBERO keys: `agentview=observation/base_image`, `state=…`,
    `prompt=…`."""
    max_frame_mib: int = 64
    """A client that sends more in one message is hung up on."""
    max_connections: int = 64
    """More are turned away with HTTP 503."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise HoneError(f"port is {self.port}; use 0 to 65535.")
        if self.max_frame_mib < 1 or self.max_connections < 1:
            raise HoneError("max_frame_mib and max_connections must be at least 1.")


async def serve(
    service: Service, config: ServerConfig, key: str = "", ready: Callable[[int], None] | None = None
) -> None:
    """Serve until cancelled. `ready` hears the port once clients can connect; with a `key` they must know it."""
    websockets = _websockets()
    cameras = service.spec.cameras
    openpi = OpenpiServer(renamed(openpi_names(cameras), config.rename))
    vla_eval = VlaEvalServer(vla_eval_names(cameras))
    connections = 0

    def admit(connection: Any, request: Any) -> Any:
        path = request.path.split("?")[0]
        if path == "/healthz":
            return connection.respond(HTTPStatus.OK, "OK\n")
        if path in ("/health", "/config"):
            about = {"status": "ok"} if path == "/health" else {"config": _batching(service)}
            response = connection.respond(HTTPStatus.OK, json.dumps(about) + "\n")
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            return response
        given = request.headers.get("Authorization", "")
        if key and not hmac.compare_digest(given.encode(), f"Api-Key {key}".encode()):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "send the header 'Authorization: Api-Key …'\n")
        if connections >= config.max_connections:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"{connections} clients are connected\n")
        return None

    async def hold(socket: Any) -> None:
        nonlocal connections
        connections += 1
        session = service.open()
        try:
            first, side = await choose(socket)
            await side.converse(socket, service, session, first)
        except websockets.exceptions.ConnectionClosed as closed:
            log.info("%s hung up: %s", socket.remote_address, closed)
        finally:
            service.close(session)
            connections -= 1

    async def choose(socket: Any) -> tuple[str | bytes | None, ServerSide]:
        if config.dialect == "vla_eval":
            return None, vla_eval
        if config.dialect == "auto":
            with suppress(TimeoutError):
                first = await asyncio.wait_for(socket.recv(), HELLO_WAIT_S)
                return first, vla_eval if is_hello(first) else openpi
        return None, openpi

    deciding = asyncio.create_task(service.run())
    try:
        async with websockets.asyncio.server.serve(
            hold,
            config.host,
            config.port,
            process_request=admit,
            compression=None,
            max_size=config.max_frame_mib * 2**20,
            open_timeout=HANDSHAKE_S,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
        ) as server:
            if ready is not None:
                ready(next(iter(server.sockets)).getsockname()[1])
            await deciding  # ends only by an error or a cancellation
    except OSError as error:
        raise HoneError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}. Give another --port, or end "
            "what listens there."
        ) from error
    finally:
        deciding.cancel()


def _batching(service: Service) -> dict[str, Any]:
    return {"max_batch_size": service.max_batch, "max_wait_time": service.max_wait_ms / 1000}


def _websockets() -> Any:
    try:
        import websockets.asyncio.server
        import websockets.exceptions
    except ImportError as error:
        raise HoneError("policy servers need websockets: pip install 'hone-vla[serve]'.") from error
    return websockets
