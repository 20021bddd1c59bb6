"""One engine asked concurrently over HTTP: phases sent, requests aborted, answers kept."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from soak.workload import Abort, Phase, SoakRequest

ANSWER_S = 600.0  # a request that takes longer is stuck


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Output ids of a request, as far as they came."""

    ids: tuple[int, ...]
    was_aborted: bool = False
    error: str = ""


class EngineClient:
    """Asks one engine."""

    def __init__(self, session: aiohttp.ClientSession, *, port: int) -> None:
        self._session = session
        self._root = f"http://127.0.0.1:{port}"
        self.in_flight = 0

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST; the parsed answer.

        Raises:
            aiohttp.ClientResponseError: The engine refused.
        """
        async with self._session.post(self._root + path, json=body) as answer:
            answer.raise_for_status()
            text = await answer.text()
            is_json = answer.content_type == "application/json"
        return json.loads(text) if is_json else text

    async def run(self, phases: Sequence[Phase], *, with_aborts: bool) -> dict[str, Answer]:
        """Sends all phases. Returns the answers by rid."""
        answers: dict[str, Answer] = {}
        tasks: set[asyncio.Task[None]] = set()

        async def send(request: SoakRequest) -> None:
            try:
                answers[request.rid] = await self._ask(request, with_aborts=with_aborts)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                answers[request.rid] = Answer(ids=(), error=f"{type(error).__name__}: {error}")

        for phase in phases:
            for request in phase.requests:
                while len(tasks) >= phase.at_once:
                    _, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                tasks.add(asyncio.create_task(send(request)))
                self.in_flight = len(tasks)
            if phase.drains and tasks:
                await asyncio.wait(tasks)
                tasks = set()
        if tasks:
            await asyncio.wait(tasks)
        self.in_flight = 0
        return answers

    async def _ask(self, request: SoakRequest, *, with_aborts: bool) -> Answer:
        abort = request.abort if with_aborts else Abort.NONE
        match abort:
            case Abort.NONE:
                return await self._ask_whole(request)
            case Abort.ASKED:
                asked = asyncio.create_task(self._ask_whole(request))
                await asyncio.wait((asked,), timeout=request.abort_after_s)
                if asked.done():
                    return asked.result()
                await self._abort(request.rid)
                return await asked
            case Abort.DISCONNECTED:
                return await self._ask_until(request, tokens=request.abort_after_tokens)

    async def _abort(self, rid: str) -> None:
        async with self._session.post(f"{self._root}/abort_request", json={"rid": rid}) as answer:
            await answer.read()

    async def _ask_whole(self, request: SoakRequest) -> Answer:
        async with self._session.post(
            f"{self._root}/generate", json=request.body(streams=False)
        ) as answer:
            value = await answer.json(content_type=None)
            if answer.status != 200:
                text = json.dumps(value)
                return Answer(ids=(), was_aborted="abort" in text.lower(), error=text[:300])
        finish = value["meta_info"]["finish_reason"] or {}
        return Answer(ids=tuple(value["output_ids"]), was_aborted=finish.get("type") == "abort")

    async def _ask_until(self, request: SoakRequest, *, tokens: int) -> Answer:
        """Streams so many tokens, then closes the connection."""
        ids: list[int] = []
        async with self._session.post(
            f"{self._root}/generate", json=request.body(streams=True)
        ) as answer:
            answer.raise_for_status()
            if tokens > 0:
                async for line in answer.content:
                    text = line.decode().removeprefix("data:").strip()
                    if text and text != "[DONE]":
                        ids += json.loads(text)["output_ids"]  # what is new
                    if len(ids) >= tokens:
                        break
            answer.close()
        return Answer(ids=tuple(ids), was_aborted=True)
