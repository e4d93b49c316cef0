#!/usr/bin/env python3
"""Is told by the behavioural suite what to do with the library: clients/vectors/scenarios/README.md."""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
import threading
import uuid
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue
from telemetry import observed

import semel
from semel import errors
from semel.testing import Decision, Fake
from semel.v1 import semel_pb2 as pb


class TextCodec:
    content_type = "text/plain"

    def encode(self, value: Any) -> bytes:
        return value.encode()

    def decode(self, payload: bytes) -> str:
        return payload.decode()


class WrappedCodec(semel.ProtoCodec):
    """Makes texts messages, and messages texts, for the library's own codec of messages."""

    def __init__(self) -> None:
        super().__init__(StringValue)

    def encode(self, value: Any) -> bytes:
        return super().encode(StringValue(value=value))

    def decode(self, payload: bytes) -> str:
        return super().decode(payload).value


SAYING = threading.Lock()


def say(**event: Any) -> None:
    with SAYING:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def seconds(options: dict[str, Any], name: str) -> float | None:
    value = options.get(f"{name}_ms")
    return None if value is None else value / 1000


def client_options(address: str | None, options: dict[str, Any]) -> semel.Options:
    known = {name: seconds(options, name) for name in ("timeout", "try_timeout", "report_timeout")}
    known |= {name: options.get(name) for name in ("tenant", "token", "on_unexpected")}
    return semel.Options(address=address, **{name: value for name, value in known.items() if value is not None})


def once_options(options: dict[str, Any]) -> dict[str, Any]:
    given = {name: seconds(options, name) for name in ("wait", "lease", "retention", "timeout")}
    given |= {name: options.get(name) for name in ("retry", "labels", "when_unavailable", "on_unexpected")}
    codecs = {"bytes": semel.BytesCodec(), "protobuf": WrappedCodec(), "text": TextCodec()}
    given["codec"] = codecs.get(options.get("codec", ""))
    if first_sent := options.get("first_sent_ms"):
        given["first_sent"] = datetime.datetime.fromtimestamp(first_sent / 1000, datetime.UTC)
    return {name: value for name, value in given.items() if value is not None}


def request_of(given: dict[str, Any] | None) -> semel.Request | None:
    if given is None:
        return None
    ignore = given.get("ignore", ())
    if "json_text" in given:
        return semel.Request.json_text(given["json_text"], ignore)
    if "raw_hex" in given:
        return semel.Request.raw(bytes.fromhex(given["raw_hex"]))
    if "http" in given:
        http = given["http"]
        body = semel.Request.json(http["json"], ignore)
        return semel.Request.http(http["method"], http["path"], [tuple(header) for header in http["headers"]], body)
    return semel.Request.json(given["json"], ignore)


def decision_of(name: str, given: dict[str, Any]) -> Decision:
    match name:
        case "started":
            points = {point["name"]: point["value"].encode() for point in given.get("checkpoints", ())}
            return Decision.started(given.get("attempt", 1), points)
        case "replayed":
            failure = given.get("failure")
            return Decision.replayed(given.get("json"), failure=semel.Failure(**failure) if failure else None)
        case "in_progress":
            return Decision.in_progress(given["attempt"], given["retry_after_ms"] / 1000)
        case "unresolved":
            return Decision.unresolved(given["reason"], given["detail"])
        case "fence_lost":
            return Decision.fence_lost()
        case "unavailable":
            return Decision.unavailable()
    raise ValueError(name)


def failure_told(failure: semel.Failure) -> dict[str, Any]:
    told = {"type": failure.type, "message": failure.message, "code": failure.code}
    return told if failure.details is None else {**told, "details": failure.details}


def error_told(error: BaseException) -> dict[str, Any]:
    if isinstance(error, asyncio.CancelledError):
        return {"type": "Cancelled", "text": "cancelled"}
    if not isinstance(error, semel.SemelError):
        return {"type": "Own", "message": str(error), "text": str(error)}
    told: dict[str, Any] = {"type": error.kind, "reason": error.reason, "text": str(error)}
    if error.code:
        told["code"] = error.code
    if error.retry_after is not None:
        told["retry_after_ms"] = round(error.retry_after * 1000)
    if isinstance(error.__cause__, semel.SemelError):
        told["cause"] = error.__cause__.kind
    for name in (
        "attempt",
        "backing_off",
        "unresolved_reason",
        "detail",
        "may_have_taken_effect",
        "replayed",
        "failed",
    ):
        if hasattr(error, name):
            told[name] = getattr(error, name)
    if isinstance(error, errors._CarryingError):
        told["carries_value"] = error.has_value
        if error.has_value and not isinstance(error, semel.ResultNotStoredError):
            told["value"] = error.value
    if isinstance(error, semel.OperationFailedError):
        told |= {"failure": failure_told(error.failure), "message": error.failure.message}
    if isinstance(error, semel.CompletionUnknownError):
        told["handoff"] = error.handoff.to_text()
    if isinstance(error, semel.UndecodableResultError):
        told["content_type"] = error.content_type
    return told


class Runner:
    def __init__(self) -> None:
        self.clients: dict[str, Any] = {}
        self.fakes: dict[str, Fake] = {}
        self.gates: dict[str, Any] = {}
        self.calls: dict[str, asyncio.Task[Any]] = {}
        self.items: dict[tuple[str, str, str], tuple[str, int]] = {}

    def gate(self, name: str) -> Any:
        return self.gates.setdefault(name, asyncio.Event())

    async def run(self) -> None:
        reader = asyncio.StreamReader(limit=64 << 20)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            command = json.loads(line)
            await self.do(command.pop("do"), command)
        for client in self.clients.values():
            await client.close()

    async def do(self, what: str, command: dict[str, Any]) -> None:
        match what:
            case "open":
                self.open(**command)
            case "close":
                await self.clients[command["client"]].close()
                say(event="closed", client=command["client"])
            case "cancel":
                self.calls[command["call"]].cancel()
            case "gate":
                self.gate(command["gate"]).set()
            case "recorded":
                calls = [call._asdict() for call in self.fakes[command["client"]].calls()]
                say(event="recorded", client=command["client"], calls=calls)
            case "once" | "resume" | "complete_handoff" | "renew" | "batch_begin" | "batch_complete":
                call = command.pop("call")
                doing = getattr(self, what)(call, **command)
                self.calls[call] = asyncio.ensure_future(self.told(call, doing))
            case _:
                raise ValueError(what)

    def open(
        self, client: str, options: dict[str, Any], address: str | None = None, fake: list[Any] | None = None
    ) -> None:
        transport = None
        if fake is not None:
            transport = self.fakes[client] = Fake()
            for script in fake:
                decisions = [decision_of(*item) for each in script["decisions"] for item in each.items()]
                transport.script(script["endpoint"], script["key"], *decisions)
        self.clients[client] = self.made(client_options(address, options), transport)
        say(event="opened", client=client)

    def made(self, options: semel.Options, transport: Fake | None) -> Any:
        return semel.AsyncClient(options, transport=transport)

    async def told(self, call: str, doing: Any) -> None:
        say(event="result", call=call, **await self.result(doing))

    async def result(self, doing: Any) -> dict[str, Any]:
        try:
            return {"ok": await doing}
        except BaseException as error:
            return {"error": error_told(error)}

    async def once(
        self,
        call: str,
        client: str,
        endpoint: str,
        key: str,
        work: list[Any],
        options: dict[str, Any],
        request: Any = None,
    ) -> dict[str, Any]:
        raw = options.get("codec") == "bytes"
        working = self.work(call, self.clients[client], work, raw)
        return self.ok(
            await self.clients[client].once(endpoint, key, request_of(request), working, **once_options(options)), raw
        )

    async def resume(
        self, call: str, client: str, handoff: str, work: list[Any], options: dict[str, Any]
    ) -> dict[str, Any]:
        working = self.work(call, self.clients[client], work)
        taken = semel.Handoff.from_text(handoff)
        return self.ok(await self.clients[client].resume(taken, working, **once_options(options)))

    async def complete_handoff(self, _: str, client: str, handoff: str, value: Any) -> dict[str, Any]:
        await self.clients[client].complete_handoff(semel.Handoff.from_text(handoff), value)
        return {}

    async def renew(self, _: str, client: str, handoff: str, lease_ms: int | None = None) -> dict[str, Any]:
        owner = semel.Handoff.from_text(handoff)
        request = pb.RenewRequest(
            key=pb.Key(tenant=owner.tenant, endpoint=owner.endpoint, idempotency_key=owner.key),
            fence=owner.fence,
            attempt_id=owner.attempt_id,
        )
        if lease_ms is not None:
            request.lease.FromMilliseconds(lease_ms)
        await self.clients[client].renew(request)
        return {}

    @staticmethod
    def ok(outcome: semel.Outcome[Any], raw: bool = False) -> dict[str, Any]:
        return {
            "value": outcome.value.hex() if raw else outcome.value,
            "replayed": outcome.replayed,
            "handed_off": outcome.handed_off,
            "protected": outcome.protected,
            "attempt": outcome.attempt,
            "fence": outcome.fence,
        }

    @staticmethod
    def started(call: str, attempt: semel.AsyncAttempt | semel.Attempt) -> None:
        points = [{"name": point.name, "value": point.value.decode()} for point in attempt.checkpoints]
        told = {"fence": attempt.fence, "attempt": attempt.number, "protected": attempt.protected}
        say(event="started", call=call, checkpoints=points, **told)

    def work(self, call: str, client: semel.AsyncClient, steps: list[Any], raw: bool = False) -> Any:
        async def working(attempt: semel.AsyncAttempt) -> Any:
            self.started(call, attempt)
            for step in steps:
                done, value = await self.step(call, client, attempt, step)
                if done:
                    return bytes.fromhex(value) if raw else value
            raise ValueError("a work of the scenario has no end")

        return working

    async def step(
        self, call: str, client: semel.AsyncClient, attempt: semel.AsyncAttempt, step: dict[str, Any]
    ) -> tuple[bool, Any]:
        match step:
            case {"say": "derived_key", "step": name}:
                say(event="said", call=call, name="derived_key", value=attempt.derived_key(name))
            case {"checkpoint": {"name": name, "value": value}}:
                await attempt.checkpoint(name, value.encode())
            case {"gate": name}:
                await self.wait(call, name, obeys=True)
            case {"hold": name}:
                await self.wait(call, name, obeys=False)
            case {"tell": {"address": address, "text": text}}:
                host, port = address.split(":")
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(f"{text}\n".encode())
                await reader.read()
                writer.close()
            case {"handoff": True}:
                say(event="said", call=call, name="handoff", value=attempt.handoff().to_text())
            case {"nested": {"endpoint": endpoint, "key": key, "work": work}}:
                doing = client.once(endpoint, key, None, self.work(f"{call}/nested", client, work))
                result = await self.result(doing)
                if "ok" in result:
                    result["ok"] = self.ok(result["ok"])
                say(event="said", call=call, name="nested", value=result)
            case _:
                return True, ending(step)
        return False, None

    async def wait(self, call: str, name: str, *, obeys: bool) -> None:
        say(event="reached", call=call, gate=name)
        while not self.gate(name).is_set():
            try:
                await self.gate(name).wait()
            except asyncio.CancelledError:
                say(event="cancelled", call=call)
                if obeys:
                    raise

    async def batch_begin(self, _: str, client: str, endpoint: str, keys: list[str]) -> dict[str, Any]:
        requests = [
            pb.BeginRequest(key=pb.Key(endpoint=endpoint, idempotency_key=key), attempt_id=str(uuid.uuid4()))
            for key in keys
        ]
        response = await self.clients[client].batch_begin(pb.BatchBeginRequest(requests=requests))
        items: list[dict[str, Any]] = []
        for request, item in zip(requests, response.items, strict=True):
            if item.WhichOneof("outcome") == "error":
                items.append({"error": item.error.reason})
                continue
            decision = item.response.WhichOneof("decision")
            items.append({"decision": decision, "attempt": getattr(item.response, decision).attempt})
            if decision == "started":
                place = (client, endpoint, request.key.idempotency_key)
                self.items[place] = (request.attempt_id, item.response.started.fence)
        return {"items": items}

    async def batch_complete(self, _: str, client: str, endpoint: str, values: list[Any]) -> dict[str, Any]:
        requests = []
        for each in values:
            attempt_id, fence = self.items[client, endpoint, each["key"]]
            result = pb.Result(outcome=1, content_type="application/json", payload=json.dumps(each["value"]).encode())
            key = pb.Key(endpoint=endpoint, idempotency_key=each["key"])
            requests.append(pb.CompleteRequest(key=key, fence=fence, attempt_id=attempt_id, result=result))
        response = await self.clients[client].batch_complete(pb.BatchCompleteRequest(requests=requests))
        failed = lambda item: item.WhichOneof("outcome") == "error"  # noqa: E731
        items = [
            {"error": item.error.reason} if failed(item) else {"repeated": item.response.repeated_call}
            for item in response.items
        ]
        return {"items": items}


def ending(step: dict[str, Any]) -> Any:
    match step:
        case {"return": value}:
            return value
        case {"return_text": size}:
            return "x" * size
        case {"return_unencodable": True}:
            return {1, 2}
        case {"final": failure}:
            raise semel.Final(**failure)
        case {"retryable": {"message": message, **more}}:
            raise semel.Retryable(message, more.get("retry_after_ms", 0) / 1000)
        case {"unknown": {"message": message}}:
            raise semel.Unknown(message)
        case {"timeout": True}:
            raise TimeoutError("a call further down")
        case {"unexpected": message}:
            raise RuntimeError(message)
    raise ValueError(f"no step of a work is {list(step)}")


def main(runner: Runner) -> None:
    hand_over = observed()
    asyncio.run(runner.run())
    hand_over()


if __name__ == "__main__":
    main(Runner())
