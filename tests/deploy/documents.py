"""What is written about the chart: the table of its values is made from them, and leaves none out."""

import pathlib
import shutil

import chart


def current(directory: pathlib.Path) -> int:
    """Gives how many values README.md describes."""
    copy = directory / "semel"
    shutil.copytree(chart.CHART, copy)
    chart.must("helm-docs", "--chart-search-root", copy, "--template-files", "README.md.gotmpl", "--output-file", "README.md",
               "--sort-values-order", "file", "--skip-version-footer", cwd=copy)
    made, kept = (folder.joinpath("README.md").read_text(encoding="utf-8") for folder in (copy, chart.CHART))
    if made != kept:
        raise SystemExit("helm/semel/README.md is not what helm-docs writes: run tools/charts/readme")
    rows = [line for line in kept.splitlines() if line.startswith("| ") and not line.startswith("| Key")]
    bare = [line for line in rows if line.rstrip().endswith("|  |")]
    if bare:
        raise SystemExit("values without a description:\n" + "\n".join(bare))
    return len(rows)
