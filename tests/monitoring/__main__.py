"""Real servers, scraped by a real Prometheus that has the shipped rules: every alert fires, every recorded series and
every query of the dashboard has an answer.

    python tests/monitoring SEMEL    with prometheus, promtool and strace on the PATH
"""

import contextlib
import json
import math
import pathlib
import sys
import tempfile

import yaml

import states
import told
from processes import Prometheus, Server, wait_until
from shortened import shortened

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "deploy/prometheus/semel.rules.yml"
DASHBOARD = ROOT / "deploy/grafana/semel.json"

# Which alert fires for which server; the last one when there is none left.
FIRING = {
    *states.DRIVEN,
    ("SemelUnresolvedKeys", "shop"),
    ("SemelAttemptsExhausted", "shop"),
    ("SemelQuotaNearlyUsed", "shop"),
    ("SemelDedupHitSpike", "shop"),
    ("SemelBeginLatencyBurnsFast", "slow"),
    ("SemelBeginLatencyBurnsSlowly", "slow"),
    ("SemelStoreUnknownOutcomes", "failing"),
    ("SemelAvailabilityBurnsFast", "failing"),
    ("SemelAvailabilityBurnsSlowly", "failing"),
}
AFTER_THE_END = ("SemelAbsent", "")
# Which must not: what they look at did not happen there.
SILENT = {
    ("SemelStoreUnknownOutcomes", "shop"),
    ("SemelLogLinesLost", "shop"),
    ("SemelAvailabilityBurnsFast", "shop"),
    ("SemelAvailabilityBurnsSlowly", "shop"),
    *((alert, job) for job in ("slow", "failing")
      for alert in ("SemelDuplicateSideEffects", "SemelTakeovers", "SemelMismatchSpike", "SemelUnresolvedKeys",
                    "SemelAttemptsExhausted", "SemelLogLinesLost")),
}


def rules(kind: str) -> list[str]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule[kind] for group in groups for rule in group["rules"] if kind in rule]


def dashboard_queries() -> dict[str, str]:
    """Each query of the dashboard as Grafana would send it with everything chosen, by what it is shown as."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    queries = {f"panel {panel['id']}, {panel['title']}, {target['refId']}": target["expr"]
               for panel in panels for target in panel.get("targets", [])}
    for variable, value in (("$__rate_interval", "8s"), ("$job", ".*"), ("$tenant", ".*")):
        queries = {title: query.replace(variable, value) for title, query in queries.items()}
    assert not [query for query in queries.values() if "$" in query], queries
    return queries


def unanswered(prometheus: Prometheus, queries: dict[str, str]) -> list[str]:
    """Those that never had a number."""
    return [f"{title}: {query}" for title, query in queries.items()
            if not any(map(math.isfinite, prometheus.values(query)))]


def drive(prometheus: Prometheus, *driven: Server) -> None:
    """Does what alerts fire at, again and again, until all of them have fired."""
    servers = {server.name: server for server in driven}
    for counter in ("semel_late_completions_total", 'semel_decisions_total{decision="mismatch",endpoint="charge"}',
                    'semel_log_lines_lost_total{job="unheard"}'):
        wait_until(f"{counter} is scraped", lambda: bool(prometheus.query(counter)))

    awaited = FIRING

    def all_fired() -> bool:
        nonlocal awaited
        missing = FIRING - prometheus.fired()
        if missing != awaited:
            print("still to fire:", ", ".join(f"{alert} of {job}" for alert, job in sorted(missing)), flush=True)
            awaited = missing
        for alert in missing & states.DRIVEN.keys():
            states.DRIVEN[alert](servers[alert[1]])
        return not missing
    wait_until("every alert has fired", all_fired)


def prove(program: pathlib.Path, directory: pathlib.Path) -> None:
    shop = Server(program, directory, "shop", states.POLICY)
    slow, failing, unheard = (Server(program, directory, name) for name in ("slow", "failing", "unheard"))
    prometheus = Prometheus(directory, shortened(RULES.read_text(encoding="utf-8")), [shop, slow, failing, unheard])
    with shop.serving():
        states.unresolved(shop)
        states.exhausted(shop)
        states.quota_used(shop)
    # Keys and quotas are counted once a minute, and at a start. A new store syncs much before it serves.
    for server in (slow, failing):
        with server.serving():
            pass
    with prometheus.running():
        with contextlib.ExitStack() as running:
            running.enter_context(shop.serving())
            # Each sync takes longer than a Begin may.
            running.enter_context(slow.serving("delay_enter=300000"))
            # After some of each thread's, no sync is done any more.
            running.enter_context(failing.serving("error=EIO:when=40+"))
            # Its log is on a disk that is full.
            running.enter_context(unheard.serving(log=pathlib.Path("/dev/full")))
            states.first_calls(shop)
            load = ("--concurrency", "8", "--work", "20ms")
            running.enter_context(shop.load(*load, "--tenant", "steady", "--rate", "10", "--wait", "2s",
                                            "--duplicates", "0.2", "--concurrent", "1"))
            for server in (slow, failing):
                running.enter_context(server.load(*load, "--rate", "10"))
            repeated = ("--tenant", "repeater", "--duplicates")
            # So many that it stays the usual rate for longer than the spike takes to be one.
            with shop.load(*load, *repeated, "0", "--rate", "100"):
                usual = 'sum(semel_decisions_total{job="shop",tenant="repeater",decision="completed"}) > 1000'
                wait_until("there is a usual rate of duplicates", lambda: bool(prometheus.query(usual)))
            running.enter_context(shop.load(*load, *repeated, "0.9", "--concurrent", "0", "--rate", "20"))
            drive(prometheus, shop, unheard)
            recorded = {name: f'{name}{{job="shop"}}' if name.startswith("job") else name for name in rules("record")}
            queries = dashboard_queries()
            missing = unanswered(prometheus, recorded) + unanswered(prometheus, queries)
        wait_until("the absence of all servers is noticed", lambda: AFTER_THE_END in prometheus.fired())
        fired = prometheus.fired()
    if missing:
        raise SystemExit("without an answer:\n" + "\n".join(missing))
    if fired & SILENT:
        raise SystemExit(f"these fired though nothing had happened: {sorted(fired & SILENT)}")
    alerts = {alert for alert, _ in FIRING | {AFTER_THE_END}}
    if alerts != set(rules("alert")):
        raise SystemExit(f"no test, or no rule: {sorted(alerts ^ set(rules('alert')))}")
    told.count("alerts_fired", len(alerts))
    told.count("recorded_series", len(recorded))
    told.count("dashboard_queries", len(queries))
    told.passed(1)


def main() -> None:
    program = pathlib.Path(sys.argv[1]).resolve()
    under = ROOT / "target" / "tmp"  # on a disk: a temporary directory may be memory, which syncs nothing
    under.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=under) as directory:
        prove(program, pathlib.Path(directory))


main()
