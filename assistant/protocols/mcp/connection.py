"""One MCP server: started when it is needed, ended with the session, and never more than a sentence when it fails."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.errors import UserError
from assistant.protocols.mcp.launching import LastWords, parameters
from assistant.safety.sanitize import sanitize
from assistant.servers import McpServer

if TYPE_CHECKING:
    from mcp import Client
    from mcp.client import Transport
    from mcp_types import CallToolResult, Tool

START = 20.0
"""Seconds that a server may take to start, and again to list its tools (our choice)."""
_END = 10.0
"""Seconds that it may take to end; the library kills a program sooner."""
_PAGES = 40
_MOST_LISTED = 5_000
"""Pages and tools of a list that are read at all; a server may send more than anybody wants."""
_SHOWN = 300


class ServerFailed(Exception):
    """The server does not do what it should; the message is a part of a sentence, sanitised."""


@dataclass(slots=True)
class Connection:
    """A server and the way to it, opened by the first that needs it. `limit` is for starting, in seconds."""

    server: McpServer
    repository: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    limit: float = START
    _client: Client | None = None
    _owner: asyncio.Task[None] | None = None
    _closing: asyncio.Event = field(default_factory=asyncio.Event)
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _said: LastWords = field(default_factory=LastWords)

    async def tools(self) -> tuple[list[Tool], bool]:
        """Its tools, and whether it has still more. Raises `ServerFailed`; the server has ended then."""
        try:
            client = await self._connected()
            async with asyncio.timeout(self.limit):
                return await _listed(client)
        except TimeoutError:
            await self.aclose()
            raise ServerFailed(f"it did not list its tools within {self.limit:g} s") from None
        except ServerFailed:
            raise
        except Exception as error:
            await self.aclose()
            raise ServerFailed(f"{_reason(error)}{self._said}") from error

    async def call(self, tool: str, arguments: dict[str, Any], limit: float) -> CallToolResult:
        """What a tool gave within `limit` seconds; a server that has gone is started again. Raises `ServerFailed`."""
        client = await self._connected()
        try:
            async with asyncio.timeout(limit):
                return await client.call_tool(tool, arguments)
        except TimeoutError:
            raise ServerFailed(f"it did not answer within {limit:g} s") from None
        except Exception as error:
            if _is_lost(error):
                await self.aclose()
            raise ServerFailed(f"{_reason(error)}{self._said if _is_lost(error) else ''}") from error

    async def aclose(self) -> None:
        """End the server and all that came of it; the next call would start it again."""
        owner, self._owner, self._client = self._owner, None, None
        if owner is None:
            return
        self._closing.set()
        await asyncio.wait([owner], timeout=_END)
        if not owner.done():
            owner.cancel()
            await asyncio.wait([owner], timeout=_END)

    async def _connected(self) -> Client:
        async with self._starting:
            if self._client is None:
                self._client = await self._start()
            return self._client

    async def _start(self) -> Client:
        """Open the client in a task that closes it too, because its scopes must be left where they were entered."""
        self._closing, self._said = asyncio.Event(), LastWords()
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.ensure_future(self._own(ready, self._closing))
        try:
            async with asyncio.timeout(self.limit):
                return await asyncio.shield(ready)
        except TimeoutError:
            raise ServerFailed(f"it did not start within {self.limit:g} s{self._said}") from None
        except Exception as error:
            raise ServerFailed(f"{_reason(error)}{self._said}") from error
        finally:
            if not ready.done() or ready.exception():
                self._owner.cancel()
                await asyncio.wait([self._owner], timeout=_END)
                self._owner = None

    async def _own(self, ready: asyncio.Future[Client], closing: asyncio.Event) -> None:
        try:
            async with AsyncExitStack() as stack:
                client = await self._opened(stack)
                ready.set_result(client)
                await closing.wait()
        except Exception as error:  # noqa: BLE001 - whatever a server breaks, whoever waits for it is told
            if not ready.done():
                ready.set_exception(error)

    async def _opened(self, stack: AsyncExitStack) -> Client:
        await asyncio.to_thread(import_module, "mcp")  # takes a second, in which a screen should not stand still
        from mcp import Client

        transport = await (self._to_address(stack) if self.server.url else self._to_program(stack))
        return await stack.enter_async_context(Client(transport, cache=None))

    async def _to_address(self, stack: AsyncExitStack) -> Transport:
        from mcp.client.streamable_http import streamable_http_client

        from assistant.protocols.mcp.http import client_for

        client = await stack.enter_async_context(client_for(self.server))
        return streamable_http_client(self.server.url, http_client=client)

    async def _to_program(self, stack: AsyncExitStack) -> Transport:
        from mcp.client.stdio import stdio_client

        program = parameters(self.server, self.repository, self.environ)
        reading, writing = await self._said.listen()
        stack.callback(reading.close)
        stack.callback(writing.close)
        return stdio_client(program, errlog=writing)


async def _listed(client: Client) -> tuple[list[Tool], bool]:
    found: list[Tool] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None or len(found) > _MOST_LISTED:
            break
    return found[:_MOST_LISTED], cursor is not None or len(found) > _MOST_LISTED


def _reason(error: BaseException) -> str:
    """Why it failed, as a part of a sentence; of several errors at once the first."""
    from mcp import MCPError

    match error:
        case BaseExceptionGroup():
            return _reason(error.exceptions[0])
        case UserError():
            said = str(error)
        case MCPError() if _is_lost(error):
            said = "it has gone"
        case MCPError():
            said = error.message
        case _:
            said = f"{type(error).__name__}: {error}"
    return sanitize(" ".join(said[:_SHOWN].split()))


def _is_lost(error: BaseException) -> bool:
    """Whether the way to the server is gone, rather than one call."""
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED

    return not isinstance(error, MCPError) or error.code == CONNECTION_CLOSED
