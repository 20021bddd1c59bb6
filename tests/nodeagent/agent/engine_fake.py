"""A stand-in for SGLang: the routes, bodies and event streams the agent relies on.

`make_app` serves in-process. As a program it accepts SGLang's command line and listens at
its --port, so that a supervisor can start it in SGLang's place. Prompts steer it: "refuse"
is answered like a prompt that is too long, "die" ends the process amid a stream, "fail"
is an internal error, "wait" never ends, "slow" takes 50 ms a token. From then on, "fault"
makes its plugin report one, "busy" has many iterations run between two polls, "twice" has
them last twice as long as before, and "once" as long as at first. `GET /fake` tells what
it saw.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from nodeagent.plugin_contract import (
    DISABLE_VARIABLE,
    MeasuredIteration,
    PluginState,
    decode_update,
)
from planner.batching.state import Budgets
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel, default_model

TOO_LONG = "The input (9000 tokens) is longer than the model's context length (64 tokens)."


@dataclass
class Seen:
    """What the fake engine was asked."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    updates: list[dict[str, float]] = field(default_factory=list)
    running: set[str] = field(default_factory=set)


SEEN = web.AppKey("seen", Seen)


class FakeEngine:
    """State and routes of one fake engine."""

    def __init__(
        self, *, token_s: float = 0.002, item_s: float = 0.01, has_plugin: bool = True
    ) -> None:
        self.token_s = token_s
        self.item_s = item_s
        self.seen = Seen()
        self.has_plugin = has_plugin
        self.is_silent = False
        self._budgets = Budgets()
        self._fingerprint = 0
        self._sequence = 0
        self._fault = ""
        self._model = default_model("cpu")
        self.iterations = 1
        """Between two polls."""
        self.slowdown = 1.0
        """Of every iteration."""

    def make_app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app[SEEN] = self.seen
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/server_info", self._server_info),
                web.get("/fake", self._fake),
                web.post("/generate", self._generate),
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._item),
                web.post("/abort_request", self._abort),
                web.post("/set_internal_state", self._set_internal_state),
            ]
        )
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(status=200)

    async def _fake(self, _request: web.Request) -> web.Response:
        seen = self.seen
        return web.json_response(
            {
                "bodies": seen.bodies,
                "items": seen.items,
                "aborted": seen.aborted,
                "updates": seen.updates,
                "running": sorted(seen.running),
            }
        )

    async def _server_info(self, _request: web.Request) -> web.Response:
        if self.is_silent:
            await asyncio.sleep(3600)
        state = PluginState(
            budgets=self._budgets,
            fingerprint=self._fingerprint,
            fault=self._fault,
            kv_free_tokens=750,
            kv_total_tokens=1000,
            samples=tuple(self._measured() for _ in range(self.iterations)),
        )
        internal = {"slacktide": state.to_values()} if self.has_plugin else {}
        return web.json_response({"version": "0.5.23", "internal_states": [internal]})

    def _measured(self) -> MeasuredIteration:
        """The next iteration, as the model in force predicts it."""
        self._sequence += 1
        number = self._sequence
        rows, context = 1 + number % 8, 64 * (1 + number % 5)
        shape = BatchShape(
            decode_rows=rows,
            decode_context_tokens=rows * context,
            decode_max_context_tokens=context,
        )
        noise = 1.0 + 0.01 * (number * 7919 % 11 - 5)
        return MeasuredIteration(
            sequence=number,
            shape=shape,
            measured_ms=self.slowdown * noise * (5.0 + rows + 0.01 * context),
            predicted_ms=self._model.predict_ms(shape),
            bound_ms=self._model.bound_ms(shape),
            budget_ms=0.0,
        )

    async def _set_internal_state(self, request: web.Request) -> web.Response:
        values = (await request.json())["server_args"]
        self.seen.updates.append(values)
        update = decode_update(values)
        if update and update.budgets:
            self._budgets = Budgets(**{**_fields(self._budgets), **update.budgets})  # type: ignore[arg-type]
        if update and update.fingerprint is not None:
            self._fingerprint = update.fingerprint
            self._model = LatencyModel.from_values(update.coefficients or {}, identity="sent")
        return web.json_response([True])

    async def _abort(self, request: web.Request) -> web.Response:
        prefix = (await request.json())["rid"]
        self.seen.aborted.append(prefix)
        for rid in [rid for rid in self.seen.running if rid.startswith(prefix)]:
            self.seen.running.discard(rid)
        return web.Response(status=200)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.bodies.append(body)
        prompt = body.get("text", "")
        response = await _start_stream(request)
        if prompt == "refuse":
            error = {"message": TOO_LONG, "type": "invalid_request_error", "code": 400}
            await _send(response, {"error": error})
            return await _end_stream(response)
        count = body["sampling_params"]["max_new_tokens"]
        rid = body["rid"]
        self.seen.running.add(rid)
        for number in range(1, count + 1):
            await asyncio.sleep(0.05 if prompt == "slow" else self.token_s)
            self._obey(prompt)
            if prompt == "wait":
                await asyncio.sleep(3600)
            if prompt == "die" and number == 2:
                if "--die-for-real" in sys.argv or __name__ == "__main__":
                    os._exit(3)
                assert request.transport is not None
                request.transport.close()
                return response
            is_last = number == count
            meta = {
                "id": rid,
                "finish_reason": {"type": "length", "length": count} if is_last else None,
                "prompt_tokens": len(body.get("input_ids") or prompt),
                "cached_tokens": 1,
                "completion_tokens": number,
            }
            event = {"text": f"t{number} ", "output_ids": [number], "meta_info": meta}
            await _send(response, event)
        self.seen.running.discard(rid)
        return await _end_stream(response)

    def _obey(self, prompt: str) -> None:
        match prompt:
            case "fault":
                self._fault = "ValueError: forced"
            case "busy":
                self.iterations = 200
            case "twice":
                self.slowdown = 2.0
            case "once":
                self.slowdown = 1.0

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not body.get("stream"):
            return await self._answer_item(body)
        self.seen.bodies.append(body)
        if body["messages"][-1]["content"] == "refuse":
            return web.json_response({"object": "error", "message": TOO_LONG}, status=400)
        response = await _start_stream(request)
        role = {"delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        await _send(response, {"choices": [role], "usage": _usage(0)})
        for number in range(1, body["max_tokens"] + 1):
            await asyncio.sleep(self.token_s)
            choice = {"delta": {"content": f"c{number} "}, "finish_reason": None}
            await _send(response, {"choices": [choice], "usage": _usage(number)})
        last = {"delta": {}, "finish_reason": "stop"}
        await _send(response, {"choices": [last], "usage": _usage(body["max_tokens"])})
        await _send(response, {"choices": [], "usage": _usage(body["max_tokens"])})
        return await _end_stream(response)

    async def _item(self, request: web.Request) -> web.StreamResponse:
        return await self._answer_item(await request.json())

    async def _answer_item(self, body: dict[str, Any]) -> web.Response:
        self.seen.items.append(body)
        prompt = body.get("prompt")
        if prompt == "refuse":
            return web.json_response({"object": "error", "message": TOO_LONG}, status=400)
        if prompt == "fail":
            return web.json_response({"error": {"message": "scheduler died"}}, status=500)
        self.seen.running.add(body["rid"])
        await asyncio.sleep(3600 if prompt == "wait" else self.item_s)
        self.seen.running.discard(body["rid"])
        choice = {"text": f"echo {prompt}", "finish_reason": "length"}
        return web.json_response(
            {
                "object": "text_completion",
                "choices": [choice],
                "usage": {"prompt_tokens": 5, "completion_tokens": 2},
            }
        )


def _fields(budgets: Budgets) -> dict[str, Any]:
    return {name: getattr(budgets, name) for name in Budgets.__dataclass_fields__}


def _usage(tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": 7,
        "completion_tokens": tokens,
        "prompt_tokens_details": {"cached_tokens": 3},
    }


async def _start_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")


async def _end_stream(response: web.StreamResponse) -> web.StreamResponse:
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def main() -> None:
    """Serves at the --port of SGLang's command line; FAKE_ENGINE_EXIT ends it instead."""
    if message := os.environ.get("FAKE_ENGINE_EXIT"):
        raise RuntimeError(message)
    port = next(int(a.partition("=")[2]) for a in sys.argv if a.startswith("--port="))
    engine = FakeEngine(
        token_s=float(os.environ.get("FAKE_ENGINE_TOKEN_S", "0.002")),
        has_plugin=os.environ.get(DISABLE_VARIABLE) != "off",
    )
    web.run_app(engine.make_app(), host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main()
