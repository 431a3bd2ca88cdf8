from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_stub import Stub, chat_server, completion, cut_off, drip, garbage, late, say, send

from hone.errors import HoneError
from hone.language.llm import Client, LlmConfig, Question
from hone.language.llm_exchange import json_in
from hone.language.plan import Refusal

KEY = "sk-not-to-be-seen-anywhere"
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}
QUESTION = Question("colour", "You name colours.", "What colour is the mug?", SCHEMA)
RED = {"colour": "red"}


def colour(data: Any) -> str:
    if data.get("colour") not in ("red", "blue"):
        raise HoneError(f"'{data.get('colour')}' is no colour; known: blue, red.")
    return data["colour"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HONE_LLM_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., LlmConfig]:
    def make(stub: Stub, **changes: Any) -> LlmConfig:
        plain = LlmConfig("stub", tmp_path / "run", stub.url, deadline_s=60.0, retries=2, backoff_s=0.01)
        return replace(plain, **changes)

    return make


def transcript(config: LlmConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (config.folder / "transcript.jsonl").read_text().splitlines()]


def spent(config: LlmConfig) -> dict[str, int]:
    return json.loads((config.folder / "spent.json").read_text())


def test_good_answer(config: Callable[..., LlmConfig]) -> None:
    with chat_server(say(RED)) as stub:
        assert Client(config(stub)).ask(QUESTION, colour) == "red"
        (request,) = stub.requests
        assert stub.keys == [f"Bearer {KEY}"]
        assert request["response_format"]["json_schema"] == {"name": "colour", "strict": True, "schema": SCHEMA}
        assert (request["model"], request["temperature"], request["max_tokens"]) == ("stub", 0.0, 2000)
        assert json.dumps(SCHEMA) in request["messages"][0]["content"]
        assert spent(config(stub)) == {"calls": 1, "tokens": 100}


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"colour": "red"}\n```',
        'It could be {this or that}. Here you are: {"colour": "red"} I hope this helps {a lot}!',
        '<think>perhaps {"colour": "blue"}?</think>\n{"colour": "red"}',
        '{"colour": "blue"} no, wait: {"colour": "red"}',
    ],
)
def test_json_is_found_in_what_surrounds_it(text: str) -> None:
    assert json_in(text) == RED


@pytest.mark.parametrize("text", ["", "red", '{"colour": "red"', '{"colour": NaN}', '{"a":[' * 30_000, "{" * 260_000])
def test_no_json_is_said_so_and_soon(text: str) -> None:
    began = time.process_time()
    with pytest.raises(Refusal, match="no complete JSON object"):
        json_in(text)
    assert time.process_time() - began < 5.0


def test_what_is_wrong_is_told_to_the_model(config: Callable[..., LlmConfig]) -> None:
    with chat_server(say("mauve, I should say"), say({"colour": "mauve"}), say(RED)) as stub:
        assert Client(config(stub)).ask(QUESTION, colour) == "red"
        first, second, third = stub.requests
        assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "user"]
        assert second["messages"][2]["content"] == "mauve, I should say"
        assert "no complete JSON object" in second["messages"][3]["content"]
        assert "'mauve' is no colour; known: blue, red." in third["messages"][-1]["content"]
        assert third["messages"][:2] == first["messages"]


def test_answer_that_was_cut_off_is_asked_for_again(config: Callable[..., LlmConfig]) -> None:
    with chat_server(say('{"colour": "re', finish="length"), say(RED)) as stub:
        assert Client(config(stub)).ask(QUESTION, colour) == "red"
        assert "cut off" in stub.last_user_message()


def test_model_that_never_gets_it_right(config: Callable[..., LlmConfig]) -> None:
    with chat_server(say({"colour": "mauve"})) as stub:
        with pytest.raises(Refusal, match=r"no acceptable answer in 3 tries: 'mauve' is no colour") as caught:
            Client(config(stub)).ask(QUESTION, colour)
        assert caught.value.reason == "out_of_schema"
        assert len(stub.requests) == 3


def test_server_that_knows_no_schemas(config: Callable[..., LlmConfig]) -> None:
    unknown = send(400, '{"error": {"message": "response_format is not supported"}}')
    with chat_server(unknown, say(RED)) as stub:
        client = Client(config(stub, retries=0))
        assert client.ask(QUESTION, colour) == "red"
        client.ask(replace(QUESTION, user="And the bowl?"), colour)
        assert ["response_format" in request for request in stub.requests] == [True, False, False]


BROKEN = {
    "late": late(60.0),
    "slow body": drip(60.0, head=False),
    "slow headers": drip(60.0, head=True),
    "half sent": cut_off,
    "not HTTP": garbage,
    "too long": send(200, completion("x" * 300_000)),
    "HTML": send(200, "<html><body>Welcome to the gateway</body></html>", "text/html"),
    "bad gateway": send(502, "<html>nginx</html>", "text/html"),
    "too many": send(429, '{"error": {"message": "slow down"}}', retry_after="0"),
    "wrong bytes": send(200, b"\x80\x81\x82", "application/octet-stream"),
    "empty": send(200, ""),
    "no choices": send(200, '{"choices": []}'),
    "choices of another kind": send(200, '{"choices": [["red"]]}'),
    "bare number": send(200, "7"),
    "deep": send(200, "[" * 100_000),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_reply_then_a_good_one(broken: str, config: Callable[..., LlmConfig]) -> None:
    began = time.monotonic()
    with chat_server(BROKEN[broken], say(RED)) as stub:
        settings = config(stub, deadline_s=0.8, retries=9)  # a busy machine may miss the deadline with the good one too
        assert Client(settings).ask(QUESTION, colour) == "red"
        lines = transcript(settings)
        assert lines[0]["error"]
        assert lines[-1]["answer"] == '{"colour": "red"}'
    assert time.monotonic() - began < 40  # the deadline held: nothing waited for the slow minute


@pytest.mark.parametrize("text", ['{"colour": "red"}', [{"type": "text", "text": '{"colour": "red"}'}]])
def test_odd_but_whole_replies(text: Any, config: Callable[..., LlmConfig]) -> None:
    reply = json.dumps({"choices": [{"message": {"content": text}}]})
    with chat_server(send(200, reply, "text/plain")) as stub:
        assert Client(config(stub)).ask(QUESTION, colour) == "red"


def test_500_for_ever(config: Callable[..., LlmConfig]) -> None:
    with chat_server(send(500, '{"error": {"message": "out of memory"}}')) as stub:
        settings = config(stub)
        with pytest.raises(Refusal, match="gave no answer: status 500: out of memory") as caught:
            Client(settings).ask(QUESTION, colour)
        assert caught.value.reason == "unanswered"
        assert len(stub.requests) == 1 + settings.retries
        assert spent(settings) == {"calls": 3, "tokens": 0}


@pytest.mark.parametrize(
    ("move", "says"),
    [
        (send(401, '{"error": {"message": "bad key"}}'), "does not accept the key"),
        (send(404, '{"error": {"message": "no model stub"}}'), "status 404: no model stub"),
        (send(307, "", location="http://127.0.0.1:1/elsewhere"), "redirects to 'http://127.0.0.1:1/elsewhere'"),
    ],
)
def test_what_will_not_get_better_is_not_repeated(move: Any, says: str, config: Callable[..., LlmConfig]) -> None:
    with chat_server(move) as stub:
        with pytest.raises(Refusal, match=says) as caught:
            Client(config(stub)).ask(QUESTION, colour)
        assert caught.value.reason == "unanswered"
        assert len(stub.requests) == 1


def test_nobody_there(tmp_path: Path) -> None:
    with chat_server(say(RED)) as stub:
        url = stub.url  # free again after this
    nobody = LlmConfig("stub", tmp_path, url, retries=1, backoff_s=0.01)
    with pytest.raises(Refusal, match="cannot reach it"):
        Client(nobody).ask(QUESTION, colour)
    assert len(transcript(nobody)) == 2


@pytest.mark.parametrize(
    "move", [say("", refusal="I cannot help\nwith that."), send(200, completion(None, finish="content_filter"))]
)
def test_refusal_of_the_model(move: Any, config: Callable[..., LlmConfig]) -> None:
    with chat_server(move) as stub:
        with pytest.raises(Refusal, match="llm:stub declined: ") as caught:
            Client(config(stub)).ask(QUESTION, colour)
        assert caught.value.reason == "unanswered"
        assert "\n" not in str(caught.value)
        assert len(stub.requests) == 1


def test_budget_of_calls_is_a_hard_stop_for_the_folder(config: Callable[..., LlmConfig]) -> None:
    with chat_server(send(500, ""), say(RED)) as stub:
        settings = config(stub, max_calls=2)
        Client(settings).ask(QUESTION, colour)
        with pytest.raises(Refusal, match="2 of 2 calls") as caught:
            Client(settings).ask(replace(QUESTION, user="And the bowl?"), colour)  # a new client, the same folder
        assert caught.value.reason == "unanswered"
        assert len(stub.requests) == 2


def test_budget_of_tokens_is_a_hard_stop(config: Callable[..., LlmConfig]) -> None:
    with chat_server(say({"colour": "mauve"}, tokens=2500)) as stub:
        with pytest.raises(Refusal, match="2500 of 4000 tokens"):
            Client(config(stub, max_tokens=4000)).ask(QUESTION, colour)
        assert len(stub.requests) == 1


def test_tokens_nobody_counted_are_taken_at_the_most_they_can_be(config: Callable[..., LlmConfig]) -> None:
    with chat_server(say(RED, tokens=None)) as stub:
        settings = config(stub)
        Client(settings).ask(QUESTION, colour)
        assert spent(settings)["tokens"] > settings.answer_tokens
        assert transcript(settings)[0]["counted"] is False


def test_unreadable_budget_stops(config: Callable[..., LlmConfig]) -> None:
    with chat_server(say(RED)) as stub:
        settings = config(stub)
        settings.folder.mkdir()
        (settings.folder / "spent.json").write_text('{"calls": ')
        with pytest.raises(HoneError, match="cannot read what was spent"):
            Client(settings).ask(QUESTION, colour)
        assert not stub.requests


def test_cached_answer_needs_no_server_and_no_key(
    config: Callable[..., LlmConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    with chat_server(say({"colour": "mauve"}), say(RED)) as stub:
        settings = config(stub)
        Client(settings).ask(QUESTION, colour)
    monkeypatch.delenv("HONE_LLM_KEY")
    assert Client(settings).ask(QUESTION, colour) == "red"
    assert len(stub.requests) == 2
    last = transcript(settings)[-1]
    assert (last["cached"], last["tokens"], last["answer"]) == (True, 0, '{"colour": "red"}')
    with pytest.raises(Refusal, match="cannot reach"):  # another model is another question
        Client(replace(settings, model="other", retries=0)).ask(QUESTION, colour)


@pytest.mark.parametrize(
    "damaged", [b"", b'{"text": "{', b"[]", b'{"text": 3}', b'{"text": "{\\"colour\\": 1}"}', b"\xff"]
)
def test_damaged_cache_entry_is_asked_anew(
    damaged: bytes, config: Callable[..., LlmConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with chat_server(say(RED)) as stub:
        client = Client(config(stub))
        client.ask(QUESTION, colour)
        (entry,) = (tmp_path / "cache" / "llm").glob("*.json")
        whole = entry.read_bytes()
        entry.write_bytes(damaged)
        assert client.ask(QUESTION, colour) == "red"
        assert len(stub.requests) == 2
        assert entry.read_bytes() == whole
        assert "damaged" in caplog.text


def test_processes_share_cache_budget_and_transcript(config: Callable[..., LlmConfig]) -> None:
    ask = (
        "import sys; from pathlib import Path; from hone.language.llm import Client, LlmConfig, Question\n"
        "client = Client(LlmConfig('stub', Path(sys.argv[1]), sys.argv[2]))\n"
        "for user in ('a', 'b', 'c'):\n"
        "    print(client.ask(Question('colour', 'System.', user, {'type': 'object'}), lambda data: data['colour']))\n"
    )

    def slowly(handler: Any) -> None:
        time.sleep(0.1)
        say(RED)(handler)

    with chat_server(slowly) as stub:
        settings = config(stub)
        command = [sys.executable, "-c", ask, str(settings.folder), stub.url]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) for _ in range(3)]
        assert [process.communicate()[0].split() for process in processes] == [[b"red"] * 3] * 3
        assert len(stub.requests) == 3  # each question once, whoever came first
        assert spent(settings) == {"calls": 3, "tokens": 300}
        lines = transcript(settings)
        assert sorted(line["cached"] for line in lines) == [False] * 3 + [True] * 6


def test_transcript_is_complete(config: Callable[..., LlmConfig]) -> None:
    with chat_server(send(503, "busy"), say("hm"), say(RED, tokens=42)) as stub:
        settings = config(stub)
        Client(settings).ask(QUESTION, colour)
        lines = transcript(settings)
        for line, request in zip(lines, stub.requests, strict=True):
            assert line["messages"] == request["messages"]
            assert (line["question"], line["model"], line["server"]) == ("colour", "stub", stub.url)
            assert line["latency_s"] >= 0
            assert line["time"]
        assert [line["attempt"] for line in lines] == [1, 1, 2]
        assert [line["tokens"] for line in lines] == [0, 100, 42]
        assert [line.get("answer") for line in lines] == [None, "hm", '{"colour": "red"}']
        assert lines[0]["error"] == "status 503: busy"
        assert (settings.folder / "transcript.jsonl").stat().st_mode & 0o077 == 0


ECHOES = {
    "error": send(400, json.dumps({"error": {"message": f"bad key {KEY}"}})),
    "page": send(500, f"<html>{KEY}</html>", "text/html"),
    "redirect": send(302, "", location=f"http://127.0.0.1/?key={KEY}"),
    "answer": say({"colour": KEY}),
    "refusal": say("", refusal=f"your key is {KEY}"),
    "garbage": send(200, KEY),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_key_is_nowhere(
    echo: str, config: Callable[..., LlmConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    caplog.set_level("DEBUG", "hone")
    with chat_server(ECHOES[echo]) as stub:
        with pytest.raises(Refusal) as caught:
            Client(config(stub, retries=1)).ask(QUESTION, colour)
        assert stub.keys[0] == f"Bearer {KEY}"
    assert KEY not in str(caught.value)
    assert KEY not in caught.getrepr(chain=True).reprcrash.message  # type: ignore[union-attr]
    assert KEY not in caplog.text
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY not in path.read_text()


def test_unprintable_key_is_refused_without_showing_it(
    config: Callable[..., LlmConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_LLM_KEY", "sk-secret\nsecond line")
    with chat_server(say(RED)) as stub, pytest.raises(HoneError, match=r"\$HONE_LLM_KEY holds what no key") as caught:
        Client(config(stub)).ask(QUESTION, colour)
    assert "secret" not in str(caught.value)


def test_half_characters_do_no_harm(config: Callable[..., LlmConfig]) -> None:
    with chat_server(say('{"colour": "\ud800"}'), say(RED)) as stub:
        assert Client(config(stub)).ask(replace(QUESTION, user="Which \udcff?"), colour) == "red"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_url": "localhost:8000"}, "is no address"),
        ({"base_url": "https://user:pass@host/v1"}, "may hold no key"),
        ({"model": ""}, "model is empty"),
        ({"tries": 0}, "tries must be positive"),
        ({"deadline_s": float("nan")}, "deadline_s must be positive"),
        ({"retries": -1}, "must not be negative"),
    ],
)
def test_bad_settings(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(HoneError, match=says) as caught:
        replace(LlmConfig("stub", tmp_path), **changes)
    assert "pass@" not in str(caught.value)


def test_without_httpx(config: Callable[..., LlmConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with chat_server(say(RED)) as stub, pytest.raises(HoneError, match=r"pip install 'hone-vla\[llm\]'"):
        Client(config(stub)).ask(QUESTION, colour)
