"""Readers of what test runners print: one module a runner, all of them in `registry.py`."""
