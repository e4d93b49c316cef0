"""What is rendered: linted, and held against the schemas of Kubernetes' newest minor versions and of the CRDs."""

import json
import os
import pathlib
import re

import yaml

import chart


def versions() -> list[str]:
    """The three newest minor versions of which there are schemas, as "1.37.0"."""
    folders = pathlib.Path(os.environ["SEMEL_KUBERNETES_SCHEMAS"]).glob("v*-local-strict")
    found = sorted((tuple(map(int, re.findall(r"\d+", folder.name)[:3])) for folder in folders), reverse=True)
    if len(found) < 3:
        raise SystemExit(f"there are schemas of {found} alone, and three versions are due")
    return [".".join(map(str, version)) for version in found[:3]]


def valid(directory: pathlib.Path) -> int:
    """Lints and checks every mode; gives how many objects were valid."""
    schemas = os.environ["SEMEL_KUBERNETES_SCHEMAS"]
    custom = crd_schemas(directory / "crds")
    objects = 0
    for values in chart.MODES:
        for version in versions():
            chart.must("helm", "lint", "--strict", chart.CHART, "--values", values, "--kube-version", version)
            shown = directory / f"{values.stem}-{version}.yaml"
            shown.write_text(chart.rendered("--values", values, "--kube-version", version), encoding="utf-8")
            summary = json.loads(chart.must(
                "kubeconform", "-strict", "-summary", "-output", "json", "-kubernetes-version", version,
                "-schema-location",
                schemas + "/{{.NormalizedKubernetesVersion}}-local{{.StrictSuffix}}/{{.ResourceKind}}{{.KindSuffix}}.json",
                "-schema-location", f"{custom}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json", shown))["summary"]
            due = sum(document is not None for document in yaml.safe_load_all(shown.read_text(encoding="utf-8")))
            if summary["valid"] != due or summary["skipped"]:
                raise SystemExit(f"{shown.name}: {due} objects, of which kubeconform says {summary}")
            objects += due
    rules_and_dashboard_are_those_of_deploy()
    return objects


def crd_schemas(directory: pathlib.Path) -> pathlib.Path:
    """The schemas of custom resources as kubeconform reads them, made of their definitions."""
    directory.mkdir()
    for file in sorted(pathlib.Path(os.environ["SEMEL_CRDS"]).glob("*.yaml")):
        for definition in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if not definition or definition["kind"] != "CustomResourceDefinition":
                continue
            kind = definition["spec"]["names"]["kind"].lower()
            for version in definition["spec"]["versions"]:
                schema = closed(version["schema"]["openAPIV3Schema"])
                schema["properties"].update({"apiVersion": {"type": "string"}, "kind": {"type": "string"}})
                (directory / f"{kind}_{version['name']}.json").write_text(json.dumps(schema), encoding="utf-8")
    return directory


def closed(schema: dict) -> dict:
    """The same, refusing what it does not name, as the API server does in strict mode."""
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {name: closed(of) for name, of in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    if isinstance(schema.get("items"), dict):
        schema["items"] = closed(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = closed(schema["additionalProperties"])
    if "metadata" in schema.get("properties", {}):
        schema["properties"]["metadata"] = {"type": "object"}
    return schema


def rules_and_dashboard_are_those_of_deploy() -> None:
    shown = chart.rendered("--values", chart.CHART / "ci/embedded-values.yaml",
                           "--set", "prometheusRule.enabled=true", "--set", "dashboard.enabled=true")
    documents = [document for document in yaml.safe_load_all(shown) if document]
    rule = next(document for document in documents if document["kind"] == "PrometheusRule")
    rules = yaml.safe_load((chart.ROOT / "deploy/prometheus/semel.rules.yml").read_text(encoding="utf-8"))
    dashboard = next(document for document in documents if document["metadata"]["name"].endswith("-dashboard"))
    if rule["spec"] != rules:
        raise SystemExit("the PrometheusRule is not what deploy/prometheus has")
    if json.loads(dashboard["data"]["semel.json"]) != json.loads(
            (chart.ROOT / "deploy/grafana/semel.json").read_text(encoding="utf-8")):
        raise SystemExit("the dashboard's ConfigMap is not what deploy/grafana has")


def pod_annotations(*arguments: str | pathlib.Path) -> dict[str, str]:
    shown = chart.rendered("--values", chart.CHART / "ci/embedded-secured-values.yaml", *arguments)
    server = next(document for document in yaml.safe_load_all(shown) if document and document["kind"] == "StatefulSet")
    return server["spec"]["template"]["metadata"]["annotations"]


def checksums(_: pathlib.Path) -> int:
    """A change of what servers read at their start changes their pods, and nothing else does; gives the cases."""
    before = pod_annotations()
    cases = [
        (["--set", "config.max_waiters=7"], {"checksum/settings"}),
        (["--set", "policy.defaults.lease=2m"], {"checksum/policy"}),
        (["--set", "auth.credentials.tokens[0].name=other"], {"checksum/credentials"}),
        (["--set", "restartOnChange=false"], {"checksum/policy", "checksum/credentials"}),
        (["--set", "service.port=7500"], set()),
    ]
    for arguments, due in cases:
        after = pod_annotations(*arguments)
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        if changed != due:
            raise SystemExit(f"{arguments} changes {sorted(changed)} of a pod's annotations, not {sorted(due)}")
    return len(cases)
