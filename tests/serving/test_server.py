"""The server: the recorded clients are served, concurrent ones together, and bad ones turned away with one line."""

import threading
import time
import urllib.request
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from local_server import CountingPolicy, H, observation, served
from test_wire import GOLDEN, PICTURES, frames
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from hone.errors import HoneError
from hone.policies.remote import RemotePolicy
from hone.serving.server import ServerConfig
from hone.serving.service import Service
from hone.serving.wire import pack, unpack
from hone.specs import Spec


@contextmanager
def line(port: int, **options: Any):
    with connect(f"ws://127.0.0.1:{port}", compression=None, close_timeout=1, **options) as socket:
        yield socket


def openpi_observation(size: int = 6) -> dict[str, Any]:
    picture = np.zeros((size, size, 3), np.uint8)
    state = np.zeros(8, np.float32)
    return {"observation/image": picture, "observation/wrist_image": picture, "observation/state": state, "prompt": ""}


@pytest.mark.parametrize("dialect", ["auto", "openpi"])
def test_the_real_openpi_client_is_served(dialect: Any) -> None:
    whole, without_prompt = frames("openpi", "client")
    with served(Service(CountingPolicy(size=6)), ServerConfig(dialect=dialect)) as port, line(port) as socket:
        metadata = unpack(socket.recv(5))
        assert metadata["hone"]["chunk_length"] == H
        for decisions in range(2):
            socket.send(whole)
            reply = unpack(socket.recv(5))
            assert reply["actions"].shape == (H, 7)
            right = PICTURES[0][:, 3:].mean()  # the client's pictures are turned by 180 degrees: right is left
            expected = [decisions, GOLDEN["state"][0], len(GOLDEN["prompt"]), right]
            np.testing.assert_allclose(1000 * reply["actions"][0, :4], expected, rtol=1e-4, atol=1e-4)
            assert reply["server_timing"]["infer_ms"] > 0
        socket.send(without_prompt)
        assert "the observation lacks prompt. It has observation/image" in socket.recv(5)
        with pytest.raises(ConnectionClosed):
            socket.recv(5)


@pytest.mark.parametrize("dialect", ["auto", "vla_eval"])
def test_the_real_vla_eval_client_is_served(dialect: Any) -> None:
    with served(Service(CountingPolicy(size=6)), ServerConfig(dialect=dialect)) as port, line(port) as socket:
        heard = []
        for frame in frames("vla_eval", "client"):
            message = unpack(frame)
            socket.send(frame)
            if message["type"] in ("hello", "observation"):
                heard.append(unpack(socket.recv(5)))
                assert heard[-1]["seq"] == message["seq"]
        hello, first, second, refused = heard
        assert hello["payload"]["protocol_version"] == 1
        assert [first["payload"]["actions"][6], second["payload"]["actions"][6]] == [0, pytest.approx(1 / H)]
        assert refused["type"] == "error"
        assert "this policy wants images agentview, wrist, states" in refused["payload"]["error"]


def test_health_is_told_without_a_key_and_a_wrong_key_is_refused() -> None:
    with served(Service(CountingPolicy()), key="right") as port:
        for path, answer in (("healthz", b"OK\n"), ("health", b'{"status": "ok"}\n')):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as reply:
                assert reply.read() == answer
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/config") as reply:
            assert b'"max_batch_size": 16' in reply.read()
        for headers in ({}, {"Authorization": "Api-Key wrong"}, {"Authorization": "Api-Key righ"}):
            with pytest.raises(InvalidStatus, match="401"), line(port, additional_headers=headers):
                pass
        with line(port, additional_headers={"Authorization": "Api-Key right"}) as socket:
            assert "hone" in unpack(socket.recv(5))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"observation/image": np.zeros((6, 6, 4), np.uint8)}, r"agentview must be uint8 .*uint8 \[6, 6, 4\] came"),
        ({"observation/image": np.zeros((6, 6, 3), np.float32)}, r"agentview must be uint8"),
        ({"observation/wrist_image": np.zeros((6, 8, 3), np.uint8)}, "robot0_eye_in_hand must be square"),
        ({"observation/image": None}, "agentview must be uint8.*nothing came"),
        ({"observation/state": np.zeros(7)}, r"must be 8 finite numbers .*float64 \[7\] came"),
        ({"observation/state": np.full(8, np.nan)}, "8 finite numbers"),
        ({"observation/state": "eight"}, "8 finite numbers.*str came"),
        ({"prompt": 3}, "prompt must be text; int came"),
        ({"hone/seed": -1}, "hone/seed is -1"),
        ({"hone/candidates": 10**6}, "hone/candidates is 1000000"),
    ],
)
def test_an_observation_that_does_not_fit_is_told_why(change: dict[str, Any], words: str) -> None:
    with served(Service(CountingPolicy()), ServerConfig(dialect="openpi")) as port, line(port) as socket:
        socket.recv(5)
        socket.send(pack({**openpi_observation(), **change}, "bytes"))
        assert_said(socket.recv(5), words)


def assert_said(text: Any, words: str) -> None:
    with pytest.raises(HoneError, match=words):
        raise HoneError(text)


def test_bad_frames_hurt_nobody_else() -> None:
    """Half a message, text, another dialect, too large a frame, half a frame: told or hung up on; others go on."""
    whole = pack(openpi_observation(), "bytes")
    config = ServerConfig(dialect="openpi", max_frame_mib=1)
    with served(Service(CountingPolicy()), config) as port, line(port) as good:
        good.recv(5)
        said = []
        for bad in (whole[:-3], "hello", frames("vla_eval", "client")[0], pack([1, 2], "bytes")):
            with line(port) as socket:
                socket.recv(5)
                socket.send(bad)
                said.append(socket.recv(5))
        for text, words in zip(said, ["no whole msgpack", "text frame", "vla-eval's dialect", "is a map"], strict=True):
            assert_said(text, words)
        with line(port) as socket:
            socket.recv(5)
            socket.send(bytes(2**20 + 1))
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        with line(port) as socket:
            socket.recv(5)
            socket.socket.sendall(b"\x82\xfe\xff\xff")  # the head of a frame of 65,535 bytes, and no more
            good.send(whole)
            assert unpack(good.recv(5))["actions"].shape == (H, 7)


def test_another_version_of_vla_evals_protocol_is_refused() -> None:
    hello = unpack(frames("vla_eval", "client")[0])
    hello["payload"]["protocol_version"] = 2
    with served(Service(CountingPolicy())) as port, line(port) as socket:
        socket.send(pack(hello, "text"))
        reply = unpack(socket.recv(5))
        assert reply["payload"]["error"] == "your protocol version is 2; this server speaks version 1."


def test_clients_that_ask_together_are_decided_together_and_one_alone_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hone.serving.service.IN_USE_S", 3.0)
    policy = CountingPolicy()
    with served(Service(policy, max_wait_ms=500.0, max_batch=4)) as port:
        alone = RemotePolicy(f"ws://127.0.0.1:{port}")
        rows, many = observation(6), alone.initial_state(6)
        alone.propose(alone.encode(rows.rows(slice(0, 1))), many[:1], 1, None)
        assert policy.batches == [1]
        alone.propose(alone.encode(rows), many, 1, None)  # from now on all six are in use
        policy.batches.clear()
        chunks = alone.propose(alone.encode(rows), many, 1, None)[0].chunks[:, 0, 0].numpy()
        assert policy.batches == [4, 2]
        np.testing.assert_allclose(1000 * chunks[:, 1], rows.proprio[:, 0], atol=1e-4)
        np.testing.assert_array_equal(np.round(1000 * chunks[:, 0]), [2, 1, 1, 1, 1, 1])
        started = time.monotonic()
        alone.propose(alone.encode(rows.rows(slice(0, 1))), many[:1], 1, None)
        assert 0.45 < time.monotonic() - started < 2  # five others asked just now and may ask again: a bounded wait
        time.sleep(3.1)
        started = time.monotonic()
        alone.propose(alone.encode(rows.rows(slice(0, 1))), many[:1], 1, None)
        assert time.monotonic() - started < 0.45  # by now they have been quiet for too long to be waited for
        del many
        alone.close()


def test_a_policy_that_fails_is_told_as_openpi_tells_it() -> None:
    service = Service(CountingPolicy())
    service.policy.encode = None  # type: ignore[assignment]
    with served(service, ServerConfig(dialect="openpi")) as port, line(port) as socket:
        socket.recv(5)
        socket.send(pack(openpi_observation(), "bytes"))
        text = socket.recv(5)
        assert text.startswith("Traceback")
        assert "TypeError: 'NoneType' object is not callable" in text


def test_too_many_clients_are_turned_away() -> None:
    with served(Service(CountingPolicy()), ServerConfig(max_connections=1)) as port, line(port) as socket:
        socket.recv(5)
        with pytest.raises(InvalidStatus, match="503"), line(port):
            pass


def test_a_policy_that_reads_the_simulator_is_not_served() -> None:
    policy = CountingPolicy()
    policy.spec = Spec(cameras=(), state_tokens="objects_v1")
    with pytest.raises(HoneError, match="object poses"):
        Service(policy)


def test_a_port_that_is_taken_is_one_line() -> None:
    import asyncio

    from hone.serving.server import serve

    with served(Service(CountingPolicy())) as port, pytest.raises(HoneError, match=f"cannot listen on .*{port}"):
        asyncio.run(serve(Service(CountingPolicy()), ServerConfig(port=port)))
    assert threading.active_count() < 20
