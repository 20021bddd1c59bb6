"""An engine's HTTP interface.

Owns the spelling of SGLang's routes, bodies and event streams, and turns every failure
into an `EngineError`. Refuses to label or to decide: priority and custom_params come in
ready-made. Invariants: every call has a deadline; leaving a stream early closes its
connection, which aborts the request in the engine.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from nodeagent.engine.errors import EngineRefusedError, EngineUnavailableError

_CONTROL_TIMEOUT_S = 5.0
_STREAM_SILENCE_S = 300.0
"""A stream without a byte this long is dead; a queued request may wait nearly as long."""
_LONGEST_LINE_BYTES = 4 * 1024 * 1024
_DATA = b"data: "
_DONE = b"[DONE]"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFinish:
    """How the engine ended a request."""

    reason: str  # stop | length | abort
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChunk:
    """What one event of a stream adds."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    token_count: int = 0
    finish: EngineFinish | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAnswer:
    """A whole HTTP answer, of any status."""

    status: int
    body: bytes


class EngineClient:
    """Talks to one engine at `base_url`, e.g. "http://127.0.0.1:20123"."""

    def __init__(self, base_url: str) -> None:
        self._http = aiohttp.ClientSession(
            base_url,
            connector=aiohttp.TCPConnector(limit=0),
            read_bufsize=_LONGEST_LINE_BYTES // 2,
        )

    async def close(self) -> None:
        """Closes every connection; running streams end with EngineUnavailableError."""
        await self._http.close()

    async def is_healthy(self, *, timeout_s: float = 10.0) -> bool:
        """Whether the engine serves. It runs one token when idle."""
        try:
            async with self._http.get("/health", timeout=_total(timeout_s)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def version(self) -> str:
        """SGLang's version."""
        return str((await self.server_info()).get("version", ""))

    async def server_info(self) -> dict[str, Any]:
        """Configuration and live scheduler state, with the plugin's own."""
        async with self._answering("GET", "/server_info", timeout=_total(_CONTROL_TIMEOUT_S)) as a:
            info = await a.json()
        if not isinstance(info, dict):
            raise EngineUnavailableError("engine answered /server_info without an object")
        return info

    async def set_internal_state(self, values: Mapping[str, float | int]) -> None:
        """Changes live settings; all keys or none."""
        body = {"server_args": dict(values)}
        timeout = _total(_CONTROL_TIMEOUT_S)
        async with self._answering("POST", "/set_internal_state", body, timeout=timeout) as answer:
            results = await answer.json()
        if not (isinstance(results, list) and all(results)):
            raise EngineRefusedError(
                status=400, message="settings were not applied by every rank, see the engine's log"
            )

    async def abort(self, rid: str) -> None:
        """Aborts the request; `rid` is a prefix to SGLang, hence of fixed length."""
        timeout = _total(_CONTROL_TIMEOUT_S)
        async with self._answering("POST", "/abort_request", {"rid": rid}, timeout=timeout):
            return

    async def generate(self, body: Mapping[str, Any]) -> AsyncGenerator[EngineChunk, None]:
        """Streams `/generate`; `body` is SGLang's, without `stream`."""
        async with aclosing(self._events("/generate", {**body, "stream": True})) as events:
            async for event in events:
                yield _generate_chunk(event)

    async def chat(self, body: Mapping[str, Any]) -> AsyncGenerator[EngineChunk, None]:
        """Streams `/v1/chat/completions`; `body` is OpenAI's with SGLang's additions.

        Chunks of it carry no token ids. Chunks without text or count are left out.
        """
        options = {"include_usage": True, "continuous_usage_stats": True}
        stream = self._events(
            "/v1/chat/completions", {**body, "stream": True, "stream_options": options}
        )
        seen_tokens, cached_tokens, reason = 0, 0, ""
        usage: Mapping[str, Any] = {}
        async with aclosing(stream) as events:
            async for event in events:
                usage = event.get("usage") or usage
                details = usage.get("prompt_tokens_details") or {}
                cached_tokens = details.get("cached_tokens") or cached_tokens
                tokens = usage.get("completion_tokens", seen_tokens)
                text = ""
                for choice in event.get("choices") or ():
                    text += (choice.get("delta") or {}).get("content") or ""
                    reason = choice.get("finish_reason") or reason
                if text or tokens > seen_tokens:
                    yield EngineChunk(text=text, token_count=max(0, tokens - seen_tokens))
                    seen_tokens = max(seen_tokens, tokens)
        if not reason:
            raise EngineUnavailableError("engine ended a chat stream without a finish reason")
        yield EngineChunk(
            finish=EngineFinish(
                reason=reason,
                prompt_tokens=usage.get("prompt_tokens", 0),
                cached_tokens=cached_tokens,
                output_tokens=seen_tokens,
            )
        )

    async def post_item(
        self, url: str, body: Mapping[str, Any], *, timeout_s: float
    ) -> EngineAnswer:
        """Posts an offline item's body to its route and waits for the whole answer.

        Raises:
            EngineUnavailableError: no whole answer within the timeout.
        """
        try:
            async with self._http.post(url, json=dict(body), timeout=_total(timeout_s)) as answer:
                return EngineAnswer(status=answer.status, body=await answer.read())
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineUnavailableError(f"{url}: {_sentence(error)}") from error

    async def _events(
        self, url: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON objects of a server-sent event stream, to its end."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_STREAM_SILENCE_S)
        is_done = False
        async with self._answering("POST", url, body, timeout=timeout) as answer:
            try:
                async for line in answer.content:
                    if not line.startswith(_DATA):
                        continue
                    data = line[len(_DATA) :].strip()
                    if data == _DONE:
                        is_done = True
                        break
                    event = json.loads(data)
                    if error := event.get("error"):
                        raise _stream_error(error)
                    yield event
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                raise EngineUnavailableError(f"{url}: {_sentence(error)}") from error
        if not is_done:
            raise EngineUnavailableError(f"{url}: the stream broke off")

    @asynccontextmanager
    async def _answering(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of status 200; anything else raises."""
        try:
            request = self._http.request(method, url, json=body, timeout=timeout)
            async with request as answer:
                if answer.status != 200:
                    raise _refused(answer.status, await answer.read())
                yield answer
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # ValueError: a body that is not the JSON it should be.
            raise EngineUnavailableError(f"{url}: {_sentence(error)}") from error


def _total(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _refused(status: int, body: bytes) -> EngineRefusedError:
    """Reads OpenAI's and SGLang's error objects; falls back to the first bytes."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if isinstance(content, dict):
        error = content.get("error", content)
        message = error.get("message") if isinstance(error, dict) else error
        if message:
            return EngineRefusedError(status=status, message=str(message))
    return EngineRefusedError(status=status, message=body[:200].decode(errors="replace"))


def _stream_error(error: object) -> EngineRefusedError:
    if isinstance(error, dict):
        code = error.get("code", 500)
        return EngineRefusedError(
            status=code if isinstance(code, int) else 500, message=str(error.get("message", ""))
        )
    return EngineRefusedError(status=500, message=str(error))


def _generate_chunk(event: Mapping[str, Any]) -> EngineChunk:
    token_ids = tuple(event.get("output_ids") or ())
    meta = event.get("meta_info") or {}
    finish_reason = meta.get("finish_reason")
    finish: EngineFinish | None = None
    if finish_reason:
        reason = str(finish_reason.get("type", "stop"))
        status = finish_reason.get("status_code")
        if reason == "abort" and status:
            raise EngineRefusedError(status=int(status), message=str(finish_reason.get("message")))
        finish = EngineFinish(
            reason=reason,
            prompt_tokens=int(meta.get("prompt_tokens", 0)),
            cached_tokens=int(meta.get("cached_tokens", 0)),
            output_tokens=int(meta.get("completion_tokens", 0)),
        )
    return EngineChunk(
        text=event.get("text") or "",
        token_ids=token_ids,
        token_count=len(token_ids),
        finish=finish,
    )
