"""A chat server on this machine that plays a script, one move per request; the last move is repeated."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Move = Callable[[BaseHTTPRequestHandler], None]


class Stub:
    """`url` is the base URL; `requests` are the bodies received, `keys` their authorization headers."""

    def __init__(self, port: int, script: list[Move]) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    def last_user_message(self) -> str:
        return self.requests[-1]["messages"][-1]["content"]


@contextmanager
def chat_server(*script: Move) -> Iterator[Stub]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                stub.requests.append(body)
                stub.keys.append(self.headers["authorization"])
                move = stub.script[min(len(stub.requests), len(stub.script)) - 1]
            try:
                move(self)
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        stub = Stub(server.server_port, list(script))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield stub
        server.shutdown()


def send(status: int, body: bytes | str, content_type: str = "application/json", **headers: str) -> Move:
    """A whole reply; underscores in names of headers become dashes."""
    content = body.encode() if isinstance(body, str) else body

    def move(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("content-type", content_type)
        handler.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return move


def completion(text: str | None, refusal: str | None = None, finish: str = "stop", tokens: int | None = 100) -> str:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    reply: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    return json.dumps(reply if tokens is None else reply | {"usage": {"total_tokens": tokens}})


def say(content: Any, **more: Any) -> Move:
    """A completion; what is not a string is said as JSON."""
    return send(200, completion(content if isinstance(content, str) else json.dumps(content), **more))


def late(seconds: float) -> Move:
    return lambda handler: time.sleep(seconds)


def drip(seconds: float, head: bool) -> Move:
    """A byte of body (or, with `head`, of the headers) every 20 ms: no single read ever waits long."""

    def move(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n")
        handler.wfile.write(b"x-slow: " if head else b"\r\n")
        for _ in range(round(seconds / 0.02)):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.02)
        handler.close_connection = True

    return move


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    """Half a reply, then the connection closes."""
    whole = completion('{"colour": "red"}').encode()
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(whole))
    handler.wfile.write(whole[: len(whole) // 2])
    handler.close_connection = True


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\xff not HTTP at all \r\n\r\n")
    handler.close_connection = True
