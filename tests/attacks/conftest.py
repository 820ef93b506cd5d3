"""Every attack is tried in every tier that works here, and in none, where it must succeed to count as one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.safety.sandbox import Sandbox, Tier, detect
from tests.attacks.world import World, build_world

TIERS: tuple[Tier, ...] = ("bubblewrap", "bubblewrap-no-proc", "landlock", "none")


@pytest.fixture(scope="session", params=TIERS)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox of one tier, looked for once."""
    tier: Tier = request.param
    sandbox = detect(tmp_path_factory.mktemp("repository"), tiers=(tier,))
    if sandbox.tier != tier:
        pytest.skip(f"{tier} does not work here")
    return sandbox


@pytest.fixture
def build(found: Sandbox, tmp_path: Path) -> Iterator[Callable[[str], World]]:
    """Makes worlds by name: bait, and a sandbox of one tier before it."""

    def make(repository: Path, environ: dict[str, str], config_dirs: Sequence[Path]) -> Sandbox:
        return replace(found, repository=repository.resolve(), environ=environ, config_dirs=tuple(config_dirs))

    with ExitStack() as stack:
        yield lambda name: stack.enter_context(build_world(tmp_path / name, make))


@pytest.fixture
def world(build: Callable[[str], World]) -> World:
    """One such world."""
    return build("world")
