"""The command and the scripted server, as in the end-to-end tests."""

from tests.e2e.conftest import kat, serve

__all__ = ["kat", "serve"]
