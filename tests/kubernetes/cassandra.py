"""One node of Apache Cassandra in the cluster's network, where pods reach it."""

import contextlib
import pathlib
import signal
import socket
import subprocess
from collections.abc import Iterator

import kubernetes


@contextlib.contextmanager
def node(scratch: pathlib.Path) -> Iterator[str]:
    """Its address, once it answers."""
    directory = scratch / "cassandra"
    directory.mkdir()
    process = subprocess.Popen([kubernetes.ROOT / "tools/cassandra/node", directory, kubernetes.NODE, "1",
                                kubernetes.NODE], stdin=subprocess.DEVNULL)

    def answers() -> bool:
        if process.poll() is not None:
            log = (directory / "out.log").read_text(encoding="utf-8", errors="replace")
            raise kubernetes.Failed("Cassandra ended:\n" + "\n".join(log.splitlines()[-20:]))
        with contextlib.suppress(OSError), socket.create_connection((kubernetes.NODE, 9042), timeout=1):
            return True
        return False

    try:
        kubernetes.wait_until("Cassandra answers", answers)
        yield kubernetes.NODE
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
