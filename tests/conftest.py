"""For all tests: `python` on the PATH is an interpreter, and one process from which `kat` is forked.

How fast examples are drawn says nothing on a machine that others use too.

Where `python` is the shim of a version manager, a shell script and some twenty programs run before each start of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.e2e.forking import Forks

_BIN = str(Path(sys.base_prefix, "bin"))
_PATH = os.environ.get("PATH", os.defpath).split(os.pathsep)
if _PATH[0] != _BIN:
    os.environ["PATH"] = os.pathsep.join([_BIN, *_PATH])
settings.register_profile("shared", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """For all tests of a worker, wherever they stand: it takes seconds to start."""
    made = Forks(Path(__file__).parents[1])
    yield made
    made.close()
