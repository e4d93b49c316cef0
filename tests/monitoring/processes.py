"""The programs of the test: semel as server and as client, and Prometheus. Each ends when its block does."""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

# A bound for what hangs, not a measure of speed.
AT_MOST_SECONDS = 180

# What is left of the environment: semel refuses variables that name no setting of its own.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SEMEL_")}


def wait_until(what: str, done: Callable[[], bool]) -> None:
    until = time.monotonic() + AT_MOST_SECONDS
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"this did not come about within {AT_MOST_SECONDS} s: {what}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def loopback_address() -> str:
    """An address of this machine that no other test is likely to use, so that every port is free."""
    return f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"


@contextlib.contextmanager
def running(command: list[str], log: pathlib.Path, **options) -> Iterator[subprocess.Popen]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   env=ENVIRONMENT, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """`semel serve` on the embedded store."""

    def __init__(self, program: pathlib.Path, directory: pathlib.Path, name: str, policy: str = ""):
        self.program, self.name = program, name
        self.directory = directory / name
        self.directory.mkdir()
        (self.directory / "policy.toml").write_text(policy, encoding="utf-8")
        self.address = loopback_address()
        self.operations = f"{self.address}:7401"

    @contextlib.contextmanager
    def serving(self, syncs: str | None = None, log: pathlib.Path | None = None) -> Iterator[subprocess.Popen]:
        """Serves within the block, on what the time before left. `syncs` is what strace injects into them; `log` takes
        what it says, instead of a file of its directory."""
        command = [str(self.program), "serve", "--listen", f"{self.address}:7400", "--ops-listen", self.operations,
                   "--data-dir", "data", "--policy", "policy.toml", "--clock-skew-allowance", "100ms"]
        if syncs:
            # With -D the server is our own child, and gets our signals.
            command = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync",
                       "-e", f"inject=fsync,fdatasync:{syncs}", *command]
        with running(command, log or self.directory / "log", cwd=self.directory) as process:
            def ready() -> bool:
                if process.poll() is not None:
                    said = f"{log} has what it said" if log else (self.directory / "log").read_text(
                        encoding="utf-8", errors="replace")
                    raise SystemExit(f"the server {self.name} ended with {process.returncode}:\n{said}")
                return answers(f"http://{self.operations}/readyz")
            wait_until(f"the server {self.name} is ready", ready)
            yield process

    def command(self, *arguments: str) -> list[str]:
        name, *rest = arguments
        return [str(self.program), name, "--server", f"http://{self.address}:7400", *rest]

    def call(self, *arguments: str, status: int = 0) -> dict:
        """Runs a command of the client, which must end with `status`; gives what it said."""
        return self.ask(*arguments, statuses=(status,))[1]

    def ask(self, *arguments: str, statuses: tuple[int, ...]) -> tuple[int, dict]:
        """The same, which must end with one of `statuses`; gives that, too."""
        done = subprocess.run(self.command(*arguments, "--output", "json"), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, env=ENVIRONMENT, timeout=AT_MOST_SECONDS)
        if done.returncode not in statuses:
            raise SystemExit(f"semel {arguments[0]} on {self.name} ended with {done.returncode}, which is none of "
                             f"{statuses}:\n{done.stdout}{done.stderr}")
        return done.returncode, json.loads(done.stdout)

    def load(self, *arguments: str) -> contextlib.AbstractContextManager:
        """Load on the server within the block. What it finds is not what this test is about."""
        command = self.command("bench", "--duration", "1h", "--max-violations", "1000000", *arguments)
        return running(command, self.directory / "bench")


class Prometheus:
    """Prometheus, which scrapes and evaluates once a second."""

    def __init__(self, directory: pathlib.Path, rules: str, servers: list[Server]):
        self.directory = directory / "prometheus"
        self.directory.mkdir()
        self.address = f"{loopback_address()}:9090"
        jobs = "".join(f"  - job_name: {server.name}\n    static_configs: [{{targets: ['{server.operations}']}}]\n"
                       for server in servers)
        (self.directory / "rules.yml").write_text(rules, encoding="utf-8")
        (self.directory / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [rules.yml]\nscrape_configs:\n{jobs}", encoding="utf-8")
        subprocess.run(["promtool", "check", "config", "prometheus.yml"], cwd=self.directory, check=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn",
                   f"--web.listen-address={self.address}"]
        with running(command, self.directory / "log", cwd=self.directory):
            wait_until("Prometheus is ready", lambda: answers(f"http://{self.address}/-/ready"))
            self.since = time.time()
            yield

    def ask(self, path: str, **parameters: str) -> dict:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict]:
        """The samples of now."""
        return self.ask("query", query=expression)["result"]

    def values(self, expression: str) -> list[float]:
        """Every value that it had since Prometheus was started."""
        series = self.ask("query_range", query=expression, start=str(self.since), end=str(time.time()), step="1")
        return [float(value) for one in series["result"] for _, value in one["values"]]

    def fired(self) -> set[tuple[str, str]]:
        """The alerts that fired since Prometheus was started, and for which job."""
        samples = self.query('max_over_time(ALERTS{alertstate="firing"}[1h])')
        return {(sample["metric"]["alertname"], sample["metric"].get("job", "")) for sample in samples}
