"""Lifecycles (Begin and Complete) by `once`, beside the generated messages on a bare channel: `make bench-clients`."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import Awaitable, Callable

import grpc

import semel
from semel.testing import Server
from semel.v1 import semel_pb2 as pb

LIFECYCLES = int(os.environ.get("SEMEL_BENCH_LIFECYCLES", "5000"))
AT_A_TIME = 32
SERVICE = "/semel.v1.IdempotencyService"


async def measure(name: str, lifecycle: Callable[[int], Awaitable[None]]) -> None:
    """Says how many lifecycles there were in a second, and what each cost."""
    numbers = iter(range(LIFECYCLES))

    async def worker() -> None:
        for number in numbers:
            await lifecycle(number)

    began, before = time.perf_counter(), time.process_time()
    await asyncio.gather(*itertools.starmap(worker, itertools.repeat((), AT_A_TIME)))
    seconds, used = time.perf_counter() - began, time.process_time() - before
    print(
        f"{name}: {LIFECYCLES / seconds:.0f} lifecycles/s, {used * 1e6 / LIFECYCLES:.0f} µs of CPU for each", flush=True
    )


async def main() -> None:
    with Server() as server:
        options = semel.Options(address=server.address, connections=1)
        async with semel.AsyncClient(options) as client, grpc.aio.insecure_channel(server.address[7:]) as channel:
            begin = channel.unary_unary(
                f"{SERVICE}/Begin", pb.BeginRequest.SerializeToString, pb.BeginResponse.FromString
            )
            complete = channel.unary_unary(
                f"{SERVICE}/Complete", pb.CompleteRequest.SerializeToString, pb.CompleteResponse.FromString
            )

            async def by_stub(name: str) -> None:
                key = pb.Key(tenant="default", endpoint="bench/Bare", idempotency_key=name)
                attempt = str(uuid.uuid4())
                begun = await begin(pb.BeginRequest(key=key, attempt_id=attempt), timeout=3)
                result = pb.Result(
                    outcome=pb.Result.OUTCOME_SUCCESS,
                    content_type="application/json",
                    payload=b'{"id":"ch_1","amount":1250}',
                )
                done = pb.CompleteRequest(key=key, attempt_id=attempt, fence=begun.started.fence, result=result)
                await complete(done, timeout=3)

            async def work(_: semel.AsyncAttempt) -> dict[str, object]:
                return {"id": "ch_1", "amount": 1250}

            async def by_once(name: str) -> None:
                await client.once("bench/Once", name, {"amount": 1250}, work)

            for round_ in ("warm-up", "measured"):
                await measure(f"{round_}, bare stub", lambda number: by_stub(f"{round_}-{number}"))  # noqa: B023
                await measure(f"{round_}, once", lambda number: by_once(f"{round_}-{number}"))  # noqa: B023


asyncio.run(main())
