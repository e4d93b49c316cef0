"""The rules by themselves: promtool accepts them, each alert fires in one of its cases at least, and stays silent in
another, and the dashboard is what its script writes.

    python tests/monitoring/cases.py    with promtool on the PATH
"""

import pathlib
import subprocess
import sys

import yaml

import told

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "deploy/prometheus/semel.rules.yml"
CASES = sorted((ROOT / "deploy/prometheus").glob("*.test.yml"))
WRITER, DASHBOARD = ROOT / "deploy/grafana/dashboard.py", ROOT / "deploy/grafana/semel.json"


def main() -> None:
    subprocess.run(["promtool", "check", "rules", RULES], check=True)
    subprocess.run(["promtool", "test", "rules", *CASES], check=True)
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    cases = [case for path in CASES for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
             for case in test.get("alert_rule_test", [])]
    for what, fires in (("fires", True), ("stays silent", False)):
        shown = {case["alertname"] for case in cases if bool(case["exp_alerts"]) is fires}
        if shown != alerts:
            raise SystemExit(f"no case in which it {what}, or no such alert: {sorted(shown ^ alerts)}")
    written = subprocess.run([sys.executable, WRITER], check=True, capture_output=True, text=True).stdout
    if written != DASHBOARD.read_text(encoding="utf-8"):
        raise SystemExit(f"{DASHBOARD.relative_to(ROOT)} is not what {WRITER.relative_to(ROOT)} writes: run it again")
    told.count("rules", sum(len(group["rules"]) for group in groups))
    told.count("alert_cases", len(cases))
    told.passed(len(cases) + 1)


main()
