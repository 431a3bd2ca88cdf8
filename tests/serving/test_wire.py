"""The codec, and the frames of the real clients (tests/golden/serving.json)."""

import base64
import json
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from hone.errors import HoneError
from hone.serving.dialect import Question
from hone.serving.names import Names
from hone.serving.openpi import OpenpiClient
from hone.serving.vla_eval import VlaEvalClient
from hone.serving.wire import WireError, pack, unpack

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "serving.json").read_text())
PICTURES = [(np.arange(108, dtype=np.uint8) + 100 * camera).reshape(6, 6, 3) for camera in range(2)]


def frames(dialect: str, who: str) -> list[Any]:
    return [frame.get("text") or base64.b64decode(frame["base64"]) for frame in GOLDEN[dialect] if frame["from"] == who]


class Tape:
    """A line that plays what a server once said, and keeps what it is told."""

    def __init__(self, said: list[Any]) -> None:
        self.address = "ws://tape"
        self.said, self.heard = said, []

    def send(self, frame: bytes) -> None:
        self.heard.append(frame)

    def receive(self, timeout_s: float) -> Any:
        return self.said.pop(0)

    def listen(self, wait_s: float) -> Any:
        return self.receive(wait_s)


def question(**changes: Any) -> Question:
    images = {"agentview": PICTURES[0], "robot0_eye_in_hand": PICTURES[1]}
    return Question(images, np.array(GOLDEN["state"], np.float32), GOLDEN["prompt"], **changes)


@pytest.mark.parametrize("style", ["bytes", "text"])
def test_arrays_come_back_as_they_were(style: Any) -> None:
    arrays = [np.arange(6).astype(kind).reshape(2, 3) for kind in ("u1", "i8", "f2", "f4", "f8", "?")]
    arrays += [np.zeros((0, 3)), np.array(3.5), PICTURES[0][::-1, ::-1]]
    sent = {"deep": [{"arrays": arrays}], "text": "größe", "n": np.float32(2.5), "i": np.int64(-3), "b": True}
    back = unpack(pack(sent, style))
    for ours, theirs in zip(arrays, back["deep"][0]["arrays"], strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(ours, theirs)
    assert (back["text"], back["n"], back["i"], back["b"]) == ("größe", 2.5, -3, True)


def array(**changes: Any) -> bytes:
    whole = {"__ndarray__": True, "data": bytes(12), "dtype": "<f4", "shape": [3], **changes}
    return bytes(msgpack.packb(whole) or b"")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"", "no whole msgpack"),
        (pack({"a": np.zeros(100)}, "bytes")[:-7], "no whole msgpack"),
        (pack({}, "bytes") + b"\x01", "no whole msgpack"),
        (b"\x91" * 5000, "no whole msgpack"),
        (array(dtype="|O"), "'|O' is refused"),
        (array(dtype="|V12"), "'|V12' is refused"),
        (array(dtype=["<f4"]), "is refused"),
        (array(shape=[4]), "shape .4. and type <f4 came with 12 bytes"),
        (array(shape=[-1]), "shape .-1."),
        (array(shape=[2**40, 0, 2**40, 3]), "12 bytes"),
        (array(data="text"), "0 bytes"),
        (msgpack.packb({"__image__": True, "format": "tiff", "data": b""}), "'tiff'"),
        (msgpack.packb({"__image__": True, "format": "png", "data": b"GIF89a"}), "no png"),
    ],
)
def test_what_is_not_plain_numbers_is_refused(frame: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words.replace("|", r"\|")):
        unpack(frame)


@pytest.mark.parametrize("value", [np.array([None]), np.array(["a"]), np.array([1j]), object(), {1, 2}])
def test_nothing_but_plain_data_is_sent(value: Any) -> None:
    with pytest.raises(WireError):
        pack({"value": value}, "bytes")


def test_openpis_frames_are_read_and_written_byte_for_byte() -> None:
    observation = frames("openpi", "client")[0]
    seen = unpack(observation)
    np.testing.assert_array_equal(seen["observation/image"], PICTURES[0])
    np.testing.assert_array_equal(seen["observation/wrist_image"], PICTURES[1])
    np.testing.assert_array_equal(seen["observation/state"], GOLDEN["state"])
    assert seen["prompt"] == GOLDEN["prompt"]
    assert pack(seen, "bytes") == observation


def test_our_client_understands_openpis_server() -> None:
    tape = Tape(frames("openpi", "server"))
    client = OpenpiClient()
    greeting = client.greet(tape, None, 1.0)
    assert (greeting.spec, greeting.wants, greeting.extensions, greeting.memoryless) == (None, None, (), True)
    client.names = Names({"agentview": "observation/image", "robot0_eye_in_hand": "observation/wrist_image"})
    client.ask(tape, question(seed=3))
    np.testing.assert_allclose(client.answer(tape, question(), 1.0), np.array([GOLDEN["actions"]]), rtol=1e-6)
    theirs, ours = unpack(frames("openpi", "client")[0]), unpack(tape.heard[0])
    assert theirs.keys() == ours.keys()  # no key of ours, such as the seed, goes to a server that did not ask for it
    with pytest.raises(HoneError, match=r"reports an error: KeyError: 'prompt'$"):
        client.answer(tape, question(), 1.0)


def test_our_client_understands_vla_evals_server() -> None:
    tape = Tape(frames("vla_eval", "server"))
    client = VlaEvalClient()
    assert client.greet(tape, None, 1.0).server == "Toy"
    client.names = Names({"agentview": "agentview", "robot0_eye_in_hand": "wrist"}, "states", "task_description")
    client.begin(tape, GOLDEN["prompt"])
    for step in range(2):
        client.ask(tape, question())
        np.testing.assert_allclose(client.answer(tape, question(), 1.0)[0, 0], GOLDEN["actions"][step], rtol=1e-6)
    theirs, ours = ([unpack(frame) for frame in spoken[:3]] for spoken in (frames("vla_eval", "client"), tape.heard))
    for message, expected in zip(ours, theirs, strict=True):
        assert (message.keys(), message["type"], message["seq"]) == (expected.keys(), expected["type"], expected["seq"])
    np.testing.assert_array_equal(ours[2]["payload"]["images"]["wrist"], theirs[2]["payload"]["images"]["wrist"])
    client.begin(tape, GOLDEN["prompt"])
    client._seq = 6  # as the recorded client, which also said that an episode had ended
    client.ask(tape, question())
    with pytest.raises(HoneError, match="reports an error: observation_failed: KeyError: 'states'"):
        client.answer(tape, question(), 1.0)
