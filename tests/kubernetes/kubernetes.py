"""kubectl, helm and semel as the tests call them, and what is asked of the cluster."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "helm/semel"
NODE = os.environ["SEMEL_NODE_ADDRESS"]
SEMEL = SCRATCH = pathlib.Path()
# A bound for what hangs, not a measure of speed.
AT_MOST_SECONDS = 300
# Completed by a load at least, before what it is there for, and after it.
OPERATIONS = 100
# semel's commands read variables of their own, and Kubernetes' address is none of them.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SEMEL_")}


class Failed(SystemExit):
    """A test that did not see what it had to."""


def run(*command: str | pathlib.Path, **options) -> subprocess.CompletedProcess:
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, env=ENVIRONMENT,
                          timeout=2 * AT_MOST_SECONDS, **options)


def must(*command: str | pathlib.Path, status: int = 0, **options) -> str:
    done = run(*command, **options)
    if done.returncode != status:
        words = " ".join(str(word) for word in command)
        raise Failed(f"{words}\nended with {done.returncode}, not {status}:\n{done.stdout}{done.stderr}{trouble()}")
    return done.stdout


def kubectl(*arguments: str | pathlib.Path, status: int = 0) -> str:
    return must("kubectl", *arguments, status=status)


def get(*arguments: str) -> dict:
    return json.loads(kubectl("get", *arguments, "--output", "json"))


def trouble() -> str:
    """What a person would look at next."""
    pods = run("kubectl", "get", "pods", "--all-namespaces", "--output", "wide").stdout
    events = run("kubectl", "get", "events", "--all-namespaces", "--sort-by", ".lastTimestamp").stdout
    logs = run("kubectl", "logs", "--all-namespaces", "--selector", "app.kubernetes.io/name=semel", "--tail", "15",
               "--all-containers", "--prefix").stdout
    return f"\n{pods}\n" + "\n".join(events.splitlines()[-30:]) + f"\n{logs}"


def wait_until(what: str, done: Callable[[], bool]) -> None:
    until = time.monotonic() + AT_MOST_SECONDS
    while not done():
        if time.monotonic() > until:
            raise Failed(f"this did not come about within {AT_MOST_SECONDS} s: {what}{trouble()}")
        time.sleep(0.3)


class Release:
    """A release in a namespace of its own, which enforces Pod Security restricted."""

    def __init__(self, name: str, is_there: bool = False):
        self.name = self.namespace = name
        if is_there:
            return
        kubectl("create", "namespace", name)
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted",
                "pod-security.kubernetes.io/enforce-version=latest")

    def helm(self, verb: str, *arguments: str | pathlib.Path) -> subprocess.CompletedProcess:
        return run("helm", verb, self.name, *arguments, "--namespace", self.namespace)

    def put(self, *arguments: str | pathlib.Path) -> str:
        """Installs or upgrades, and waits for servers that are ready, all of them of the newest version: by its own look
        at them, and not by helm's."""
        done = self.helm("upgrade", CHART, "--install", "--timeout", "5m", *arguments)
        if done.returncode:
            raise Failed(f"helm upgrade {arguments} ended with {done.returncode}:\n{done.stderr}{trouble()}")
        wait_until(f"every server of {self.name} is new and ready", self.is_rolled_out)
        return done.stdout

    def workload(self) -> dict:
        kinds = get("statefulsets,deployments", "--namespace", self.namespace)["items"]
        if len(kinds) != 1:
            raise Failed(f"{len(kinds)} workloads in {self.namespace}, not one")
        return kinds[0]

    def is_rolled_out(self) -> bool:
        workload = self.workload()
        status, wanted = workload["status"], workload["spec"]["replicas"]
        seen = status.get("observedGeneration") == workload["metadata"]["generation"]
        image = workload["spec"]["template"]["spec"]["containers"][0]["image"]
        servers = self.servers()
        return (seen and status.get("updatedReplicas") == wanted == status.get("readyReplicas") == len(servers)
                and all(is_ready(pod) and pod["spec"]["containers"][0]["image"] == image for pod in servers))

    def pods(self, component: str = "server") -> list[dict]:
        return get("pods", "--namespace", self.namespace, "--selector",
                   f"app.kubernetes.io/component={component}")["items"]

    def servers(self) -> list[dict]:
        return self.pods()

    def ready(self) -> int:
        return sum(map(is_ready, self.servers()))

    def tested(self) -> None:
        """`helm test`, and that what it did is there."""
        done = self.helm("test", "--timeout", "3m")
        if done.returncode or "Phase:" not in done.stdout or "Succeeded" not in done.stdout:
            raise Failed(f"helm test ended with {done.returncode}:\n{done.stdout}{done.stderr}{trouble()}")

    def address(self) -> str:
        """Where callers reach it: the Service, by its address, so that the load asks for no name at each connection."""
        service = get("service", self.name, "--namespace", self.namespace)
        return f"http://{service['spec']['clusterIP']}:7400"

    def kill(self) -> None:
        """SIGKILL for every server, from the node, as the kernel does it when memory is out: the kubelet starts others."""
        pods = self.servers()
        before = {pod["metadata"]["uid"]: restarts(pod) for pod in pods}
        tasks = must("ctr", "--address", SCRATCH.parent / "node/containerd.sock", "--namespace", "k8s.io", "tasks", "ls")
        processes = {line.split()[0]: int(line.split()[1]) for line in tasks.splitlines()[1:]}
        for pod in pods:
            container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
            os.kill(processes[container], signal.SIGKILL)
        wait_until(f"the kubelet starts the servers of {self.name} again", lambda: all(
            is_ready(pod) and restarts(pod) > before[pod["metadata"]["uid"]] for pod in self.servers()))


def volume(name: str, size: str) -> None:
    """A volume on the node, which a claim may have."""
    directory = SCRATCH / f"volume-{name}"
    directory.mkdir()
    manifest = {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "local": {"path": str(directory)},
                 "persistentVolumeReclaimPolicy": "Retain", "nodeAffinity": {"required": {"nodeSelectorTerms": [
                     {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}]}}},
    }
    must("kubectl", "apply", "--filename", "-", stdin=None, input=json.dumps(manifest))


def certificate(directory: pathlib.Path, *names: str) -> None:
    """tls.crt and tls.key for some names, by an authority of its own, ca.crt."""
    alternatives = ",".join(f"DNS:{name}" for name in names)
    must("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
         "-subj", "/CN=authority", "-keyout", directory / "ca.key", "-out", directory / "ca.crt")
    must("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
         "-subj", "/CN=semel", "-addext", f"subjectAltName={alternatives}", "-addext", "basicConstraints=critical,CA:FALSE",
         "-CA", directory / "ca.crt", "-CAkey", directory / "ca.key", "-keyout", directory / "tls.key", "-out", directory / "tls.crt")


def is_ready(pod: dict) -> bool:
    conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions", [])}
    return "deletionTimestamp" not in pod["metadata"] and conditions.get("Ready") == "True"


def restarts(pod: dict) -> int:
    return pod["status"]["containerStatuses"][0]["restartCount"]


class Load:
    """`semel bench` until it is told to stop, and what it then says. It knows one address: of several, it would send a call
    whose connection broke to another, and none would fail. It has many connections, so that each server has some."""

    def __init__(self, server: str):
        command = [SEMEL, "bench", "--server", server, "--duration", "1h", "--concurrency", "16", "--connections", "16",
                   "--rate", "50", "--timeout", "25s", "--max-violations", "100000", "--progress", "--output", "json"]
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        self.said: list[str] = []
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr))
        self.reader.start()

    def completed(self) -> int:
        """How many operations so far, by what it says each second."""
        if self.process.poll() is not None:
            raise Failed(f"the load ended with {self.process.returncode}:\n{''.join(self.said)}{trouble()}")
        found = re.findall(r" (\d+) lifecycles ", "".join(self.said[-3:]))
        return int(found[-1]) if found else 0

    def more(self, operations: int) -> None:
        due = self.completed() + operations
        wait_until(f"{operations} more operations", lambda: self.completed() >= due)

    def stopped(self) -> dict:
        self.process.send_signal(signal.SIGINT)
        out = self.process.stdout.read()
        self.process.wait(AT_MOST_SECONDS)
        self.reader.join()
        if not out.strip():
            raise Failed(f"the load said nothing, and ended with {self.process.returncode}:\n{''.join(self.said)}")
        return json.loads(out)


@contextlib.contextmanager
def loaded(what: str, server: str) -> Iterator[dict]:
    """Calls before, within and after the block, and then what they came to."""
    report: dict = {}
    load = Load(server)
    try:
        load.more(OPERATIONS)
        yield report
        load.more(OPERATIONS)
        report |= load.stopped()
    finally:
        load.process.kill()
    print(f"{what}: {json.dumps(report)}", flush=True)


@contextlib.contextmanager
def under_load(what: str, found: list[dict], server: str) -> Iterator[None]:
    """None of the calls fails, none is sent again that may have begun, and no promise is broken."""
    with loaded(what, server) as report:
        yield
    answers = report["answers"]
    if answers["failed"] or answers["resent"] or report["violations_found"]:
        raise Failed(f"{what}: {answers['failed']} calls failed, {answers['resent']} were sent again, and promises were "
                     f"broken: {report['violations']}{trouble()}")
    found.append(report)


def only_pods(release: Release) -> set[str]:
    return {pod["metadata"]["name"] for pod in release.servers()}


def everything(namespace: str) -> set[str]:
    """What is in a namespace, but for what Kubernetes itself puts there, and events."""
    kinds = kubectl("api-resources", "--verbs=list", "--namespaced", "--output", "name").split()
    kinds = [kind for kind in kinds if not kind.startswith(("events", "podmetrics"))]
    names = kubectl("get", ",".join(kinds), "--namespace", namespace, "--ignore-not-found", "--output", "name").split()
    return set(names) - {"configmap/kube-root-ca.crt", "serviceaccount/default"}
