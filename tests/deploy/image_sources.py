"""What the image is built from: all that Cargo needs of the sources is let in."""

import json
import pathlib
import shutil
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def manifests_read(directory: pathlib.Path) -> int:
    """How many packages Cargo reads, with what .containerignore lets in alone."""
    lines = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line.removeprefix("!") for line in lines if line.startswith("!")]
    sources = directory / "sources"
    files = subprocess.run(["git", "ls-files", "-z", "--", *let_in], cwd=ROOT, check=True, capture_output=True, text=True)
    for file in filter(None, files.stdout.split("\0")):
        (sources / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, sources / file)
    read = subprocess.run(["cargo", "metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"],
                          cwd=sources, capture_output=True, text=True)
    if read.returncode:
        raise SystemExit(f"the image cannot be built from what .containerignore lets in:\n{read.stderr}")
    packages = json.loads(read.stdout)["packages"]
    # A build looks for every target that a manifest names, also for those that it does not build.
    named = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    named = {target["name"] for kind in ("test", "bench") for target in named.get(kind, [])}
    there = {target["name"] for package in packages for target in package["targets"]}
    if named - there:
        raise SystemExit(f".containerignore keeps out what Cargo.toml names, so the image cannot be built: {sorted(named - there)}")
    return len(packages)
