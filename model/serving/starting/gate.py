"""A gate before vLLM's server: its own key guards only some paths, this one all but the sign of life.

`vllm serve --middleware model.serving.starting.gate.Gate`; the key is the one in VLLM_API_KEY. It imports
nothing but the standard library, since it runs in vLLM's environment.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

OPEN = frozenset({"/health", "/ping"})
"""What tells nothing but that the server lives."""
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Gate:
    """ASGI middleware that lets requests pass which have the key; the others get 401.

    Raises:
        RuntimeError: there is no key: the server must not start without one.
    """

    def __init__(self, app: App, environ: Mapping[str, str] = os.environ) -> None:
        if not environ.get("VLLM_API_KEY"):
            raise RuntimeError("the gate needs a key in VLLM_API_KEY")
        self._app = app
        self._wanted = f"Bearer {environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN or self._has_key(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]})
            await send({"type": "http.response.body", "body": b'{"error": {"message": "a key is missing"}}'})

    def _has_key(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._wanted)
