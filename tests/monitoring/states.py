"""What real servers are driven into, each by the command line, so that an alert has something to fire at."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from processes import Server

# The endpoint ask/* holds a lost attempt for an operator, one/* allows a single attempt, few/* two open
# keys.
POLICY = """
[[rule]]
endpoint = "ask/*"
on_lost_lease = "mark_unknown"

[[rule]]
endpoint = "one/*"
max_attempts = 1

[[rule]]
endpoint = "few/*"
max_open_keys = 2
"""

SHOP = ("--tenant", "shop")
numbers = count()


def new_key() -> str:
    return f"order-{next(numbers)}"


def at_once(server: Server, times: int, drive: Callable[[Server], None]) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(drive, server) for _ in range(times)]:
            done.result()


def begin(server: Server, endpoint: str, key: str, *more: str, status: int = 0) -> tuple[str, ...]:
    """Begins, and gives the flags that the owner's commands take."""
    of = (*SHOP, "--endpoint", endpoint, "--key", key)
    said = server.call("begin", *of, *more, status=status)
    return (*of, "--fence", str(said.get("fence", 0)), "--attempt-id", said.get("attempt_id", ""))


def unresolved(server: Server) -> None:
    server.call("abort", *begin(server, "ask/charge", new_key()), "--unknown")


def exhausted(server: Server) -> None:
    server.call("abort", *begin(server, "one/charge", new_key()), "--release")


def quota_used(server: Server) -> None:
    for _ in range(2):
        begin(server, "few/charge", new_key())


def first_calls(server: Server) -> None:
    """Has every series that later grows: an increase needs a zero before it."""
    begin(server, "charge", new_key())


def take_over(server: Server) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """A key whose owner is lost, and another one's: the key, and both owners' flags."""
    key = new_key()
    lost = begin(server, "charge", key, "--lease", "200ms")
    return key, lost, begin(server, "charge", key, "--wait", "20s")


def takeover(server: Server) -> None:
    _, _, owner = take_over(server)
    server.call("complete", *owner)


def late_completion(server: Server) -> None:
    _, lost, owner = take_over(server)
    server.call("complete", *lost, status=106)
    server.call("complete", *owner)


def mismatch(server: Server) -> None:
    key = new_key()
    begin(server, "charge", key, "--fingerprint", "aa" * 32)
    begin(server, "charge", key, "--fingerprint", "bb" * 32, status=105)


def replayed_failures(server: Server) -> None:
    key = new_key()
    server.call("complete", *begin(server, "charge", key), "--failure")
    at_once(server, 12, lambda server: begin(server, "charge", key, status=101))


def forgotten(server: Server) -> None:
    """An operator's call, which the audit log has a line of."""
    key = new_key()
    *_, fence, _, _ = begin(server, "charge", key)
    server.call("forget", *SHOP, "--endpoint", "charge", "--key", key, "--fence", fence, "--force")


# What to do until each alert fires, for the server of that name. Load and injected errors do the rest.
DRIVEN: dict[tuple[str, str], Callable[[Server], None]] = {
    ("SemelDuplicateSideEffects", "shop"): late_completion,
    ("SemelTakeovers", "shop"): lambda server: at_once(server, 6, takeover),
    ("SemelMismatchSpike", "shop"): lambda server: at_once(server, 6, mismatch),
    ("SemelReplayedFailures", "shop"): replayed_failures,
    ("SemelLogLinesLost", "unheard"): forgotten,
}
