"""The agent's side of the Agent Client Protocol: sessions, their modes, and messages."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from acp import PROTOCOL_VERSION, RequestError
from acp.helpers import update_available_commands
from acp.interfaces import Client
from acp.schema import (
    AgentCapabilities,
    CloseSessionResponse,
    Implementation,
    InitializeResponse,
    ListSessionsResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PromptCapabilities,
    PromptResponse,
    ResumeSessionResponse,
    SessionCapabilities,
    SessionCloseCapabilities,
    SessionInfo,
    SessionListCapabilities,
    SessionMode,
    SessionModeState,
    SessionResumeCapabilities,
    SetSessionModeResponse,
)

from assistant import __version__
from assistant.agent import Agent
from assistant.errors import UserError
from assistant.events import Notice
from assistant.protocols.acp.content import Block, message_of, words_of
from assistant.protocols.acp.conversation import Conversation
from assistant.protocols.acp.slash import available, events_of, message_for
from assistant.safety.sanitize import sanitize
from assistant.sessions import SessionSummary
from model.engine import EngineError
from model.format import ThinkRequest

T = TypeVar("T")

_MODES = [
    SessionMode(id=ThinkRequest.AUTO, name="Auto", description="The model judges at each step whether to think"),
    SessionMode(id=ThinkRequest.ON, name="Think", description="Think at every step"),
    SessionMode(id=ThinkRequest.OFF, name="Direct", description="Answer without thinking"),
]
_NO_SERVERS = Notice("info", "The editor's MCP servers are left out; kat uses those that its own settings name.")
_PAGE = 50
"""Sessions that one page of a list has (our choice)."""
_INVALID, _NOT_FOUND, _INTERNAL = -32602, -32002, -32603


class Sessions(Protocol):
    """Where agents come from."""

    @property
    def think(self) -> ThinkRequest:
        """The mode that sessions begin with."""

    async def open(self, folder: Path, session: str | None) -> tuple[Agent, Path, Sequence[Notice]]:
        """An agent for the repository that `folder` lies in, or for a session that goes on; its root, and notices.

        Raises:
            UserError: there is no such repository or session.
            EngineError: the engine does not answer.
        """

    async def known(self, folder: Path | None) -> Sequence[SessionSummary]:
        """The sessions of this machine, or of one repository, the latest first. Raises `UserError`."""

    async def aclose(self) -> None:
        """Let go of what the agents share."""


class Bridge:
    """Implements `acp.Agent`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._open: dict[str, Conversation] = {}
        self._editor: Client | None = None
        self._later: set[asyncio.Task[None]] = set()

    def on_connect(self, conn: Client) -> None:
        """The editor is there."""
        self._editor = conn

    async def initialize(self, protocol_version: int, **_: Any) -> InitializeResponse:
        """Say what we can do. Pictures, sound and servers of the editor's are not among it."""
        return InitializeResponse(
            protocol_version=min(protocol_version, PROTOCOL_VERSION),
            agent_info=Implementation(name="kat-pilot", title="KAT Pilot", version=__version__),
            agent_capabilities=AgentCapabilities(
                load_session=True,
                prompt_capabilities=PromptCapabilities(embedded_context=True, image=False, audio=False),
                session_capabilities=SessionCapabilities(
                    list=SessionListCapabilities(),
                    resume=SessionResumeCapabilities(),
                    close=SessionCloseCapabilities(),
                ),
            ),
            auth_methods=[],
        )

    async def authenticate(self, method_id: str, **_: Any) -> None:
        """There is nothing to authenticate with."""
        raise RequestError(_INVALID, "kat needs no authentication; a key for the engine goes into KAT_API_KEY")

    async def new_session(self, cwd: str, mcp_servers: Sequence[Any] | None = None, **_: Any) -> NewSessionResponse:
        """A new session in the repository that `cwd` lies in."""
        conversation = await self._opened(cwd, None, mcp_servers)
        return NewSessionResponse(session_id=conversation.agent.session, modes=_modes(conversation.think))

    async def load_session(
        self, cwd: str, session_id: str, mcp_servers: Sequence[Any] | None = None, **_: Any
    ) -> LoadSessionResponse:
        """Go on with a session, and show it again."""
        conversation = await self._opened(cwd, session_id, mcp_servers, replayed=True)
        for event in conversation.agent.history:
            await conversation.tell(event)
        return LoadSessionResponse(modes=_modes(conversation.think))

    async def resume_session(
        self, session_id: str, cwd: str, mcp_servers: Sequence[Any] | None = None, **_: Any
    ) -> ResumeSessionResponse:
        """Go on with a session, without showing it again."""
        conversation = await self._opened(cwd, session_id, mcp_servers)
        return ResumeSessionResponse(modes=_modes(conversation.think))

    async def list_sessions(self, cwd: str | None = None, cursor: str | None = None, **_: Any) -> ListSessionsResponse:
        """A page of the sessions that could go on; the cursor is the last id of the page before."""
        rows = await _answered(self._sessions.known(Path(cwd) if cwd else None))
        rest = [row for row in rows if cursor is None or row.id < cursor]
        shown = rest[:_PAGE]
        following = shown[-1].id if len(rest) > _PAGE else None
        return ListSessionsResponse(sessions=[_info(row) for row in shown], next_cursor=following)

    async def close_session(self, session_id: str, **_: Any) -> CloseSessionResponse:
        """End a session here; it can be loaded again."""
        await self._conversation(session_id).aclose()
        del self._open[session_id]
        return CloseSessionResponse()

    async def set_session_mode(self, session_id: str, mode_id: str, **_: Any) -> SetSessionModeResponse:
        """Whether to think, from the next message on."""
        if mode_id not in [mode.id for mode in _MODES]:
            raise RequestError(_INVALID, f"there is no mode {sanitize(mode_id)!r}; there are auto, on and off")
        self._conversation(session_id).think = ThinkRequest(mode_id)
        return SetSessionModeResponse()

    async def prompt(self, session_id: str, prompt: Sequence[Block], **_: Any) -> PromptResponse:
        """Answer a message, or do what it commands."""
        conversation = self._conversation(session_id)
        try:
            text = message_of(prompt, conversation.root)
            commanded = events_of(conversation.agent, text)
            if commanded is not None:
                return await conversation.command(commanded)
            return await conversation.prompt(message_for(text), words_of(prompt))
        except UserError as error:
            _refuse(error)

    async def cancel(self, session_id: str, **_: Any) -> None:
        """Stop what a session does."""
        if session_id in self._open:
            self._open[session_id].stop()

    async def aclose(self) -> None:
        """The editor has gone: end all sessions."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*(conversation.aclose() for conversation in self._open.values()), return_exceptions=True)
        self._open.clear()
        await self._sessions.aclose()

    async def _opened(
        self, cwd: str, session: str | None, servers: Sequence[Any] | None, *, replayed: bool = False
    ) -> Conversation:
        if not Path(cwd).is_absolute():
            raise RequestError(_INVALID, f"the folder {sanitize(cwd)!r} is not an absolute path")
        if self._editor is None:
            raise RequestError(_INTERNAL, "nobody is connected")
        if session in self._open:
            await self.close_session(session)
        agent, root, notices = await _answered(self._sessions.open(Path(cwd), session))
        conversation = Conversation(agent, root, self._sessions.think, self._editor)
        self._open[agent.session] = conversation
        left_out = (_NO_SERVERS,) if servers else ()
        self._after_response(self._introduce(conversation, (*left_out, *(() if replayed else notices))))
        return conversation

    async def _introduce(self, conversation: Conversation, notices: Sequence[Notice]) -> None:
        await conversation.update(update_available_commands(available()))
        for notice in notices:
            await conversation.tell(notice)

    def _after_response(self, work: Coroutine[Any, Any, None]) -> None:
        """An editor knows a session only once it has read the response, which the library writes right after us."""
        task = asyncio.ensure_future(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _conversation(self, session: str) -> Conversation:
        if session not in self._open:
            raise RequestError(_NOT_FOUND, f"the session {sanitize(session)!r} is not open; load it first")
        return self._open[session]


async def _answered(work: Coroutine[Any, Any, T]) -> T:
    """What a request asks for; what a person can mend is its error."""
    try:
        return await work
    except (UserError, EngineError) as error:
        _refuse(error)


def _refuse(error: UserError | EngineError) -> NoReturn:
    code = _INVALID if isinstance(error, UserError) else _INTERNAL
    raise RequestError(code, sanitize(str(error))) from error


def _modes(think: ThinkRequest) -> SessionModeState:
    return SessionModeState(current_mode_id=think, available_modes=_MODES)


def _info(row: SessionSummary) -> SessionInfo:
    return SessionInfo(
        session_id=row.id, cwd=row.repository, title=sanitize(row.name or row.first_words), updated_at=row.last
    )
