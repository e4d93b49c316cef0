"""The chart on a real Kubernetes of one node: in both modes, upgraded under a load that checks every answer, rolled
back, drained, scaled and taken away again. What counts is pods that are ready, never that helm was content.

    tools/kubernetes/cluster … tests/kubernetes SEMEL CRDS SCRATCH
"""

import pathlib
import signal
import sys

import cassandra
import cluster_mode
import documented
import embedded_mode
import kubernetes
import told


def ended(_number: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def main() -> None:
    # What was started is ended in order.
    signal.signal(signal.SIGTERM, ended)
    semel, crds, scratch = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
    kubernetes.SEMEL = semel
    kubernetes.SCRATCH = scratch
    kubernetes.kubectl("apply", "--server-side", "--filename", crds)
    scenarios = {}
    with cassandra.node(scratch) as database:
        scenarios |= embedded_mode.run()
        scenarios |= cluster_mode.run(database)
        scenarios |= documented.run(database)
    for name, value in scenarios.items():
        told.count(name, value)
    told.passed(len(scenarios))


main()
