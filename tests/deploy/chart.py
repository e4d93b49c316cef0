"""The chart, and the programs that read it."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "helm/semel"
# A values file for each mode, the least and the most of it.
MODES = sorted((CHART / "ci").glob("*-values.yaml"))


def run(*command: str | pathlib.Path, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=300)


def must(*command: str | pathlib.Path, cwd: pathlib.Path = ROOT) -> str:
    done = run(*command, cwd=cwd)
    if done.returncode:
        words = " ".join(str(word) for word in command)
        raise SystemExit(f"{words}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def template(*arguments: str | pathlib.Path) -> subprocess.CompletedProcess:
    """Renders the chart for a release."""
    return run("helm", "template", "pay", CHART, "--namespace", "shop", *arguments)


def rendered(*arguments: str | pathlib.Path) -> str:
    done = template(*arguments)
    if done.returncode:
        raise SystemExit(f"helm template {arguments} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def unit_tests() -> int:
    """Runs the chart's own tests; gives how many there are."""
    said = must("helm-unittest", "--strict", CHART)
    found = re.search(r"Tests:\s+(\d+) passed, (\d+) total", said)
    if not found or found[1] != found[2]:
        raise SystemExit(f"helm-unittest did not say that all passed:\n{said}")
    return int(found[1])
