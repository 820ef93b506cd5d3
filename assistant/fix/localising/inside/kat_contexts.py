"""A plugin of pytest's that says which test is running."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from assistant.fix.localising.inside.sitecustomize import Watch

_WATCH: Watch | None = getattr(sys.modules.get("sitecustomize"), "WATCH", None)
if _WATCH is not None:
    _WATCH.by_plugin = True
# Programs that tests start may not see this folder; those that do name the plugin again.
_OTHERS = [name for name in os.environ.get("PYTEST_PLUGINS", "").split(",") if name not in ("", __name__)]
if _OTHERS:
    os.environ["PYTEST_PLUGINS"] = ",".join(_OTHERS)
else:
    os.environ.pop("PYTEST_PLUGINS", None)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: Any) -> Iterator[None]:
    """All that a test runs is its own,"""
    if _WATCH is None:
        yield
        return
    with _WATCH.test(item.nodeid):
        yield


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: Any) -> Iterator[None]:
    """How it comes out is kept, for the command may not say it,"""
    outcome: Any = yield
    if _WATCH is not None and outcome.get_result().failed:
        _WATCH.failed.add(item.nodeid)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: Any) -> Iterator[None]:
    """but for what is made once for several tests."""
    if _WATCH is None or fixturedef.scope == "function":
        yield
        return
    with _WATCH.shared():
        yield
