"""One exchange with a server that speaks OpenAI's chat protocol: one request out, one `Completion` back, or `Unusable`.

vLLM, llama.cpp, Ollama and OpenAI itself answer `POST <base>/chat/completions`. Nothing that comes back is trusted: its
size and the time it may take are bounded as a whole, redirects are not followed (a key goes to the address that was
named and nowhere else), and the key is struck out of every text that leaves this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hone.errors import HoneError
from hone.language.plan import Refusal

EXCERPT_CHARACTERS = 300
MOST_BRACES = 200
SHORTEST_SECRET = 8  # shorter keys are the placeholders that local servers are given ("none", "EMPTY")


class Unusable(Exception):
    """No completion. `again`: the same request may do better later, not before `wait_s` seconds.

    `rejected`: the server did not take the request; it may be the schema that it cannot read.
    `costless`: the server said that it did not work on it, so no tokens were used.
    """

    def __init__(
        self, message: str, *, again: bool, wait_s: float = 0.0, rejected: bool = False, costless: bool = False
    ) -> None:
        super().__init__(message)
        self.again, self.wait_s, self.rejected, self.costless = again, wait_s, rejected, costless


@dataclass(frozen=True)
class Completion:
    """What the model wrote. `refusal`: its own words, or the filter's, where it would not answer.

    `finish` is the server's finish reason ("length": cut off); `tokens` its count of prompt and answer, if it gave one.
    """

    text: str
    refusal: str | None
    finish: str
    tokens: int | None


@dataclass(frozen=True)
class Endpoint:
    """Where requests go. `deadline_s` is for a whole exchange, from looking up the name to the last byte."""

    url: str
    key: str
    deadline_s: float
    max_bytes: int

    def clean(self, text: str) -> str:
        """`text` without the key, and without the half characters that cannot be written as UTF-8."""
        text = text.encode("utf-8", "replace").decode()
        return text.replace(self.key, "[key]") if len(self.key) >= SHORTEST_SECRET else text


@dataclass(frozen=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


def request_body(
    model: str,
    messages: Sequence[Mapping[str, str]],
    *,
    answer_tokens: int,
    token_field: str,
    temperature: float | None,
    schema: Mapping[str, Any] | None,
    name: str,
) -> bytes:
    """The request as JSON in ASCII. Without `schema` the server is not asked to constrain what the model writes."""
    body: dict[str, Any] = {"model": model, "messages": list(messages), token_field: answer_tokens}
    if temperature is not None:
        body["temperature"] = temperature
    if schema is not None:
        constraint = {"name": name, "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": constraint}
    return json.dumps(body).encode()


def exchange(endpoint: Endpoint, body: bytes) -> Completion:
    """Send one request. `Unusable` where nothing useful came back, whatever did."""
    reply = _post(endpoint, body)
    if reply.status == 200:
        return _completion(endpoint, reply.body)
    excerpt = _excerpt(endpoint, reply.body)
    if 300 <= reply.status < 400:
        elsewhere = endpoint.clean(reply.headers.get("location", "nowhere"))[:EXCERPT_CHARACTERS]
        raise Unusable(
            f"it redirects to '{elsewhere}'; set base_url to the address that answers.", again=False, costless=True
        )
    if reply.status in (401, 403):
        raise Unusable(f"it does not accept the key ({reply.status}): {excerpt}", again=False, costless=True)
    raise Unusable(
        f"status {reply.status}: {excerpt}",
        again=reply.status in (408, 425, 429) or reply.status >= 500,
        wait_s=_retry_after_s(reply.headers),
        rejected=reply.status in (400, 422, 501),
        costless=True,
    )


def _post(endpoint: Endpoint, body: bytes) -> _Reply:
    """The raw reply. An event loop of its own, in a thread, so that the deadline holds for slow drips as well.

    The body is taken as it was sent: no compression is asked for and none undone, so its size is what arrived.
    """
    try:
        import httpx
        from anyio import fail_after
        from anyio.from_thread import start_blocking_portal
    except ImportError as error:
        raise HoneError("asking a language model needs httpx: pip install 'hone-vla[llm]'.") from error
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if endpoint.key:
        headers["authorization"] = f"Bearer {endpoint.key}"

    async def within_the_deadline() -> _Reply:
        with fail_after(endpoint.deadline_s):
            async with (
                httpx.AsyncClient(timeout=endpoint.deadline_s, follow_redirects=False) as client,
                client.stream("POST", endpoint.url, content=body, headers=headers) as response,
            ):
                received = bytearray()
                async for chunk in response.aiter_raw():
                    received += chunk
                    if len(received) > endpoint.max_bytes:
                        raise Unusable(f"its answer is longer than {endpoint.max_bytes} bytes.", again=True)
                return _Reply(response.status_code, dict(response.headers), bytes(received))

    try:
        with start_blocking_portal() as portal:
            return portal.call(within_the_deadline)
    except (TimeoutError, httpx.TimeoutException):
        raise Unusable(f"no whole answer within {endpoint.deadline_s:g} s.", again=True) from None
    except httpx.ConnectError as error:
        raise Unusable(f"cannot reach it: {_said(endpoint, error)}", again=True, costless=True) from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Unusable(f"its answer broke off: {_said(endpoint, error)}", again=True) from None


def _completion(endpoint: Endpoint, body: bytes) -> Completion:
    try:
        data = json.loads(body)
        choice = data["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        finish = str(choice.get("finish_reason"))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise Unusable(f"not a chat completion: {_excerpt(endpoint, body)}", again=True) from None
    if isinstance(content, list):  # some servers answer in parts
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    text = endpoint.clean(content) if isinstance(content, str) else ""
    said_no = endpoint.clean(refusal) if isinstance(refusal, str) and refusal else None
    if said_no is None and finish == "content_filter":
        said_no = "the server's content filter stopped the answer."
    return Completion(text, said_no, endpoint.clean(finish)[:40], _tokens(data.get("usage")))


def _tokens(usage: Any) -> int | None:
    """Tokens of prompt and answer, where the server counted them sensibly."""
    if not isinstance(usage, dict):
        return None
    total = usage.get("total_tokens")
    return total if isinstance(total, int) and 0 < total < 10**9 else None


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """How long the server asks to wait; dates and nonsense count as not asked."""
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0.0


def _excerpt(endpoint: Endpoint, body: bytes) -> str:
    """One line of what came back, its error message where it has one."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError, LookupError, TypeError):
        text = str(json.loads(text)["error"]["message"])
    return " ".join(endpoint.clean(text).split())[:EXCERPT_CHARACTERS] or "an empty answer"


def _said(endpoint: Endpoint, error: Exception) -> str:
    return endpoint.clean(str(error) or type(error).__name__)[:EXCERPT_CHARACTERS]


def json_in(text: str) -> Any:
    """The JSON object in what a model wrote: all of it, or the last object between prose, code fences or thoughts.

    Looks at the first `MOST_BRACES` braces at most. `Refusal` "out_of_schema" where there is none.
    """
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    text = text.rpartition("</think>")[2].strip()
    found, start = None, text.find("{")
    for _ in range(MOST_BRACES):
        if start < 0:
            break
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)
    if found is None:
        raise Refusal("out_of_schema", "the answer holds no complete JSON object.")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
