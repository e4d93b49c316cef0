"""Many servers on one database: installed with its schema, upgraded, rolled back, drained and scaled under load, and
taken away."""

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator

import kubernetes
from kubernetes import Failed, Release, get, kubectl, must, only_pods, run as try_to, under_load, wait_until

NAME = "semel-fleet"


def run(database: str) -> dict[str, int]:
    release = Release(NAME)
    before = kubernetes.everything(NAME)
    values = ["--values", kubernetes.ROOT / "tests/kubernetes/cluster-values.yaml", "--set", f"database.nodes={{{database}}}"]
    release.put(*values)
    if release.ready() != 3:
        raise Failed(f"{release.ready()} servers are ready, not three")
    schema_is_there(database)
    release.tested()
    server = release.address()
    a_load_can_fail(release, server)
    reports: list[dict] = []
    upgraded(release, values, server, reports)
    current = [*values, "--set", "image.tag=next"]
    rolled_back(release, current, server, reports)
    drained(release, server, reports)
    scaled(release, current)
    admitted(release, [*current, "--set", "autoscaling.enabled=true"])
    taken_away(release, before)
    lifecycles = sum(report["answers"]["completed"] for report in reports)
    return {"kubernetes_lifecycles": lifecycles, "kubernetes_loads": len(reports)}


def schema_is_there(database: str) -> None:
    said = must(kubernetes.SEMEL, "schema", "check", "--scylla-nodes", database, "--output", "json")
    if json.loads(said)["keyspace"] != "semel":
        raise Failed(f"the Job made another schema: {said}")


def a_load_can_fail(release: Release, server: str) -> None:
    """Servers that are killed answer nothing: were that not seen, the loads that follow would say nothing."""
    with kubernetes.loaded("every server killed", server) as report:
        release.kill()
    if not report["answers"]["failed"]:
        raise Failed("every server was killed under load, and no call failed")


def upgraded(release: Release, values: list, server: str, reports: list[dict]) -> None:
    """Every server is replaced, and no call fails."""
    old = only_pods(release)
    with under_load("an upgrade", reports, server):
        release.put(*values, "--set", "image.tag=next")
    if only_pods(release) & old or release.ready() != 3:
        raise Failed(f"of {sorted(old)}, {sorted(only_pods(release) & old)} are left, and {release.ready()} are ready")
    release.tested()


def rolled_back(release: Release, values: list, server: str, reports: list[dict]) -> None:
    """What cannot work is taken back by helm, while the servers of before go on."""
    bad = {
        "an image that is not there": ["--set", "image.tag=nowhere", "--set", "schema.apply=false"],
        "a setting that the server refuses": ["--set", "config.log_level=loud"],
        "a Job that cannot end well": ["--set", "database.keyspace=elsewhere", "--set", "schema.replication=null"],
    }
    for what, settings in bad.items():
        before = only_pods(release)
        with under_load(what, reports, server):
            done = release.helm("upgrade", kubernetes.CHART, *values, *settings, "--rollback-on-failure", "--timeout", "30s")
            if done.returncode == 0:
                raise Failed(f"{what}: helm took it for good")
            wait_until(f"{what}: the servers of before alone", lambda: only_pods(release) == before and release.is_rolled_out())
        history = json.loads(must("helm", "history", release.name, "--namespace", release.namespace, "--output", "json"))
        if not history[-1]["description"].startswith("Rollback to"):
            raise Failed(f"{what}: the last revision is none of a rollback: {history[-1]}")


def drained(release: Release, server: str, reports: list[dict]) -> None:
    """A drain takes one server, and is held at the next one: the budget."""
    with under_load("a drain", reports, server):
        done = try_to("kubectl", "drain", "n1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=40s",
                      "--pod-selector", "app.kubernetes.io/component=server")
        if done.returncode == 0 or "disruption budget" not in done.stderr:
            raise Failed(f"the drain was not held: it ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        if release.ready() != 2:
            raise Failed(f"{release.ready()} servers are ready during the drain, not two")
        kubectl("uncordon", "n1")
        wait_until("three servers again", release.is_rolled_out)


def scaled(release: Release, values: list) -> None:
    """The autoscaler is switched on while four servers run, and takes none of them away."""
    release.put(*values, "--set", "replicaCount=4")
    with least_replicas(release) as seen:
        release.put(*values, "--set", "autoscaling.enabled=true")
        wait_until("the autoscaler has looked", lambda: any(
            item["type"] == "AbleToScale" for item in get("hpa", NAME, "--namespace", NAME)["status"].get("conditions", [])))
        # An upgrade that changes something else leaves the number to the autoscaler as well.
        release.put(*values, "--set", "autoscaling.enabled=true", "--set", "podAnnotations.more=one")
    if not seen or min(seen) < 4 or release.ready() < 4:
        raise Failed(f"with the autoscaler, replicas were {seen}, and {release.ready()} are ready")


@contextlib.contextmanager
def least_replicas(release: Release) -> Iterator[list[int]]:
    """Every number of replicas that the Deployment is told within the block."""
    seen: list[int] = []
    watch = subprocess.Popen(["kubectl", "get", "deployment", release.name, "--namespace", release.namespace, "--watch",
                              "--output", "jsonpath={.spec.replicas}{\"\\n\"}"], stdout=subprocess.PIPE, text=True)
    reader = threading.Thread(target=lambda: seen.extend(int(line) for line in watch.stdout if line.strip()))
    reader.start()
    try:
        yield seen
    finally:
        watch.terminate()
        watch.wait()
        reader.join()


def admitted(release: Release, values: list) -> None:
    """The API server takes what custom resources and policies the chart makes."""
    release.put(*values, "--values", kubernetes.ROOT / "tests/kubernetes/around-values.yaml")
    for kind in ("networkpolicy", "servicemonitor", "prometheusrule", "grpcroute", "ingress", "poddisruptionbudget"):
        get(kind, release.name, "--namespace", release.namespace)
    get("configmap", f"{release.name}-dashboard", "--namespace", release.namespace)
    release.tested()


def taken_away(release: Release, before: set[str]) -> None:
    must("helm", "uninstall", release.name, "--namespace", release.namespace, "--wait", "--timeout", "2m")
    wait_until("nothing is left", lambda: kubernetes.everything(release.namespace) == before)
