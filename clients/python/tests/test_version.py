"""One version number for the server and its packages."""

from __future__ import annotations

import pathlib
import re
import tomllib

import semel

ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_the_version_is_that_of_the_server_and_of_the_go_module():
    server = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
    go = re.search(r'Version = "([^"]+)"', (ROOT / "clients/go/version.go").read_text(encoding="utf-8"))
    assert go is not None
    assert semel.__version__ == server == go[1]


def test_every_package_has_the_licence():
    whole = (ROOT / "LICENSE").read_text(encoding="utf-8")
    for language in ("go", "java", "python", "rust", "typescript"):
        assert (ROOT / "clients" / language / "LICENSE").read_text(encoding="utf-8") == whole
