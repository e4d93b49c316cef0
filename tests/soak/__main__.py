"""Hours of mixed load on real servers, with something going wrong at random moments, and a look at what they hold on to.

    python tests/soak SEMEL HOURS    with tests/monitoring on PYTHONPATH

SEMEL_SOAK_RATE is how many callers a second come to the first server (default 120; a third of it to the second), and
SEMEL_SOAK_SEED what the moments are drawn from.
"""

import contextlib
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

import told
import watch
from load import POLICY, Callers
from nemeses import Steady, Struck
from processes import Server, wait_until

SAMPLE_EVERY_SECONDS = 5
# Seconds between two strikes, on average; of a short run, so that it meets some of each.
STRIKE_EVERY_SECONDS, STRIKE_EVERY_SECONDS_OF_A_SHORT_RUN = 20, 2
REPLAYED_AT_THE_END = 300
# The connection that asks for the metrics, and its task.
OF_LOOKING = 1


class Run:
    """What goes on at the same time, until the time is over or one of it fails."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.stop = threading.Event()
        self.pool = ThreadPoolExecutor(32)
        self.going: list[Future] = []

    def start(self, work, *arguments) -> None:
        self.going.append(self.pool.submit(work, *arguments))

    def every(self, seconds: float, dice: random.Random, work) -> None:
        def rounds() -> None:
            while not self.stop.wait(dice.uniform(0, 2 * seconds)):
                work()
        self.start(rounds)

    def to_its_end(self) -> None:
        done, _ = wait(self.going, self.seconds, FIRST_EXCEPTION)
        self.stop.set()
        self.pool.shutdown()
        for one in [*done, *self.going]:
            one.result()


def load(run: Run, callers: Callers, rate: float) -> None:
    """Every kind of caller, of which `rate` come in a second, and some by hand."""
    of = {share: f"{max(rate * share, 1):.0f}" for share in (0.1, 0.2, 0.6)}
    run.start(callers.mixed, of[0.6])
    run.start(callers.waiting, of[0.2])
    run.start(callers.rounds, 0, callers.coming_and_going, of[0.1])
    run.start(callers.rounds, 3, callers.killed, of[0.1])
    run.start(callers.rounds, 2, callers.lost)
    run.start(callers.rounds, 3, callers.unknown)
    run.start(callers.rounds, 3, callers.once, callers.server.directory)
    run.start(callers.rounds, 10, callers.listing)


def soak(program: pathlib.Path, hours: float, seed: int, rate: float, directory: pathlib.Path) -> None:
    dice = random.Random(seed)
    run = Run(hours * 3600)
    policy = POLICY.format(lease=30, retention=24)
    steady_server, struck_server = (Server(program, directory, name, policy) for name in ("steady", "struck"))
    callers = [Callers(server, run.stop, dice.getrandbits(32)) for server in (steady_server, struck_server)]
    with contextlib.ExitStack() as lives:
        process = lives.enter_context(steady_server.serving())
        steady = Steady(steady_server, process, random.Random(dice.getrandbits(32)))
        struck = Struck(struck_server, random.Random(dice.getrandbits(32)))
        lives.callback(struck.life.close)
        started = time.monotonic()
        at_rest = watch.sample(steady_server, process.pid, started)
        samples: list[watch.Sample] = []
        run.every(SAMPLE_EVERY_SECONDS / 2, dice,
                  lambda: samples.append(watch.sample(steady_server, process.pid, started)))
        often = STRIKE_EVERY_SECONDS if run.seconds >= watch.JUDGED_FROM_SECONDS else STRIKE_EVERY_SECONDS_OF_A_SHORT_RUN
        run.every(often, steady.dice, steady.strike)
        run.every(often, struck.dice, struck.strike)
        for each, share in zip(callers, (1, 1 / 3)):
            load(run, each, rate * share)
        run.to_its_end()

        parts = watch.quarters(samples)
        print(watch.table(parts))
        grown = watch.growth(parts) if run.seconds >= watch.JUDGED_FROM_SECONDS else []

        def given_back() -> bool:
            now = watch.sample(steady_server, process.pid, started)
            return now.tasks <= at_rest.tasks + OF_LOOKING and now.sockets <= at_rest.sockets + OF_LOOKING
        wait_until(f"nobody calls, and tasks are {at_rest.tasks} and sockets {at_rest.sockets} again", given_back)
        process.send_signal(signal.SIGTERM)
        if process.wait(120) != 0:
            raise SystemExit(f"the server that was watched ended with {process.returncode} after SIGTERM")

    replayed = 0
    for each in callers:
        with each.server.serving():
            replayed += each.replayed(REPLAYED_AT_THE_END)
    if grown:
        raise SystemExit("it holds on to more and more:\n" + "\n".join(grown))
    tell(callers, steady.met + struck.met, samples, replayed)


def tell(callers: list[Callers], struck: Counter[str], samples: list[watch.Sample], replayed: int) -> None:
    met = sum((each.met for each in callers), Counter())
    for name in ("lifecycles", "replays", "resent", "renewals", "aborts", "connections", "killed_callers", "takeovers",
                 "fenced", "resolved", "once", "listings"):
        told.count(f"soak_{name}", met[name])
    for name in ("standstills", "policies", "backups", "kills", "restarts"):
        told.count(f"soak_{name}", struck[name])
    told.count("soak_samples", len(samples))
    told.count("soak_replayed_at_the_end", replayed)
    told.passed(1)


def main() -> None:
    program, hours = pathlib.Path(sys.argv[1]).resolve(), float(sys.argv[2])
    seed = int(os.environ.get("SEMEL_SOAK_SEED") or random.getrandbits(32))
    rate = float(os.environ.get("SEMEL_SOAK_RATE") or 120)
    print(f"{hours} hours, {rate:.0f} callers a second to the first server, SEMEL_SOAK_SEED={seed}")
    with tempfile.TemporaryDirectory(prefix="semel-soak-") as directory:
        soak(program, hours, seed, rate, pathlib.Path(directory))


main()
