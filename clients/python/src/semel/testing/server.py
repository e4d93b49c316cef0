"""A real semel for tests."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from typing import Self


class Server:
    """Runs `semel serve --store memory` on ports of its own. It keeps nothing beyond its end.

    The program is that of SEMEL_BIN, else semel on the PATH.

    >>> with Server() as server, semel.Client(semel.Options(address=server.address)) as client: ...
    """

    def __init__(self, *arguments: str, ready_within: float = 60.0) -> None:
        program = os.environ.get("SEMEL_BIN") or "semel"
        self._directory = tempfile.TemporaryDirectory(prefix="semel-testing-")
        command = [program, "serve", "--store", "memory", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
        env = {name: value for name, value in os.environ.items() if not name.startswith("SEMEL_")}
        self._process = subprocess.Popen(
            [*command, "--log-level", "error", "--audit-log", f"{self._directory.name}/audit.jsonl", *arguments],
            cwd=self._directory.name,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.address, operations = self._addresses()
            self._become_ready(operations, ready_within)
        except BaseException:
            self.stop()
            raise

    def _addresses(self) -> tuple[str, str]:
        found: dict[str, str] = {}
        for line in self._process.stdout or ():
            name, *rest = line.split()[:2] or [""]
            if rest and name in ("gRPC", "operations"):
                found[name] = "http://" + rest[0].removeprefix("http://").split("/")[0]
            if len(found) == 2:
                return found["gRPC"], found["operations"]
        raise RuntimeError("semel serve ended before it said where it listens")

    def _become_ready(self, operations: str, within: float) -> None:
        deadline = time.monotonic() + within
        while True:
            try:
                with urllib.request.urlopen(f"{operations}/readyz", timeout=within):
                    return
            except urllib.error.URLError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._directory.cleanup()
