#!/usr/bin/env python3
"""Does with the blocking client what runner.py does with the asyncio one: each call in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runner import Runner, ending, error_told, main, say

import semel
from semel.testing import Fake

# As many calls as a scenario could have at a time, with works that wait.
THREADS = ThreadPoolExecutor(max_workers=1_000)


class Threaded:
    """A blocking client whose methods are awaited, each in a thread of its own."""

    def __init__(self, client: semel.Client) -> None:
        self.blocking = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.blocking, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return asyncio.get_running_loop().run_in_executor(THREADS, functools.partial(method, *args, **kwargs))

        return call


class BlockingRunner(Runner):
    def made(self, options: semel.Options, transport: Fake | None) -> Any:
        return Threaded(semel.Client(options, transport=transport))

    def gate(self, name: str) -> Any:
        return self.gates.setdefault(name, threading.Event())

    def work(self, call: str, client: Any, steps: list[Any], raw: bool = False) -> Any:
        def working(attempt: semel.Attempt) -> Any:
            self.started(call, attempt)
            for step in steps:
                done, value = self.blocking_step(call, client.blocking, attempt, step)
                if done:
                    return bytes.fromhex(value) if raw else value
            raise ValueError("a work of the scenario has no end")

        return working

    def blocking_step(
        self, call: str, client: semel.Client, attempt: semel.Attempt, step: dict[str, Any]
    ) -> tuple[bool, Any]:
        match step:
            case {"say": "derived_key", "step": name}:
                say(event="said", call=call, name="derived_key", value=attempt.derived_key(name))
            case {"checkpoint": {"name": name, "value": value}}:
                attempt.checkpoint(name, value.encode())
            case {"gate": name}:
                self.waits(call, attempt, name, obeys=True)
            case {"hold": name}:
                self.waits(call, attempt, name, obeys=False)
            case {"tell": {"address": address, "text": text}}:
                host, port = address.split(":")
                with socket.create_connection((host, int(port))) as connection:
                    connection.sendall(f"{text}\n".encode())
                    while connection.recv(4096):
                        pass
            case {"handoff": True}:
                say(event="said", call=call, name="handoff", value=attempt.handoff().to_text())
            case {"nested": {"endpoint": endpoint, "key": key, "work": work}}:
                try:
                    working = self.work(f"{call}/nested", Threaded(client), work)
                    result: dict[str, Any] = {"ok": self.ok(client.once(endpoint, key, None, working))}
                except BaseException as error:
                    result = {"error": error_told(error)}
                say(event="said", call=call, name="nested", value=result)
            case _:
                return True, ending(step)
        return False, None

    def waits(self, call: str, attempt: semel.Attempt, name: str, *, obeys: bool) -> None:
        say(event="reached", call=call, gate=name)
        told = False
        while not self.gate(name).wait(0.01):  # a thread waits for one event at a time, and here are two
            if attempt.lost.is_set() and not told:
                told = True
                say(event="cancelled", call=call)
                if obeys:
                    attempt.check()


if __name__ == "__main__":
    main(BlockingRunner())
