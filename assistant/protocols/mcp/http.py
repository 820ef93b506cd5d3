"""The way to an MCP server over HTTP: no reply may be endless."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from assistant.servers import McpServer

_MOST = 64 << 20
"""Bytes of one reply, or of one stream of events (our choice)."""
_CONNECT = 10.0
_SILENCE = 300.0
"""Seconds to reach the server, and without a byte from it; calls have shorter limits of their own."""


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        taken = 0
        async for chunk in self._stream:
            taken += len(chunk)
            if taken > _MOST:
                raise httpx2.ReadError(f"the server sent more than {_MOST >> 20} MiB")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Bounded(response.stream)
        return response


def client_for(server: McpServer) -> httpx2.AsyncClient:
    """A client with the server's headers. Takes nothing from the environment, neither proxies nor passwords."""
    return httpx2.AsyncClient(
        headers=dict(server.headers),
        timeout=httpx2.Timeout(_CONNECT, read=_SILENCE),
        transport=_BoundedTransport(),
        trust_env=False,
    )
