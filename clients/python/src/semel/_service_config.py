"""How gRPC itself sends again, as near as its service config gets to what this library does."""

import importlib.resources


def service_config() -> str:
    """Give the JSON, for generated stubs alone: `options=[("grpc.service_config", service_config())]`."""
    return importlib.resources.files("semel").joinpath("service_config.json").read_text(encoding="utf-8")
