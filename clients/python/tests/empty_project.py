"""A project that has nothing but the package: it runs a work once on a real server, and again."""

import importlib.metadata
import sys

import semel
from semel.testing import Server

with Server() as server, semel.Client(semel.Options(address=server.address)) as client:
    outcomes = [client.once("payments/Charge", "order-42", {"amount": 1250}, lambda _: "ch_1") for _ in range(2)]
assert [(outcome.value, outcome.replayed) for outcome in outcomes] == [("ch_1", False), ("ch_1", True)], outcomes

files = [str(file) for file in importlib.metadata.files("semel") or ()]
assert any(file.endswith("LICENSE") for file in files), files
assert any(file.endswith("py.typed") for file in files), files
assert importlib.metadata.version("semel") == semel.__version__
print(f"{sys.argv[1]} works in an empty project")
