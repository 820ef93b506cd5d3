"""What the interface knows of other sessions in this folder, and of the prompts that have a name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from assistant.agent import AgentFactory
from assistant.errors import UserError

if TYPE_CHECKING:
    from assistant.ledger import Ledger
    from assistant.sessions import SessionSummary


class NamedPrompt(Protocol):
    """A message kept under a name."""

    @property
    def description(self) -> str:
        """What it is for, in a line."""

    def message(self, arguments: str = "") -> str:
        """The message with these arguments. Raises `UserError` where there is none."""


class Shelf(Protocol):
    """Where sessions and prompts lie. All of it reads files, so the interface calls it in a thread."""

    def prompts(self) -> Mapping[str, NamedPrompt]:
        """The prompts by their names."""

    def search(self, words: str) -> Sequence[SessionSummary]:
        """The sessions of this folder that have these words, the latest first. Raises `UserError`, `OSError`."""

    def reopen(self, session: str) -> AgentFactory:
        """Opens a session again. Raises `UserError` where it cannot go on."""

    def ledger(self, session: str) -> Ledger:
        """What thinking cost in a session, and what it saved. Raises `UserError`, `OSError`."""


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

    def _directory(self) -> Path:
        from assistant.config import state_dir
        from assistant.sessions import sessions_dir

        return sessions_dir(state_dir(self._environ))
