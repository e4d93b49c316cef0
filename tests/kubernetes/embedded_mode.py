"""One server with a volume, encrypted and with credentials: installed, tested, killed, and still knowing everything."""

import base64
import json
import pathlib
import re
import subprocess

import kubernetes
from kubernetes import Failed, Release, get, kubectl, must, wait_until

NAME = "semel-vault"
OPERATIONS = 20


def run() -> dict[str, int]:
    release = Release(NAME)
    kubernetes.volume("one", "8Gi")
    scratch = kubernetes.SCRATCH / "embedded"
    scratch.mkdir()
    secrets(release, scratch)
    values = ["--values", kubernetes.ROOT / "tests/kubernetes/embedded-values.yaml",
              "--set", f"auth.credentials.tokens[0].sha256={token_hash(scratch)}"]
    said = release.put(*values)
    release.tested()
    access = ["--server", f"https://{NAME}.{NAME}.svc:7400", "--tls-ca", scratch / "ca.crt", "--token-file", scratch / "token",
              "--tenant", "acme", "--timeout", "60s"]
    calls_of_the_notes(said, scratch)
    for number in range(OPERATIONS):
        once(access, number, status=0)
    release.kill()
    replayed = sum(replays(access, number) for number in range(OPERATIONS))
    lose_the_pod(release)
    replayed += sum(replays(access, number) for number in range(OPERATIONS))
    reloads(release, values, access)
    restored(release, values)
    again = sum(replays(access, number) for number in range(OPERATIONS))
    taken_away(release)
    return {"kubernetes_replays_after_kills": replayed, "kubernetes_replays_after_a_restore": again}


def secrets(release: Release, scratch: pathlib.Path) -> None:
    """A certificate of an authority of its own, and a token."""
    kubernetes.certificate(scratch, NAME, f"{NAME}.{NAME}.svc", f"{NAME}-headless.{NAME}.svc")
    in_namespace = ("--namespace", release.namespace)
    kubectl("create", "secret", "generic", "certificate", *in_namespace, "--type", "kubernetes.io/tls",
            *(f"--from-file={name}={scratch / name}" for name in ("tls.crt", "tls.key", "ca.crt")))
    said = must(kubernetes.SEMEL, "token", "create", "--name", "caller", "--tenant", "*", "--role", "client", "--role",
                "reader", "--file", scratch / "credentials.toml", "--output", "json")
    (scratch / "token").write_text(json.loads(said)["token"], encoding="utf-8")
    kubectl("create", "secret", "generic", "caller", *in_namespace, f"--from-file=token={scratch / 'token'}")


def token_hash(scratch: pathlib.Path) -> str:
    return re.search(r'sha256 = "([0-9a-f]{64})"', (scratch / "credentials.toml").read_text(encoding="utf-8"))[1]


def calls_of_the_notes(said: str, scratch: pathlib.Path) -> None:
    """The first call of NOTES.txt, as it is printed: it runs, and its repetition is replayed."""
    lines = [line.strip() for line in said.splitlines() if line.strip().startswith("kubectl exec")]
    if len(lines) != 2:
        raise Failed(f"NOTES.txt shows {len(lines)} calls, not two:\n{said}")
    (scratch / "token.txt").write_text((scratch / "token").read_text(encoding="utf-8"), encoding="utf-8")
    # Whoever has more tenants than one names which.
    first, second = (must("bash", "-c", line.replace(" once ", " once --tenant acme "), cwd=scratch) for line in lines)
    if first != second or not first.startswith("semel "):
        raise Failed(f"the calls of NOTES.txt printed {first!r} and {second!r}")


def once(access: list, number: int, status: int) -> str:
    command = ["echo", str(number)] if status == 0 else ["false"]
    return must(kubernetes.SEMEL, "once", *access, "--endpoint", "test/Run", "--key", f"operation-{number}", "--",
                *command, status=status)


def replays(access: list, number: int) -> int:
    """The stored output, by a command that would not print it."""
    said = must(kubernetes.SEMEL, "once", *access, "--endpoint", "test/Run", "--key", f"operation-{number}", "--", "false")
    if said != f"{number}\n":
        raise Failed(f"operation {number} was not replayed: {said!r}")
    return 1


def lose_the_pod(release: Release) -> None:
    before = release.servers()[0]["metadata"]["uid"]
    kubectl("delete", "pod", f"{NAME}-0", "--namespace", release.namespace, "--grace-period=0", "--force")

    def another() -> bool:
        pods = release.servers()
        return len(pods) == 1 and pods[0]["metadata"]["uid"] != before and kubernetes.is_ready(pods[0])
    wait_until("another pod takes the volume over", another)


def reloads(release: Release, values: list, access: list) -> None:
    """A policy reaches the server that runs, without a restart."""
    before = release.servers()[0]["metadata"]["uid"]
    release.put(*values, "--set", "policy.defaults.max_attempts=7")

    def told() -> bool:
        log = kubectl("logs", f"{NAME}-0", "--namespace", release.namespace)
        return "the policy file has changed and is in force" in log
    wait_until("the server reads its new policy", told)
    if release.servers()[0]["metadata"]["uid"] != before:
        raise Failed("a change of the policy replaced the server")


def restored(release: Release, values: list) -> None:
    """As docs/OPERATIONS.md has it: a backup of the server that runs, which a pod makes a new store of."""
    backup = kubernetes.SCRATCH / "semel.backup"
    in_namespace = ("--namespace", release.namespace)
    with backup.open("wb") as file:
        subprocess.run(["kubectl", "exec", *in_namespace, f"{NAME}-0", "--", "semel", "backup", "--data-dir",
                        "/var/lib/semel/data", "--to", "-"], stdout=file, check=True, timeout=kubernetes.AT_MOST_SECONDS)
    kubectl("scale", *in_namespace, f"statefulset/{NAME}", "--replicas=0")
    wait_until("no server runs", lambda: not release.servers())
    text = (kubernetes.ROOT / "docs/OPERATIONS.md").read_text(encoding="utf-8")
    manifest = next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "semel-restore" in block)
    manifest = manifest.replace("registry.example/semel:0.1.0", "localhost/semel:test").replace(
        "namespace: semel", f"namespace: {release.namespace}").replace("data-semel-0", f"data-{NAME}-0")
    must("kubectl", "apply", "--filename", "-", stdin=None, input=manifest)
    kubectl("wait", "pod/semel-restore", *in_namespace, "--for=condition=Ready", "--timeout=2m")
    with backup.open("rb") as file:
        must("kubectl", "attach", "--stdin", *in_namespace, "semel-restore", stdin=file)
    wait_until("the pod has restored", lambda: get("pod", "semel-restore", *in_namespace)["status"]["phase"] == "Succeeded")
    kubectl("delete", "pod", "semel-restore", *in_namespace)
    release.put(*values, "--set", "persistence.directory=restored")


def taken_away(release: Release) -> None:
    """Nothing stays but the records, and what was there before."""
    made_here = {"secret/certificate", "secret/caller"}
    must("helm", "uninstall", release.name, "--namespace", release.namespace, "--wait", "--timeout", "2m")
    claim = {f"persistentvolumeclaim/data-{NAME}-0"}
    wait_until("everything but the claim is gone",
               lambda: kubernetes.everything(release.namespace) - made_here == claim)
    kubectl("delete", *claim, "--namespace", release.namespace)
