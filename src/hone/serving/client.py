"""The blocking end of a websocket: one connection, every way it can fail told apart, nothing waited for without end."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from hone.errors import HoneError

MAX_FRAME = 64 * 2**20
"""Bytes; a server that sends more in one message is hung up on."""
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between attempts to connect; the last one repeats."""


class LineLostError(Exception):
    """The connection broke. Nobody but the policy that asked knows whether asking again is harmless."""


class WebsocketLine:
    """One connection to a policy server. `key` is sent as openpi's servers expect it and never printed."""

    def __init__(self, address: str, key: str = "", connect_s: float = 20.0) -> None:
        """Connect, trying again for at most `connect_s` while the server is not up or is full."""
        self.address = address
        self._websockets = _websockets()
        self._held = ExitStack()
        deadline = time.monotonic() + connect_s
        for pause in _pauses():
            left = deadline - time.monotonic()
            why = self._connect(key, max(left, 0.1))
            if why is None:
                return
            if time.monotonic() + pause >= deadline:
                raise HoneError(f"no policy server at {address} after {connect_s:g} s of trying: {why}.")
            time.sleep(pause)

    def _connect(self, key: str, timeout_s: float) -> str | None:
        """Try once; what went wrong where trying again may help."""
        errors = self._websockets.exceptions
        try:
            connection = self._websockets.sync.client.connect(
                self.address,
                open_timeout=timeout_s,
                close_timeout=1,
                compression=None,
                max_size=MAX_FRAME,
                ping_interval=None,  # a policy that compiles may not answer pings; `receive` has its own limit
                additional_headers={"Authorization": f"Api-Key {key}"} if key else None,
            )
            self._socket = self._held.enter_context(connection)
        except errors.InvalidURI as error:
            raise HoneError(f"'{self.address}' is no address of a policy server; write ws://host:port.") from error
        except errors.InvalidStatus as error:
            status = error.response.status_code
            if status in (401, 403):
                what = (
                    "the key in $HONE_API_KEY is not the server's" if key else "set $HONE_API_KEY to the server's key"
                )
                raise HoneError(f"{self.address} refuses the connection (HTTP {status}): {what}.") from error
            if status == 503:
                return "it is full or starting (HTTP 503)"
            raise HoneError(f"{self.address} is no policy server: it answers HTTP {status}.") from error
        except errors.InvalidHandshake as error:
            raise HoneError(f"{self.address} is no websocket server ({error}).") from error
        except TimeoutError:
            return "it accepts connections but does not finish the handshake"
        except OSError as error:
            return str(error.strerror or error)
        return None

    def send(self, frame: bytes) -> None:
        try:
            self._socket.send(frame)
        except self._websockets.exceptions.ConnectionClosed as closed:
            raise self._lost(closed) from closed

    def receive(self, timeout_s: float) -> str | bytes:
        try:
            return self._socket.recv(timeout_s)
        except TimeoutError as error:
            raise HoneError(f"the server at {self.address} gave no whole answer within {timeout_s:g} s.") from error
        except self._websockets.exceptions.ConnectionClosed as closed:
            raise self._lost(closed) from closed

    def listen(self, wait_s: float) -> str | bytes | None:
        """What the server says of itself, if it speaks within `wait_s`."""
        try:
            return self._socket.recv(wait_s)
        except TimeoutError:
            return None
        except self._websockets.exceptions.ConnectionClosed as closed:
            raise self._lost(closed) from closed

    def close(self) -> None:
        self._held.close()

    def _lost(self, closed: Any) -> Exception:
        """A frame that was too large fails again however often it is sent; other losses may pass."""
        if closed.rcvd is not None and closed.rcvd.code == 1009:
            return HoneError(
                f"the server at {self.address} takes no message as large as this one: {closed.rcvd.reason}."
            )
        if closed.sent is not None and closed.sent.code == 1009:
            return HoneError(f"the server at {self.address} sent a message of more than {MAX_FRAME >> 20} MiB.")
        return LineLostError(str(closed))


def _pauses() -> Any:
    yield from BACKOFF_S
    while True:
        yield BACKOFF_S[-1]


def _websockets() -> Any:
    try:
        import websockets.exceptions
        import websockets.sync.client
    except ImportError as error:
        raise HoneError("remote policies need websockets: pip install 'hone-vla[serve]'.") from error
    return websockets
