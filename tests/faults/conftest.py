"""The command and the scripted server, as in the end-to-end tests."""

from tests.e2e.conftest import forks, kat, serve

__all__ = ["forks", "kat", "serve"]
