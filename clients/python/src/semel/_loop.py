"""The one background event loop of a process, in which all blocking clients send and renew."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
_starting = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_pid = 0


def background() -> asyncio.AbstractEventLoop:
    """Give the loop, which is started when it is first needed; a forked process gets one of its own."""
    global _loop, _pid
    with _starting:
        if _loop is None or _pid != os.getpid():
            _loop, _pid = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_loop.run_forever, name="semel", daemon=True).start()
        return _loop


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run something in the loop, and wait for it. An interruption cancels it."""
    future = asyncio.run_coroutine_threadsafe(work, background())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
