"""For the tests of those who use semel: a fake without a server, and a real server."""

from semel.testing.fake import Call, Decision, Fake
from semel.testing.server import Server

__all__ = ["Call", "Decision", "Fake", "Server"]
