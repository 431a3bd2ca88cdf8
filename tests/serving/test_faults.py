"""Servers that misbehave, and lines that break: one clear error or a bounded retry, and no episode counted twice."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from local_server import CountingPolicy, observation, served
from toy_environment import GOAL, SPEC, TASKS, ToyConfig
from websockets.sync.server import serve

from hone.errors import HoneError
from hone.policies.base import PolicyFault
from hone.policies.remote import RemoteConfig, RemotePolicy
from hone.serving.client import WebsocketLine
from hone.serving.names import openpi_names
from hone.serving.openpi import OpenpiServer
from hone.serving.service import Service
from hone.serving.wire import pack
from hone.training.rollout import EpisodeRequest, rollout
from hone.types import Placement

QUICK = RemoteConfig(dialect="openpi", timeout_s=0.5, connect_s=0.5, warmup_s=0.5)


@contextmanager
def stranger(behave: Callable[[Any], None]) -> Iterator[str]:
    """The address of a websocket server that does as it likes with each connection."""
    with serve(behave, "127.0.0.1", 0, compression=None, close_timeout=1) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()


def metadata(**changes: Any) -> dict[str, Any]:
    service = Service(CountingPolicy())
    data = OpenpiServer(openpi_names(service.spec.cameras)).metadata(service)
    return {**data, "hone": {**data["hone"], **changes}}


def says(*messages: Any) -> Callable[[Any], None]:
    """Sends the first at once and one more after each message that comes, then keeps silent."""

    def behave(connection: Any) -> None:
        for message in messages:
            connection.send(message)
            connection.recv()
        time.sleep(1.5)

    return behave


def greeted(*messages: Any) -> Callable[[Any], None]:
    return says(pack(metadata(), "bytes"), *messages)


def half_a_frame(connection: Any) -> None:
    connection.send(pack(metadata(), "bytes"))
    connection.recv()
    connection.socket.sendall(b"\x82\x7e\xff\xff" + bytes(100))
    time.sleep(1)


def use(address: str) -> None:
    remote = RemotePolicy(address, QUICK)
    remote.propose(remote.encode(observation()), None, 1, None)


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (says(), "sent no metadata within 0.5 s.*dialect vla_eval"),
        (says("Traceback\n  line 1\nKeyError: 'x'"), "reports an error: KeyError: 'x'$"),
        (says(b"not msgpack at all"), "does not speak openpi's dialect"),
        (says(pack([1], "bytes")), "sent a list"),
        (says(pack({"type": "hello", "payload": {}}, "text")), "vla-eval's dialect"),
        (says(pack(metadata(version=2), "bytes")), "metadata have version 2; this Hone knows version 1"),
        (says(pack(metadata(spec={"color": 1}), "bytes")), "metadata that cannot be read"),
        (greeted(), "gave no whole answer within 0.5 s"),
        (half_a_frame, "gave no whole answer within 0.5 s"),
        (greeted("HoneError: no such camera"), "reports an error: HoneError: no such camera$"),
        (greeted(pack({"server_timing": {}}, "bytes")), "answered with no actions"),
        (greeted(pack({"actions": np.zeros((4, 6))}, "bytes")), "4 actions of 6 numbers|4 actions of 6 numbers; 1 x"),
        (greeted(pack({"actions": np.zeros((2, 7))}, "bytes")), "1 x 2 actions of 7 numbers; 1 x at least 4"),
        (greeted(pack({"actions": np.full((4, 7), np.nan)}, "bytes")), "not a finite number"),
        (greeted(bytes(2**20 + 1)), "a message of more than 1 MiB"),
        (lambda connection: None, "hung up while it was being greeted"),
    ],
)
def test_a_server_that_misbehaves_is_one_error_in_bounded_time(
    behave: Callable[[Any], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hone.serving.client.MAX_FRAME", 2**20)
    started = time.monotonic()
    with stranger(behave) as address:
        with pytest.raises(HoneError, match=words):
            use(address)
        assert time.monotonic() - started < 3


def test_a_server_that_is_not_there_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"ws://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HoneError, match=r"no policy server at ws://.* after 0.5 s of trying: Connection refused"):
            RemotePolicy(nobody, QUICK)
        taken.listen()  # accepts, and says nothing
        with pytest.raises(HoneError, match="does not finish the handshake"):
            RemotePolicy(nobody, QUICK)
    with pytest.raises(HoneError, match="no address of a policy server; write ws://host:port"):
        RemotePolicy("remote:localhost:8000", QUICK)
    with served(Service(CountingPolicy()), key="right") as port:
        with pytest.raises(HoneError, match=r"HTTP 401\): set \$HONE_API_KEY"):
            RemotePolicy(f"ws://127.0.0.1:{port}", QUICK)
        monkeypatch.setenv("HONE_API_KEY", "wrong")
        with pytest.raises(HoneError, match=r"HTTP 401\): the key in \$HONE_API_KEY is not the server's"):
            RemotePolicy(f"ws://127.0.0.1:{port}", QUICK)
        monkeypatch.setenv("HONE_API_KEY", "right")
        RemotePolicy(f"ws://127.0.0.1:{port}", QUICK).close()


class Walker(CountingPolicy):
    """Walks towards the toy's goal, faster with every decision it remembers."""

    def __init__(self, memory: bool) -> None:
        super().__init__(memory=memory)
        self.spec = SPEC

    def encode(self, observation: Any) -> Any:
        from hone.policies.base import Features

        rows = len(observation)
        return Features(torch.zeros(rows, 0, 1), torch.ones(rows, 0, dtype=torch.bool), torch.zeros(rows, 3))

    def propose(self, features: Any, state: Any, k: int, generators: Any) -> Any:
        counts = state or [1] * len(features)
        candidates, state = super().propose(features, counts, k, generators)
        chunks = candidates.chunks * 0
        chunks[..., 0] = torch.tensor(counts)[:, None, None] / 20
        return replace(candidates, chunks=chunks, samples=chunks), state


def requests(count: int) -> list[EpisodeRequest]:
    return [EpisodeRequest(i, TASKS[i % 2], Placement("sampled", 5 + i), seed=i, greedy=True) for i in range(count)]


@pytest.mark.parametrize("memory", [False, True])
def test_a_broken_line_counts_no_episode_twice(memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line breaks at the 5th answer, and again at the 9th. A server with memory runs those episodes again."""
    env = ToyConfig().build(3)
    expected = {t.request.episode_id: (t.status, t.steps) for t in rollout(env, Walker(memory), requests(7))}
    answers = iter(range(10**6))
    receive = WebsocketLine.receive

    def breaking(line: WebsocketLine, timeout_s: float) -> Any:
        if next(answers) in (5, 9):
            line.close()
        return receive(line, timeout_s)

    with served(Service(Walker(memory))) as port:
        remote = RemotePolicy(f"ws://127.0.0.1:{port}", RemoteConfig(dialect="openpi", connect_s=5.0))
        monkeypatch.setattr(WebsocketLine, "receive", breaking)
        done = list(rollout(env, remote, requests(7)))
        remote.close()
    assert sorted(t.request.episode_id for t in done) == list(range(7))
    assert {t.request.episode_id: (t.status, t.steps) for t in done} == expected
    assert any(t.request.attempt for t in done) == memory
    assert GOAL


def test_episodes_whose_server_keeps_failing_end_as_errors() -> None:
    class Lost(Walker):
        def encode(self, observation: Any) -> Any:
            raise PolicyFault("the line broke")

    done = list(rollout(ToyConfig().build(2), Lost(True), requests(3)))
    assert sorted(t.request.episode_id for t in done) == [0, 1, 2]
    assert {(t.status, t.fault, t.steps) for t in done} == {("error", "the line broke", 0)}


def test_a_server_that_goes_away_ends_the_run_in_the_stated_time() -> None:
    with served(Service(Walker(False))) as port:
        remote = RemotePolicy(f"ws://127.0.0.1:{port}", RemoteConfig(dialect="openpi", connect_s=0.5))
        state = remote.initial_state(1)
        env = ToyConfig().build(1)
        env.reset([0], [TASKS[0]], [Placement("sampled", 0)])
        features = remote.encode(env.observe([0]))
        remote.propose(features, state, 1, None)
    started = time.monotonic()
    with pytest.raises(HoneError, match=r"no policy server at .* after 0.5 s of trying"):
        remote.propose(features, state, 1, None)
    assert time.monotonic() - started < 3
