"""The tools of a session: ours, and behind them those of other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from assistant.config import Settings
from assistant.tools.base import Tool
from assistant.tools.registry import Profile, read_call, specs
from model.format import ToolCall
from model.prompt import ToolSpec


class ToolSource(Protocol):
    """Tools that are not ours, and are known only while a session runs."""

    async def start(self) -> Sequence[str]:
        """Learn which tools there are; a second call does nothing. What went wrong, a sentence each."""

    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools, always in the same order once `start` has ended."""

    def read(self, call: ToolCall) -> Tool | None:
        """The tool with its arguments, None where it is not one of these. Raises `ToolError`."""

    async def aclose(self) -> None:
        """Let go of what stands behind them."""


class NoSource:
    """No tools but ours."""

    async def start(self) -> Sequence[str]:
        """Nothing to learn."""
        return ()

    def specs(self) -> tuple[ToolSpec, ...]:
        """None."""
        return ()

    def read(self, call: ToolCall) -> Tool | None:
        """Not one of these."""
        return None

    async def aclose(self) -> None:
        """Nothing to let go of."""


class NoRoom(NoSource):
    """Servers are there, and no room in the prompt for what they offer."""

    async def start(self) -> Sequence[str]:
        """Says so."""
        return ("The tools of MCP servers are left out: the compact profile has no room for them.",)


NO_SOURCE = NoSource()


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools that a session offers and understands. `network`: the user's settings let our tools reach it."""

    profile: Profile
    network: bool = False
    others: ToolSource = NO_SOURCE

    async def start(self) -> Sequence[str]:
        """Make the tools of other programs known, before the first prompt. What went wrong, in sentences."""
        return await self.others.start()

    def specs(self) -> tuple[ToolSpec, ...]:
        """What prompts offer: ours first, so that their text stays the same whatever other programs do."""
        return (*specs(self.profile, network=self.network), *self.others.specs())

    def read(self, call: ToolCall) -> Tool:
        """The tool with its arguments. Raises `ToolError` that says what is wrong and what would be right."""
        found = self.others.read(call) if call.error is None else None
        return found or read_call(call)

    async def aclose(self) -> None:
        """End the other programs."""
        await self.others.aclose()


def toolbox_for(settings: Settings, profile: Profile, repository: Path, environ: Mapping[str, str]) -> Toolbox:
    """The tools of a session that works in `repository`. No server is started before `Toolbox.start`."""
    return Toolbox(profile, settings.sandbox_network, _others(settings, profile, repository, environ))


def _others(settings: Settings, profile: Profile, repository: Path, environ: Mapping[str, str]) -> ToolSource:
    if not settings.mcp:
        return NO_SOURCE
    if profile == "compact":
        return NoRoom()
    from assistant.protocols.mcp.tools import McpTools

    return McpTools.of(settings.mcp, repository, environ)
