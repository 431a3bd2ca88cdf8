"""Structured questions to any server that speaks OpenAI's chat protocol (vLLM, llama.cpp, Ollama, OpenAI).

`Client.ask` sends a `Question`, hands the JSON that comes back to the asker's own check, tells the model what is wrong
with it and asks again, a bounded number of times. A question that was answered well is never asked again: answers are
kept in the cache. What cannot be answered ends as a `Refusal`. Needs the extra `llm` (httpx).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from hone.cache import cache_dir, write_atomically
from hone.errors import HoneError
from hone.language.llm_exchange import Completion, Endpoint, Unusable, exchange, json_in, request_body
from hone.language.llm_record import Record, alone
from hone.language.plan import Refusal

T = TypeVar("T")
LONGEST_WAIT_S = 30.0
BYTES_PER_TOKEN = 2  # cautious, also for tables of numbers; used before a call, and where a server does not count
FED_BACK_CHARACTERS = 4000
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LlmConfig:
    """Which model is asked, where, and how much it may cost. The key is read from the environment, never kept."""

    model: str
    """Name by which the server knows the model."""
    folder: Path
    """Where the transcript and what was spent are kept. The budget holds for this folder."""
    base_url: str = "http://localhost:8000/v1"
    """Address up to and without `/chat/completions`."""
    key_variable: str = "HONE_LLM_KEY"
    """Environment variable that holds the key; where it is not set, none is sent."""
    deadline_s: float = 60.0
    """Seconds that one request may take in all."""
    retries: int = 4
    """How often a request is repeated after a time-out, a broken answer, or status 429 or 5xx."""
    backoff_s: float = 1.0
    """Seconds before the first repetition; doubled for each further one, 30 at most."""
    tries: int = 3
    """How often the model may answer one question before it is given up."""
    max_calls: int = 200
    """Requests in all, repetitions included."""
    max_tokens: int = 500_000
    """Tokens in all, prompts included. A request is only sent if the most it can cost still fits."""
    answer_tokens: int = 2000
    """Tokens one answer may have."""
    answer_bytes: int = 262_144
    """Bytes one reply of the server may have."""
    token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the limit on an answer; OpenAI's reasoning models know the second name only."""
    temperature: float | None = 0.0
    """None leaves it to the server; some models accept nothing else."""

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise HoneError(f"base_url '{self.base_url}' is no address; expected e.g. http://localhost:8000/v1.")
        if "@" in url.netloc or url.query or url.fragment:
            raise HoneError(f"base_url may hold no key, query or fragment; put the key into ${self.key_variable}.")
        if not self.model:
            raise HoneError("model is empty; name one that the server offers (GET <base_url>/models lists them).")
        for name in ("deadline_s", "tries", "max_calls", "max_tokens", "answer_tokens", "answer_bytes"):
            if not getattr(self, name) > 0:
                raise HoneError(f"{name} must be positive, not {getattr(self, name)}.")
        if self.retries < 0 or self.backoff_s < 0:
            raise HoneError(f"retries ({self.retries}) and backoff_s ({self.backoff_s}) must not be negative.")

    @property
    def source(self) -> str:
        """How results say that this model made them."""
        return f"llm:{self.model}"


@dataclass(frozen=True)
class Question:
    """What is asked. `schema` is the JSON schema of the answer, an object; `name` (letters and _) is its title."""

    name: str
    system: str
    user: str
    schema: Mapping[str, Any]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The schema is also said in words: a server that constrains the answer need not show it to the model."""
        wanted = f"Answer with one JSON object that fits this schema, and nothing else:\n{json.dumps(self.schema)}"
        return [{"role": "system", "content": f"{self.system}\n\n{wanted}"}, {"role": "user", "content": self.user}]


class Client:
    """Asks one model. Holds no connection and no lock between questions, so any number of processes may have one."""

    def __init__(self, config: LlmConfig) -> None:
        self.config = config
        self._record = Record(config.folder, config.max_calls, config.max_tokens)
        self._plain = False  # the server was found not to take schemas
        self.calls = 0
        """Requests sent by this client, repetitions included; answers from the cache cost none."""

    def ask(self, question: Question, accept: Callable[[Any], T]) -> T:
        """The answer, as `accept` returns it.

        `accept` raises `HoneError` for an answer that will not do; the model is told why and may answer again. One
        process at a time asks the same question, the others find its answer in the cache.

        Raises `Refusal`: "unanswered" when the server gave no answer, the model declined, or the budget is spent; the
        reason of the last check ("out_of_schema" where it had none) when no answer was acceptable.
        """
        path = cache_dir() / "llm" / f"{self._content_key(question)}.json"
        with alone(path.with_suffix(".lock")):
            if (kept := self._recall(path, accept)) is not None:
                text, answer = kept
                self._log(question.messages, question.name, answer=text, cached=True, tokens=0)
                return answer
            return self._ask(question, accept, path)

    def _ask(self, question: Question, accept: Callable[[Any], T], path: Path) -> T:
        messages = question.messages
        problem = Refusal("out_of_schema", "")
        for attempt in range(1, self.config.tries + 1):
            completion = self._complete(question, messages, attempt)
            if completion.refusal is not None:
                raise Refusal("unanswered", f"{self.config.source} declined: {_line(completion.refusal)}")
            try:
                answer = accept(json_in(completion.text))
            except HoneError as error:
                problem = error if isinstance(error, Refusal) else Refusal("out_of_schema", str(error))
            else:
                write_atomically(path, json.dumps({"text": completion.text}).encode())
                return answer
            cut = " It was cut off for its length: be shorter." if completion.finish == "length" else ""
            messages = [
                *question.messages,
                {"role": "assistant", "content": completion.text[:FED_BACK_CHARACTERS]},
                {"role": "user", "content": f"That will not do: {problem}{cut} Answer again, the whole JSON object."},
            ]
        raise Refusal(
            problem.reason, f"{self.config.source} gave no acceptable answer in {self.config.tries} tries: {problem}"
        )

    def _complete(self, question: Question, messages: list[dict[str, str]], attempt: int) -> Completion:
        """One completion, through time-outs, overload and a server that does not know schemas."""
        config, endpoint = self.config, self._endpoint()
        schema = None if self._plain else question.schema
        wait_s, failures = config.backoff_s, 0
        while True:
            body = request_body(
                config.model,
                messages,
                answer_tokens=config.answer_tokens,
                token_field=config.token_field,
                temperature=config.temperature,
                schema=schema,
                name=question.name,
            )
            most = len(body) // BYTES_PER_TOKEN + config.answer_tokens
            self._record.reserve(most)
            self.calls += 1
            began = time.monotonic()
            told: dict[str, Any] = {"attempt": attempt, "failures": failures, "constrained": schema is not None}
            try:
                completion = exchange(endpoint, body)
            except Unusable as error:
                cost = 0 if error.costless else most
                self._record.settle(most, cost)
                told |= {"tokens": cost, "latency_s": time.monotonic() - began, "error": str(error)}
                self._log(messages, question.name, **told)
                if error.rejected and schema is not None:
                    schema = None
                    continue
                failures += 1
                if not error.again or failures > config.retries:
                    raise Refusal("unanswered", f"{config.base_url} gave no answer: {error}") from None
                time.sleep(min(max(wait_s, error.wait_s), LONGEST_WAIT_S))
                wait_s *= 2
            else:
                cost = most if completion.tokens is None else completion.tokens
                self._record.settle(most, cost)
                told |= {"tokens": cost, "counted": completion.tokens is not None, "finish": completion.finish}
                told |= {"latency_s": time.monotonic() - began, "refusal": completion.refusal}
                self._log(messages, question.name, answer=completion.text, **told)
                self._plain = schema is None
                return completion

    def _endpoint(self) -> Endpoint:
        config = self.config
        key = os.environ.get(config.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise HoneError(f"${config.key_variable} holds what no key does: a space, or a character outside ASCII.")
        return Endpoint(f"{config.base_url.rstrip('/')}/chat/completions", key, config.deadline_s, config.answer_bytes)

    def _content_key(self, question: Question) -> str:
        config = self.config
        asked = [config.base_url, config.model, config.temperature, config.answer_tokens, question.messages]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def _recall(self, path: Path, accept: Callable[[Any], T]) -> tuple[str, T] | None:
        """The cached answer, checked like a fresh one; None where there is none or it is damaged."""
        try:
            text = json.loads(path.read_bytes())["text"]
            return text, accept(json_in(text))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, HoneError) as error:
            log.warning("ignoring the damaged cached answer '%s': %s", path, error)
            return None

    def _log(self, messages: list[dict[str, str]], name: str, **told: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        config = self.config
        head = {"time": now, "question": name, "model": config.model, "server": config.base_url}
        self._record.write({**head, "messages": messages, "cached": False, **told})


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
