"""Callers of every kind, each a thread that goes on until it is told to stop, and the promises that they check."""

import itertools
import json
import pathlib
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable

from processes import AT_MOST_SECONDS, ENVIRONMENT, Server

# The endpoint ask/* holds a lost attempt for an operator. The rule of the bench's keys is what policy changes change.
POLICY = """
[[rule]]
endpoint = "ask/*"
on_lost_lease = "mark_unknown"

[[rule]]
endpoint = "semel.bench"
lease = "{lease}s"
retention = "{retention}h"
"""
# A bench that runs for so long is one of many connections that come and go.
SHORT = "5s"
# Owners work so long that callers who come at a low rate still meet some at work.
MIXED = ("--duplicates", "0.4", "--abort-share", "0.1", "--renew-share", "0.1", "--payload-bytes", "0..1KiB",
         "--work", "500ms")
WAITING = ("--duplicates", "0.5", "--concurrent", "1", "--work", "700ms", "--wait", "2s")


# The status of `semel begin` while another attempt runs.
IN_PROGRESS = 102


def flags(endpoint: str, key: str, said: dict) -> tuple[str, ...]:
    """What the owner's commands take, of what a Begin said."""
    return ("--endpoint", endpoint, "--key", key, "--fence", str(said.get("fence", 0)), "--attempt-id",
            said.get("attempt_id", ""))


class Callers:
    """What all callers of one server share: when to stop, what they met, what must be replayed at the end."""

    def __init__(self, server: Server, stop: threading.Event, seed: int):
        self.server, self.stop = server, stop
        self.met: Counter[str] = Counter()
        self.acknowledged: list[tuple[str, str]] = []
        self.dice = random.Random(seed)
        self.numbers = itertools.count()
        self.lock = threading.Lock()

    def count(self, **met: int) -> None:
        with self.lock:
            self.met.update(met)

    def new_key(self) -> str:
        return f"key-{next(self.numbers)}"

    def completed(self, endpoint: str, key: str) -> None:
        with self.lock:
            self.acknowledged.append((endpoint, key))

    def begin(self, endpoint: str, key: str, *more: str, status: int = 0) -> tuple[str, ...]:
        """Begins, and gives the flags that the owner's commands take."""
        return flags(endpoint, key, self.server.call("begin", "--endpoint", endpoint, "--key", key, *more, status=status))

    def after(self, endpoint: str, key: str, status: int) -> tuple[str, ...]:
        """Begins once the attempt under way is lost. A server that ends says earlier that it is still running."""
        ended = IN_PROGRESS
        while ended == IN_PROGRESS:
            ended, said = self.server.ask("begin", "--endpoint", endpoint, "--key", key, "--wait", "20s",
                                          statuses=(status, IN_PROGRESS))
        return flags(endpoint, key, said)

    def bench(self, *arguments: str) -> subprocess.Popen:
        # The server by two names is several: a call whose connection broke is sent again.
        command = self.server.command("bench", *arguments, "--output", "json", "--seed", str(self.dice.getrandbits(48)))
        command[command.index("--server") + 1] += f",http://{self.server.address}:7400/"
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, env=ENVIRONMENT)

    def judge(self, bench: subprocess.Popen) -> None:
        said, trouble = bench.communicate(timeout=AT_MOST_SECONDS)
        if bench.returncode != 0:
            raise SystemExit(f"semel bench on {self.server.name} ended with {bench.returncode}:\n{said}{trouble}")
        answers = json.loads(said)["answers"]
        self.count(lifecycles=answers["completed"], replays=answers["replayed"], resent=answers["resent"],
                   held=answers["in_progress"], renewals=answers["renewed"], aborts=answers["aborted"])

    # Each of the following is one round of one kind of caller.

    def mixed(self, rate: str) -> None:
        """Keys of every fate. The run ends when it is told to, so that its checker sees as much as can be."""
        self.until_stopped(self.bench("--duration", "1000h", "--rate", rate, *MIXED))

    def waiting(self, rate: str) -> None:
        """Callers who are held until others are done."""
        self.until_stopped(self.bench("--duration", "1000h", "--rate", rate, *WAITING))

    def until_stopped(self, bench: subprocess.Popen) -> None:
        while bench.poll() is None and not self.stop.wait(1):
            pass
        bench.send_signal(signal.SIGINT)
        self.judge(bench)

    def coming_and_going(self, rate: str) -> None:
        """Connections that are opened, used and closed."""
        self.judge(self.bench("--duration", SHORT, "--rate", rate, "--connections", "16", *MIXED))
        self.count(connections=16)

    def killed(self, rate: str) -> None:
        """Callers who die in the middle of their calls."""
        bench = self.bench("--duration", "1000h", "--rate", rate, *WAITING)
        self.stop.wait(self.dice.uniform(0.5, 4))
        bench.kill()
        bench.communicate()
        self.count(killed_callers=1)

    def lost(self) -> None:
        """An owner that is never heard of again, and the one that takes over."""
        key = self.new_key()
        lost = self.begin("charge", key, "--lease", "200ms")
        owner = self.after("charge", key, 0)
        self.server.call("complete", *lost, status=106)
        self.server.call("complete", *owner, "--payload", key)
        self.completed("charge", key)
        self.count(takeovers=1, fenced=1)

    def unknown(self) -> None:
        """An outcome that nobody knows, until an operator says it."""
        key = self.new_key()
        of = self.begin("ask/charge", key, "--lease", "200ms")
        self.after("ask/charge", key, 103)
        self.server.call("resolve", *of[:6], "--completed", "--payload", key)
        self.completed("ask/charge", key)
        self.count(resolved=1)

    def once(self, directory: pathlib.Path) -> None:
        """Two starts of one command at the same time, of which one runs it."""
        key, ran = self.new_key(), directory / "once"
        starts = [subprocess.Popen(self.server.command("once", "--endpoint", "once", "--key", key, "--wait", "60s", "--",
                                                       "sh", "-c", f"echo {key} >>'{ran}'; echo {key}"),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=ENVIRONMENT) for _ in range(2)]
        for start in starts:
            said, trouble = start.communicate(timeout=AT_MOST_SECONDS)
            if (start.returncode, said) != (0, f"{key}\n"):
                raise SystemExit(f"semel once on {self.server.name} ended with {start.returncode}:\n{said}{trouble}")
        if ran.read_text(encoding="utf-8").split().count(key) != 1:
            raise SystemExit(f"two starts of one `semel once` on {self.server.name} did not run their command once")
        ran.unlink()
        self.completed("once", key)
        self.count(once=1)

    def listing(self) -> None:
        """An operator who looks."""
        said = subprocess.run(self.server.command("list", "--output", "json", "--page-size", "50"), check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT,
                              timeout=AT_MOST_SECONDS)
        if said.returncode != 0:
            raise SystemExit(f"semel list on {self.server.name} ended with {said.returncode}:\n{said.stdout}{said.stderr}")
        self.count(listings=1)

    def rounds(self, pause: float, kind: Callable[..., None], *arguments) -> None:
        while not self.stop.is_set():
            kind(*arguments)
            self.stop.wait(pause * self.dice.uniform(0.5, 1.5))

    def replayed(self, most: int) -> int:
        """How many of what was acknowledged is still replayed: all, or this fails."""
        asked = self.dice.sample(self.acknowledged, min(most, len(self.acknowledged)))
        for endpoint, key in asked:
            self.begin(endpoint, key, status=100)
        return len(asked)
