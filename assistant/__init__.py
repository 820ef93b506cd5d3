"""The agent: steps, tools, workspace, safety, sessions, fixing, and the `kat` command."""

__version__ = "0.1.0"
