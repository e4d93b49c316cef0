"""What goes wrong with servers, at random moments."""

import contextlib
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

from load import POLICY
from processes import AT_MOST_SECONDS, ENVIRONMENT, Server

# A server stands still for less than the shortest lease that its callers renew.
STANDSTILL_SECONDS = (0.1, 3.0)


def standstill(process: subprocess.Popen, dice: random.Random) -> None:
    process.send_signal(signal.SIGSTOP)
    time.sleep(dice.uniform(*STANDSTILL_SECONDS))
    process.send_signal(signal.SIGCONT)


def another_policy(server: Server, dice: random.Random) -> None:
    text = POLICY.format(lease=dice.randrange(30, 60), retention=dice.randrange(24, 48))
    new = server.directory / "policy.new"
    new.write_text(text, encoding="utf-8")
    new.rename(server.directory / "policy.toml")


def backup(server: Server) -> None:
    archive = server.directory / "backup"
    archive.unlink(missing_ok=True)
    done = subprocess.run([str(server.program), "backup", "--data-dir", "data", "--to", archive.name], check=False,
                          cwd=server.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=ENVIRONMENT, timeout=AT_MOST_SECONDS * 5)
    if done.returncode != 0:
        raise SystemExit(f"semel backup of {server.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    archive.unlink()


class Steady:
    """A server that is never started again, so that whatever it holds on to shows."""

    def __init__(self, server: Server, process: subprocess.Popen, dice: random.Random):
        self.server, self.process, self.dice = server, process, dice
        self.met: Counter[str] = Counter()

    def strike(self) -> None:
        """One thing at random."""
        kinds: list[tuple[str, int, Callable[[], None]]] = [
            ("standstills", 5, lambda: standstill(self.process, self.dice)),
            ("policies", 4, lambda: another_policy(self.server, self.dice)),
            ("backups", 1, lambda: backup(self.server)),
        ]
        name, _, strike = self.dice.choices(kinds, [weight for _, weight, _ in kinds])[0]
        strike()
        self.met[name] += 1


class Struck:
    """A server that is killed, or told to end, and started again, again and again."""

    def __init__(self, server: Server, dice: random.Random):
        self.server, self.dice = server, dice
        self.life = contextlib.ExitStack()
        self.process = self.life.enter_context(server.serving())
        self.met: Counter[str] = Counter()

    def strike(self) -> None:
        """One thing at random."""
        name = self.dice.choices(["kills", "restarts", "standstills"], [3, 2, 1])[0]
        if name == "standstills":
            standstill(self.process, self.dice)
        else:
            if name == "kills":
                self.process.kill()
                self.process.wait()
            self.life.close()
            # It was told to end, and what it was told must have been enough.
            if name == "restarts" and self.process.returncode != 0:
                raise SystemExit(f"the server {self.server.name} ended with {self.process.returncode} after SIGTERM")
            self.process = self.life.enter_context(self.server.serving())
        self.met[name] += 1
