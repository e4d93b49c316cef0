"""Pod Security: every pod of the chart is as `restricted` has it, its root file system is read-only, and it gets no token.
The real cluster enforces the first (tests/kubernetes); here it is seen for each container, in seconds."""

import yaml

import chart

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
VOLUMES = {"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def pods(text: str) -> list[tuple[str, dict]]:
    """Each pod's owner, and its spec."""
    objects = [item for item in yaml.safe_load_all(text) if item]
    found = [(item, item["spec"]["template"]["spec"]) for item in objects if item["kind"] in ("Deployment", "StatefulSet", "Job")]
    found += [(item, item["spec"]) for item in objects if item["kind"] == "Pod"]
    return [(f"{item['kind']} {item['metadata']['name']}", spec) for item, spec in found]


def wrong_of_pod(spec: dict) -> list[str]:
    wrong = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if spec.get("automountServiceAccountToken") is not False:
        wrong.append("a token is mounted")
    wrong += [f"the volume {volume['name']}" for volume in spec.get("volumes", []) if set(volume) - VOLUMES]
    return wrong


def wrong_of_container(spec: dict, container: dict) -> list[str]:
    own = container.get("securityContext") or {}
    both = {**(spec.get("securityContext") or {}), **own}  # a container's own goes before its pod's
    wrong = []
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        wrong.append("it may be root")
    if (both.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        wrong.append("it has no seccomp profile")
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        wrong.append("it may gain privileges")
    capabilities = own.get("capabilities") or {}
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        wrong.append("it keeps capabilities")
    if own.get("readOnlyRootFilesystem") is not True:
        wrong.append("its root file system can be written")
    if any("hostPort" in port for port in container.get("ports", [])):
        wrong.append("it takes a port of the node")
    return wrong


def each_container() -> int:
    """Gives how many containers there are, over all modes."""
    containers = 0
    for values in chart.MODES:
        found = pods(chart.rendered("--values", values))
        kinds = {name.split()[0] for name, _ in found}
        if kinds != ({"StatefulSet", "Pod"} if "embedded" in values.stem else {"Deployment", "Job", "Pod"}):
            raise SystemExit(f"{values.name}: pods of {sorted(kinds)} alone")
        for name, spec in found:
            wrong = wrong_of_pod(spec)
            for container in [*spec.get("initContainers", []), *spec["containers"]]:
                wrong += [f"{container['name']}: {what}" for what in wrong_of_container(spec, container)]
                containers += 1
            if wrong:
                raise SystemExit(f"{values.name}, {name}, is not restricted: {'; '.join(wrong)}")
    return containers
