"""Who is meant by whom: each selector of the chart finds the pods and Services that it is for, and no others. What a
NetworkPolicy lets through is decided here as Kubernetes defines it, since few test clusters enforce one."""

import yaml

import chart

# Besides what a values file says: all that selects, for peers in the release's own namespace.
AROUND = ["--set", "serviceMonitor.enabled=true", "--set", "networkPolicy.enabled=true",
          "--set-json", 'networkPolicy.callers=[{"podSelector": {"matchLabels": {"semel-client": "true"}}}]',
          "--set-json", 'networkPolicy.metrics=[{"podSelector": {"matchLabels": {"app": "prometheus"}}}]',
          "--set-json", 'networkPolicy.collector=[{"podSelector": {"matchLabels": {"app": "collector"}}}]']
CLUSTER = ["--set", "autoscaling.enabled=true", "--set-json", 'networkPolicy.database=[{"ipBlock": {"cidr": "10.0.0.0/24"}}]']

Labels = dict[str, str]


def selects(selector: Labels, labels: Labels) -> bool:
    """Of equality alone: the chart has no other. An empty one selects everything."""
    return all(labels.get(name) == value for name, value in selector.items())


class Rendered:
    """A release, as objects."""

    def __init__(self, release: str, *arguments: object):
        text = chart.must("helm", "template", release, chart.CHART, "--namespace", "shop", *arguments)
        self.objects = [item for item in yaml.safe_load_all(text) if item]

    def of(self, kind: str) -> list[dict]:
        return [item for item in self.objects if item["kind"] == kind]

    def workload(self) -> dict:
        [found] = self.of("Deployment") + self.of("StatefulSet")
        return found

    def pods(self) -> dict[str, Labels]:
        """The labels of each kind of pod, by its component."""
        every = [item["spec"]["template"]["metadata"]["labels"] for item in [self.workload(), *self.of("Job")]]
        every += [item["metadata"]["labels"] for item in self.of("Pod")]
        return {labels["app.kubernetes.io/component"]: labels for labels in every}

    def for_servers(self) -> dict[str, Labels]:
        """Selectors that are for the servers."""
        workload = self.workload()
        found = {f"Service {item['metadata']['name']}": item["spec"]["selector"] for item in self.of("Service")}
        found["workload"] = workload["spec"]["selector"]["matchLabels"]
        for item in self.of("PodDisruptionBudget"):
            found["budget"] = item["spec"]["selector"]["matchLabels"]
        for item in workload["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            found[f"spread by {item['topologyKey']}"] = item["labelSelector"]["matchLabels"]
        return found


def decided() -> int:
    """Gives how many pairs of a selector and what it might find were looked at."""
    pairs = 0
    for values in chart.MODES:
        embedded = "embedded" in values.stem
        arguments = ["--values", values, *AROUND, *([] if embedded else CLUSTER)]
        here, other = Rendered("pay", *arguments), Rendered("other", *arguments)
        pairs += of_pods(values.stem, here, other, embedded)
        pairs += of_the_network(values.stem, here, other)
        pairs += of_names(values.stem, here, other)
    return pairs


def expect(what: str, found: bool, due: bool) -> int:
    if found != due:
        raise SystemExit(f"{what}: {'it is selected' if found else 'it is not selected'}, and it should be otherwise")
    return 1


def of_pods(where: str, here: Rendered, other: Rendered, embedded: bool) -> int:
    pods = here.pods()
    if set(pods) != ({"server", "test"} if embedded else {"server", "schema", "test"}):
        raise SystemExit(f"{where}: the pods are {sorted(pods)}")
    selectors = here.for_servers()
    if len(selectors) != (3 if embedded else 6):
        raise SystemExit(f"{where}: the servers are selected by {sorted(selectors)}")
    pairs = 0
    for name, selector in selectors.items():
        for component, labels in pods.items():
            pairs += expect(f"{where}: {name}, a pod {component}", selects(selector, labels), component == "server")
        for component, labels in other.pods().items():
            pairs += expect(f"{where}: {name}, a pod {component} of another release", selects(selector, labels), False)
    return pairs


def admitted(rules: list[dict], side: str, labels: Labels, port: int) -> bool:
    """Whether a pod of the same namespace may come in, or be gone to, at a port."""
    def peer(item: dict) -> bool:
        return "podSelector" in item and selects(item["podSelector"].get("matchLabels", {}), labels)
    return any((side not in rule or any(map(peer, rule[side])))
               and ("ports" not in rule or any(item["port"] == port for item in rule["ports"])) for rule in rules)


def of_the_network(where: str, here: Rendered, other: Rendered) -> int:
    [policy] = here.of("NetworkPolicy")
    spec, pods, pairs = policy["spec"], here.pods(), 0
    for component, labels in pods.items():
        pairs += expect(f"{where}: the network policy, a pod {component}", selects(spec["podSelector"]["matchLabels"], labels), True)
    for component, labels in other.pods().items():
        pairs += expect(f"{where}: the network policy, a pod {component} of another release",
                        selects(spec["podSelector"]["matchLabels"], labels), False)
    if set(spec["policyTypes"]) != {"Ingress", "Egress"}:
        raise SystemExit(f"{where}: the network policy denies {spec['policyTypes']} alone")
    strangers = {"a stranger": {"app": "stranger"}, "a test of another release": other.pods()["test"], "a server": pods["server"]}
    comers = [("the test", pods["test"], 7400, True), ("a caller", {"semel-client": "true"}, 7400, True),
              ("a caller", {"semel-client": "true"}, 7401, False), ("Prometheus", {"app": "prometheus"}, 7401, True),
              ("Prometheus", {"app": "prometheus"}, 7400, False)]
    comers += [(name, labels, port, False) for name, labels in strangers.items() for port in (7400, 7401)]
    for name, labels, port, due in comers:
        pairs += expect(f"{where}: from {name} to {port}", admitted(spec["ingress"], "from", labels, port), due)
    goals = [("a server", pods["server"], 7400, True), ("a server", pods["server"], 7401, False),
             ("a stranger", {"app": "stranger"}, 7400, False), ("a stranger", {"app": "stranger"}, 53, False),
             ("the collector", {"app": "collector"}, 4318, True)]
    for name, labels, port, due in goals:
        pairs += expect(f"{where}: to {name} at {port}", admitted(spec["egress"], "to", labels, port), due)
    blocks = [(item["ipBlock"]["cidr"], port["port"]) for rule in spec["egress"] for item in rule.get("to", [])
              if "ipBlock" in item for port in rule.get("ports", [])]
    nodes = here.workload()["kind"] == "Deployment"
    if nodes != any(cidr == "10.0.0.0/24" for cidr, _ in blocks):
        raise SystemExit(f"{where}: the way to the database is {blocks}")
    names = [rule for rule in spec["egress"] if {"port": 53, "protocol": "UDP"} in rule.get("ports", [])]
    if len(names) != 1 or not names[0]["to"]:
        raise SystemExit(f"{where}: the way to name servers is {names}")
    return pairs + 2


def of_names(where: str, here: Rendered, other: Rendered) -> int:
    """What points at an object by its name or labels points at one that is there."""
    pairs = 0
    services = {item["metadata"]["name"]: item for item in here.of("Service")}
    [monitor] = here.of("ServiceMonitor")
    for name, item in [*services.items(), *((item["metadata"]["name"], item) for item in other.of("Service"))]:
        pairs += expect(f"{where}: the ServiceMonitor, Service {name}",
                        selects(monitor["spec"]["selector"]["matchLabels"], item["metadata"]["labels"]),
                        name == "pay-semel-headless")
    for endpoint in monitor["spec"]["endpoints"]:
        ports = {port["name"] for port in services["pay-semel-headless"]["spec"]["ports"]}
        pairs += expect(f"{where}: the port {endpoint['port']} of the ServiceMonitor", endpoint["port"] in ports, True)
    [container] = [item for item in here.workload()["spec"]["template"]["spec"]["containers"] if item["name"] == "semel"]
    named = {port["name"] for port in container["ports"]}
    for name, item in services.items():
        for port in item["spec"]["ports"]:
            pairs += expect(f"{where}: the port {port['targetPort']} of Service {name}", port["targetPort"] in named, True)
    for item in here.of("HorizontalPodAutoscaler"):
        pairs += expect(f"{where}: what the autoscaler scales", item["spec"]["scaleTargetRef"]["name"]
                        == here.workload()["metadata"]["name"], True)
    backends = [(backend["name"], "port", backend["port"]) for item in here.of("GRPCRoute") for rule in item["spec"]["rules"]
                for backend in rule["backendRefs"]]
    backends += [(path["backend"]["service"]["name"], "name", path["backend"]["service"]["port"]["name"])
                 for item in here.of("Ingress") for rule in item["spec"]["rules"] for path in rule["http"]["paths"]]
    for name, field, port in backends:
        pairs += expect(f"{where}: {name}:{port}, to which calls are routed",
                        port in [item[field] for item in services[name]["spec"]["ports"]], True)
    return pairs
