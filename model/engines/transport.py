"""HTTP to an engine: where it is, who may wait how long, what is tried again, and what errors mean in words."""

from __future__ import annotations

import asyncio
import email.utils
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from model.engine import SILENCE, EngineError, EngineRefused, EngineUnreachable
from model.sse import SseDecoder
from model.surrogates import replace_surrogates

LONGEST_WAIT = 30.0
"""Seconds that a Retry-After may ask for at most; our choice."""
_RETRIED = frozenset({408, 429, 500, 502, 503, 504, 529})
_CONNECT_SECONDS = 10.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})


class StreamBroken(Exception):
    """A stream ended where it should not have; the message is one sentence."""


class NotServed(EngineRefused):
    """The server does not know the path (404 or 405)."""


class NotUnderstood(EngineRefused):
    """The server does not take what the request asks (400 and its kind)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait: `silence` seconds without a byte, `retries` more attempts, the first after `backoff` s."""

    silence: float = SILENCE
    retries: int = 4
    backoff: float = 0.5
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Transport:
    """A server at `http://host:port`, with or without `/v1`, or at `unix:/path`.

    Raises `EngineUnreachable` and `EngineRefused` with sentences that name the address.
    """

    def __init__(self, address: str, api_key: str | None, patience: Patience) -> None:
        self.name = address
        self._patience = patience
        self._has_key = bool(api_key)
        self._client = _client(address, api_key, patience)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def get_json(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`, in one attempt."""
        try:
            response = await self._client.get(path)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        return self._object(response, path)

    async def get_text(self, path: str) -> str:
        """The text at `path`, in one attempt; what is no UTF-8 in it becomes U+FFFD."""
        try:
            response = await self._client.get(path)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        return self._text(response, path)

    async def post_json(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that answers a POST, in one attempt."""
        try:
            response = await self._client.send(self._request(path, body))
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        return self._object(response, path)

    async def post_text(self, path: str, body: Mapping[str, Any]) -> str:
        """The text that answers a POST, in one attempt; what is no UTF-8 in it becomes U+FFFD."""
        try:
            response = await self._client.send(self._request(path, body))
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        return self._text(response, path)

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON objects of an event stream, without the `[DONE]`, which ends it.

        Raises `EngineError` before the first object, and `StreamBroken` after it.
        """
        started = False
        try:
            async with self._opened(path, body) as response, aclosing(_payloads(response)) as payloads:
                async for payload in payloads:
                    event = self._event(payload)
                    started = True
                    yield event
        except httpx2.HTTPError as error:
            raise (StreamBroken(self._broken(error)) if started else self._unreachable(error)) from error
        except StreamBroken as error:
            if started:
                raise
            raise EngineUnreachable(str(error)) from None

    def _request(self, path: str, body: Mapping[str, Any]) -> httpx2.Request:
        content = replace_surrogates(json.dumps(body, ensure_ascii=False)).encode()
        return self._client.build_request("POST", path, content=content, headers={"Content-Type": "application/json"})

    def _event(self, payload: str) -> dict[str, Any]:
        try:
            data = json.loads(payload)
        except (ValueError, RecursionError):
            raise StreamBroken(f"{self.name} sent an event that is not valid JSON; try again") from None
        if not isinstance(data, dict):
            raise StreamBroken(f"{self.name} sent an event that is not a JSON object; try again")
        if data.get("error"):
            raise StreamBroken(f"{self.name} stopped with an error: {_message(data)}")
        return data

    @asynccontextmanager
    async def _opened(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx2.Response]:
        """A response that is an event stream, or one whole JSON reply, after as many attempts as are allowed."""
        response = await self._attempts(path, body)
        try:
            if response.status_code != 200 or _is_page(response):
                await response.aread()
                raise self._refused(response, path)
            yield response
        finally:
            await response.aclose()

    async def _attempts(self, path: str, body: Mapping[str, Any]) -> httpx2.Response:
        for attempt in range(self._patience.retries + 1):
            last = attempt == self._patience.retries
            wait = self._patience.backoff * 2**attempt
            try:
                response = await self._client.send(self._request(path, body), stream=True)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.RemoteProtocolError):
                if last:
                    raise
            else:
                if last or not _may_retry(response):
                    return response
                wait = _asked_wait(response.headers.get("retry-after"), wait)
                await response.aclose()
            await self._patience.sleep(min(wait, LONGEST_WAIT))
        raise AssertionError("the last attempt returns or raises")

    def _text(self, response: httpx2.Response, path: str) -> str:
        if response.status_code != 200 or _is_page(response):
            raise self._refused(response, path)
        return response.content.decode("utf-8", "replace")

    def _object(self, response: httpx2.Response, path: str) -> dict[str, Any]:
        if response.status_code != 200 or _is_page(response):
            raise self._refused(response, path)
        try:
            data = response.json()
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise EngineRefused(f"{self.name} answers {path} with something that is not JSON; check the engine's URL")
        return data

    def _refused(self, response: httpx2.Response, path: str) -> EngineError:
        status, said = response.status_code, _said(response)
        if status in (401, 403):
            hint = "check KAT_API_KEY" if self._has_key else "put its key into KAT_API_KEY"
            return EngineRefused(f"{self.name} wants a key it accepts (HTTP {status}); {hint}")
        if status in (404, 405) and not _is_page(response) and "model" not in said.lower():
            return NotServed(f"{self.name} does not serve {path} (HTTP {status}: {said}); check the engine's URL")
        if _is_page(response):
            return EngineRefused(f"{self.name} answers with a web page, not as an engine; check the engine's URL")
        if status == 429:
            return EngineRefused(f"{self.name} has too much to do (HTTP 429: {said}); try again later")
        if status >= 500:
            return EngineUnreachable(f"{self.name} fails (HTTP {status}: {said}); look at the server's log")
        return NotUnderstood(f"{self.name} refuses the request (HTTP {status}): {said}")

    def _unreachable(self, error: httpx2.HTTPError) -> EngineUnreachable:
        match error:
            case httpx2.ConnectError() | httpx2.ConnectTimeout():
                return EngineUnreachable(
                    f"nothing answers at {self.name}; start the server there or choose another with --engine"
                )
            case httpx2.ReadTimeout():
                return EngineUnreachable(self._silent())
            case _:
                return EngineUnreachable(
                    f"{self.name} closed the connection without an answer; look at the server's log"
                )

    def _broken(self, error: httpx2.HTTPError) -> str:
        if isinstance(error, httpx2.ReadTimeout):
            return self._silent()
        return f"{self.name} dropped the connection in the middle of the reply; what came is kept"

    def _silent(self) -> str:
        return f"{self.name} sent nothing for {self._patience.silence:g} s; check whether the server still works"


async def _payloads(response: httpx2.Response) -> AsyncGenerator[str, None]:
    """The data of each event, up to `[DONE]`; a reply that came as one JSON object counts as one event."""
    if "json" in response.headers.get("content-type", ""):
        yield (await response.aread()).decode("utf-8", "replace")
        return
    decoder = SseDecoder()
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            for payload in decoder.feed(chunk):
                if payload.strip() == "[DONE]":
                    return
                yield payload
    for payload in decoder.close():
        if payload.strip() != "[DONE]":
            yield payload


def _client(address: str, api_key: str | None, patience: Patience) -> httpx2.AsyncClient:
    scheme, _, rest = address.partition(":")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = httpx2.Timeout(patience.silence, connect=_CONNECT_SECONDS, pool=None)
    if scheme == "unix":
        transport = httpx2.AsyncHTTPTransport(uds=rest.removeprefix("//"), verify=_no_tls())
        return httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers, timeout=timeout)
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = None
    if not good:
        raise _no_engine(address)
    base = address.rstrip("/").removesuffix("/v1")
    proxied = parts.hostname not in _LOOPBACK
    verify: ssl.SSLContext | bool = True if proxied or parts.scheme == "https" else _no_tls()
    try:
        return httpx2.AsyncClient(base_url=base, headers=headers, timeout=timeout, trust_env=proxied, verify=verify)
    except httpx2.InvalidURL:
        raise _no_engine(address) from None


def _no_tls() -> ssl.SSLContext:
    """For a connection that never uses TLS: it trusts nobody, and spares some 60 ms of reading certificates."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _no_engine(address: str) -> EngineRefused:
    shown = "".join(c for c in address if c.isprintable())
    return EngineRefused(f"{shown} is no engine; write embedded, http://host:port or unix:/path")


def _is_page(response: httpx2.Response) -> bool:
    return "html" in response.headers.get("content-type", "")


def _may_retry(response: httpx2.Response) -> bool:
    return response.status_code in _RETRIED and response.headers.get("x-should-retry") != "false"


def _asked_wait(header: str | None, otherwise: float) -> float:
    """Seconds that a Retry-After asks for, as a number or as a date."""
    if header is None:
        return otherwise
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return otherwise


def _said(response: httpx2.Response) -> str:
    try:
        data = response.json()
    except (ValueError, RecursionError):
        data = response.text
    return _message(data)


def _message(data: Any) -> str:
    """The server's own words, in one line of at most 300 characters."""
    match data:
        case {"error": {"message": str(text)}} | {"error": str(text)} | {"message": str(text)} | {"detail": str(text)}:
            pass
        case str(text):
            pass
        case _:
            text = json.dumps(data)
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return (line[:297] + "…" if len(line) > 300 else line) or "no reason given"
