"""What the interface knows besides the session: others in this folder, prompts with a name, the engine's server."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from assistant.agent import AgentFactory
from assistant.errors import UserError

if TYPE_CHECKING:
    from assistant.doctor.finding import Finding
    from assistant.ledger import Ledger
    from assistant.sessions import SessionSummary
    from model.engine import EngineInfo
    from model.serving.metrics import ServerMetrics


class NamedPrompt(Protocol):
    """A message kept under a name."""

    @property
    def description(self) -> str:
        """What it is for, in a line."""

    def message(self, arguments: str = "") -> str:
        """The message with these arguments. Raises `UserError` where there is none."""


class Shelf(Protocol):
    """Where sessions and prompts lie. What reads files is called in a thread; the engine is asked over HTTP."""

    def prompts(self) -> Mapping[str, NamedPrompt]:
        """The prompts by their names."""

    def search(self, words: str) -> Sequence[SessionSummary]:
        """The sessions of this folder that have these words, the latest first. Raises `UserError`, `OSError`."""

    def reopen(self, session: str) -> AgentFactory:
        """Opens a session again. Raises `UserError` where it cannot go on."""

    def ledger(self, session: str) -> Ledger:
        """What thinking cost in a session, and what it saved. Raises `UserError`, `OSError`."""

    def readings(self, engine: EngineInfo) -> AsyncGenerator[ServerMetrics, None]:
        """What the engine's server counts, every two seconds; nothing where there is none, or it does not say."""

    def findings(self, engine: EngineInfo) -> AsyncGenerator[Finding, None]:
        """What a quick examination of the engine finds."""


class NoShelf:
    """For an interface that keeps nothing."""

    def prompts(self) -> Mapping[str, NamedPrompt]:
        """None."""
        return {}

    def search(self, words: str) -> Sequence[SessionSummary]:
        """None."""
        return ()

    def reopen(self, session: str) -> AgentFactory:
        """None."""
        raise UserError("no sessions are kept here")

    def ledger(self, session: str) -> Ledger:
        """None."""
        raise UserError("no sessions are kept here")

    async def readings(self, engine: EngineInfo) -> AsyncGenerator[ServerMetrics, None]:
        """None."""
        return
        yield

    async def findings(self, engine: EngineInfo) -> AsyncGenerator[Finding, None]:
        """None."""
        return
        yield


class FolderShelf:
    """The sessions of one repository. `factory` opens the session of a journal."""

    def __init__(
        self, root: Path, factory: Callable[[Path], AgentFactory], environ: Mapping[str, str] = os.environ
    ) -> None:
        self._root = root
        self._factory = factory
        self._environ = environ

    def prompts(self) -> Mapping[str, NamedPrompt]:
        """Ours and the user's own."""
        from assistant.slash import slash_prompts

        return slash_prompts(self._environ)

    def search(self, words: str) -> Sequence[SessionSummary]:
        """The sessions of this repository that have all these words."""
        from assistant.sessions.index import listed

        return listed(self._directory(), words, self._root)

    def reopen(self, session: str) -> AgentFactory:
        """Opens a session of this repository again, unless it is open elsewhere."""
        from assistant.commands.opening import resumed_session

        path, _ = resumed_session(session, self._root)
        return self._factory(path)

    def ledger(self, session: str) -> Ledger:
        """Added up from the journal."""
        from assistant.ledger import ledger
        from assistant.sessions import find, read

        return ledger(session, read(find(self._directory(), session)))

    def readings(self, engine: EngineInfo) -> AsyncGenerator[ServerMetrics, None]:
        """Over connections of their own."""
        from assistant.doctor.live import readings

        return readings(engine, self._environ)

    def findings(self, engine: EngineInfo) -> AsyncGenerator[Finding, None]:
        """By asking the engine; its replies do not enter the session."""
        from assistant.doctor.live import findings

        return findings(engine, self._environ)

    def _directory(self) -> Path:
        from assistant.config import state_dir
        from assistant.sessions import sessions_dir

        return sessions_dir(state_dir(self._environ))
