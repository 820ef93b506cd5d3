"""`kat acp`: an editor as the front end, over the Agent Client Protocol on standard input and output."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from assistant import interrupts
from assistant.commands.opening import checked_rules, engine_from, repository_root, resumed_session, settings_from
from assistant.commands.options import Allow, DialectName, Engine, MaxSteps, Model, ProfileOption, Think
from assistant.config import Settings, state_dir
from assistant.errors import Exit, UserError

if TYPE_CHECKING:
    from assistant.agent import Agent
    from assistant.events import Notice
    from assistant.sessions import SessionSummary
    from model import engine as engines
    from model.format import ThinkRequest
    from model.prompt import Prompt

_LONGEST_MESSAGE = 64 << 20
"""Bytes of one message of an editor (our choice); files may come with it."""


def acp(
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    think: Think = None,
    profile: ProfileOption = None,
    max_steps: MaxSteps = None,
    allow: Allow = None,
) -> int:
    """Serve an editor (Zed, JetBrains, toad …) that speaks the Agent Client Protocol on standard input and output."""
    settings = settings_from(
        engine=engine, model=model, dialect=dialect, think=think, profile=profile, max_steps=max_steps
    )
    rules = checked_rules(allow)
    if sys.stdin.isatty():
        raise UserError("kat acp is started by an editor, which speaks to it on standard input; `kat` opens a terminal")
    interrupts.run(_serve(settings, rules))
    return Exit.DONE


async def _serve(settings: Settings, rules: tuple[str, ...]) -> None:
    import acp as protocol

    from assistant.protocols.acp.bridge import Bridge

    reader, writer = await _streams()
    bridge = Bridge(_Opened(settings, rules))  # leaves out what it does not announce
    try:
        await protocol.run_agent(cast("protocol.Agent", bridge), writer, reader, use_unstable_protocol=True)
    finally:
        await bridge.aclose()


async def _streams() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Standard input and output for the protocol; whatever else is printed from now on goes to standard error."""
    import acp as protocol

    ours = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    printed, sys.stdout = sys.stdout, ours
    try:
        return await protocol.stdio_streams(limit=_LONGEST_MESSAGE)
    except ValueError as error:
        raise UserError("kat acp needs pipes for standard input and output, as an editor gives it") from error
    finally:
        sys.stdout = printed


@dataclass(slots=True)
class _Opened:
    """Opens agents with the settings of the command. All have one engine."""

    settings: Settings
    rules: tuple[str, ...]
    _engine: engines.Engine | None = None

    @property
    def think(self) -> ThinkRequest:
        """The mode of the settings."""
        return self.settings.think

    async def open(self, folder: Path, session: str | None) -> tuple[Agent, Path, Sequence[Notice]]:
        """A session of a repository; `assistant.protocols.acp.bridge.Sessions` says more."""
        from assistant.opening import Place, open_pilot

        resumed, root = resumed_session(session) if session is not None else (None, repository_root(folder))
        if self._engine is None:
            self._engine = await engine_from(self.settings)
        place = Place(root, folder=folder if folder.is_relative_to(root) else root, resumed=resumed)
        pilot = await open_pilot(place, _Shared(self._engine), self.settings, allow=self.rules)
        return pilot, root, pilot.notices

    async def known(self, folder: Path | None) -> Sequence[SessionSummary]:
        """What `kat sessions list` shows."""
        from assistant.sessions import sessions_dir
        from assistant.sessions.index import listed

        root = repository_root(folder) if folder is not None else None
        return await asyncio.to_thread(listed, sessions_dir(state_dir(os.environ)), "", root)

    async def aclose(self) -> None:
        """Close the engine."""
        if self._engine is not None:
            await self._engine.aclose()


@dataclass(frozen=True, slots=True)
class _Shared:
    """An engine that several sessions use, and none of them closes."""

    engine: engines.Engine

    async def info(self) -> engines.EngineInfo:
        return await self.engine.info()

    def stream(self, prompt: Prompt, sampling: engines.Sampling) -> AsyncGenerator[engines.Delta, None]:
        return self.engine.stream(prompt, sampling)

    async def count(self, prompt: Prompt) -> int | None:
        return await self.engine.count(prompt)

    async def aclose(self) -> None:
        """The connection closes it."""
