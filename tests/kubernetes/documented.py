"""What docs/OPERATIONS.md says to do on Kubernetes, done as it says: its commands and files are taken from the text, and only
names that a reader would replace are replaced."""

import json
import pathlib
import re

import kubernetes
from kubernetes import Failed, Release, kubectl, must, wait_until

NAME = "semel"
MANUAL = kubernetes.ROOT / "docs/OPERATIONS.md"


def blocks(heading: str, language: str = "sh") -> list[str]:
    """The blocks below a heading, up to the next one."""
    text = MANUAL.read_text(encoding="utf-8")
    part = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)[1]
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", part, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


class Reader:
    """Somebody who does what is written, in a directory with a certificate and a password."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        self.ran = 0
        directory.mkdir()
        kubernetes.certificate(directory, f"{NAME}.{NAME}.svc", f"{NAME}-headless.{NAME}.svc")
        for name, made in (("server.pem", "tls.crt"), ("server-key.pem", "tls.key"), ("ca.pem", "ca.crt")):
            (directory / made).rename(directory / name)
        (directory / "password").write_text("a password", encoding="utf-8")
        (directory / "helm").symlink_to(kubernetes.ROOT / "helm")
        (directory / "semel").symlink_to(kubernetes.SEMEL)

    def has_an_operator(self) -> None:
        """Begins a credentials file, to which the text adds a caller."""
        file = self.directory / "credentials.toml"
        file.unlink(missing_ok=True)
        said = must(kubernetes.SEMEL, "token", "create", "--name", "ann", "--tenant", "acme", "--role", "operator",
                    "--file", file, "--output", "json")
        (self.directory / "operator-token").write_text(json.loads(said)["token"], encoding="utf-8")

    def does(self, block: str) -> None:
        must("bash", "-euo", "pipefail", "-c", f'PATH=$PWD:$PATH\n{block}', cwd=self.directory)
        self.ran += 1

    def writes(self, values: str, **replaced: str) -> None:
        for name, value in {"registry.example/semel}": "localhost/semel, tag: test}", **replaced}.items():
            if name not in values:
                raise Failed(f"the values of {MANUAL.name} have no '{name}':\n{values}")
            values = values.replace(name, value)
        (self.directory / "values.yaml").write_text(values, encoding="utf-8")

    def takes(self, tag: str) -> None:
        """Another image, which an upgrade is to bring."""
        file = self.directory / "values.yaml"
        file.write_text(re.sub("tag: [a-z]+", f"tag: {tag}", file.read_text(encoding="utf-8")), encoding="utf-8")


def run(database: str) -> dict[str, int]:
    _, secrets, password, install = blocks("Install")
    embedded, shared = blocks("Install", "yaml")
    reader = Reader(kubernetes.SCRATCH / "documented")
    kubernetes.volume("documented", "20Gi")
    reader.has_an_operator()
    reader.does(secrets)
    reader.writes(embedded)
    lived(reader, install, "statefulset", 1)
    kubectl("delete", "namespace", NAME, "--timeout=2m")

    reader.has_an_operator()
    reader.does(secrets)
    reader.does(password)
    common = "\n".join(line for line in embedded.splitlines() if not line.startswith("persistence"))
    reader.writes(f"{common}\n{shared}", **{"scylla-0.scylla, scylla-1.scylla": database, "dc1,": "datacenter1,",
                                            "{dc1: 3}": "{datacenter1: 1}"})
    lived(reader, install, "deployment", 3)
    kubectl("delete", "namespace", NAME, "--timeout=2m")
    return {"kubernetes_documented_blocks": reader.ran}


def lived(reader: Reader, install: str, kind: str, servers: int) -> None:
    """A release from its installation to its end, by the text."""
    [commands], [upgrade], [back] = blocks("Commands"), blocks("Upgrade"), blocks("Roll back")
    uninstall, rest = blocks("Uninstall")
    reader.does(install)
    release = Release(NAME, is_there=True)
    images(release, servers, "test")
    reader.does(commands.replace("deploy/semel", f"{kind}/semel"))
    if kind == "statefulset":
        restored(reader)
        images(release, servers, "test")
    reader.takes("next")
    reader.does(upgrade.replace("deployment/semel", f"{kind}/semel"))
    images(release, servers, "next")
    reader.does(back.replace("semel REVISION", "semel 1"))
    images(release, servers, "test")
    reader.does(uninstall)
    reader.does("\n".join(line for line in rest.splitlines() if kind == "statefulset" or "pvc" not in line))
    mine = {"secret/semel-credentials", "secret/semel-test", "secret/semel-tls", "secret/semel-database"}
    wait_until("nothing of the release is left", lambda: kubernetes.everything(NAME) <= mine)


def restored(reader: Reader) -> None:
    heading = "Backup and restore of mode `embedded`"
    [manifest] = blocks(heading, "yaml")
    (reader.directory / "restore.yaml").write_text(manifest.replace("registry.example/semel:0.1.0", "localhost/semel:test"),
                                                   encoding="utf-8")
    for block in blocks(heading):
        reader.does(block)
    values = reader.directory / "values.yaml"
    values.write_text(values.read_text(encoding="utf-8").replace("size: 20Gi", "size: 20Gi, directory: restored"), encoding="utf-8")


def images(release: Release, servers: int, tag: str) -> None:
    """All that are to run are ready, with this image."""
    wait_until(f"{servers} servers of semel:{tag}", lambda: release.is_rolled_out() and release.ready() == servers and all(
        pod["spec"]["containers"][0]["image"] == f"localhost/semel:{tag}" for pod in release.servers()))
