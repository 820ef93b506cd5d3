from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from model.catalog import CATALOG
from model.engines.embedded import EmbeddedEngine
from model.pull import pull
from tests.tiny import make_model


@pytest.fixture(scope="session")
def nano_path() -> Path:
    """The embedded model in the user's cache, fetched if it is not there."""
    return pull(CATALOG["nano"])


@pytest.fixture
async def nano(nano_path: Path) -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(nano_path, context=2048, threads=1)  # two wait long for each other beside other tests
    yield engine
    await engine.aclose()


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of random numbers, as transformers saves it."""
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A path short enough for a Unix socket."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="kat") as folder:
        yield Path(folder) / "s"
