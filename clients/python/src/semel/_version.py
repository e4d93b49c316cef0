"""The version of this library, and of the server released with it."""

__version__ = "0.1.0"
