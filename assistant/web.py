"""Gets one page of the public web: nothing from this machine or its network, and within limits of size and time."""

from __future__ import annotations

import asyncio
import codecs
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from assistant.errors import UserError
from assistant.workspace.text import is_binary

if TYPE_CHECKING:
    import httpx2

_SECONDS = 20.0
_BYTES = 2_000_000
_HOPS = 5
_ADDRESSES = 3
"""Limits of one page, redirects included: seconds, bytes, redirects, addresses of a name that are tried; our choice."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TEXT = (
    "text/",
    "application/json",
    "application/xml",
    "application/xhtml",
    "application/javascript",
    "application/x-",
)
_TEXT_ENDS = ("+json", "+xml", "/yaml", "/toml", "/ecmascript", "/typescript")
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9._-]+")
_INSIDE = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "fec0::/10", "3fff::/20")))
"""What some versions of Python take for public: a gateway's own services, sites, and documentation."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host."""


class WebError(UserError):
    """The page cannot be had; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page as text. `kind` is its media type; `cut` says that it was larger than what is read."""

    url: str
    kind: str
    text: str
    cut: bool = False


async def addresses(host: str, port: int) -> Sequence[str]:
    """What the system says; numbers in any spelling are addresses too."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebError(f"{host} is not known ({error}); check the address") from None
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, also the one that an IPv6 address wraps."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if any(each is not None for each in inner):
            return all(is_public(str(each)) for each in inner if each is not None)
    inside = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_link_local
    return ip.is_global and not inside and not any(ip in network for network in _INSIDE)


def checked_url(text: str) -> SplitResult:
    """The address of a page, its host in ASCII: names that look alike must not pass for each other.

    Raises `WebError` for what is none, or holds a name and a password.
    """
    try:
        url = urlsplit(text.strip())
        port = url.port
    except ValueError as error:
        raise WebError(f"{text[:200]!r} is no address ({error})") from None
    if url.scheme not in _PORTS or not url.hostname:
        raise WebError(f"{text[:200]!r} is no address of a page; it begins with https:// or http://")
    if url.username is not None or port == 0:
        raise WebError("an address with a name, a password or port 0 is not opened; leave them out")
    return url if ":" in url.hostname else _in_ascii(url, url.hostname)


def _in_ascii(url: SplitResult, host: str) -> SplitResult:
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not _HOST.fullmatch(name):
        raise WebError(f"{host[:200]!r} is no name of a host")
    return url._replace(netloc=name if url.port is None else f"{name}:{url.port}")


def site(url: SplitResult) -> str:
    """The host that leave is given for; with its port where that is not the usual one."""
    usual = url.port in (None, *_PORTS.values())
    return url.hostname or "" if usual else f"{url.hostname}:{url.port}"


async def fetch(
    address: str, *, resolve: Resolve = addresses, transport: httpx2.AsyncBaseTransport | None = None
) -> Page:
    """The page at an address. Redirects are followed within its site, each checked like the first.

    The name is resolved once and that address is connected to, so that it cannot turn into another in between. No
    proxy is used: it would resolve names for itself. Raises `WebError`.
    """
    import httpx2

    headers = {"User-Agent": "kat-pilot", "Accept": "text/*, application/json;q=0.9", "Accept-Encoding": "identity"}
    try:
        async with (
            asyncio.timeout(_SECONDS),
            httpx2.AsyncClient(trust_env=False, transport=transport, headers=headers, timeout=_SECONDS) as client,
        ):
            return await _followed(client, checked_url(address), resolve)
    except TimeoutError:
        raise WebError(f"{address} did not answer within {_SECONDS:g} seconds") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise WebError(f"{address} cannot be read ({str(error) or type(error).__name__})") from None


async def _followed(client: httpx2.AsyncClient, url: SplitResult, resolve: Resolve) -> Page:
    for _ in range(_HOPS + 1):
        response = await _opened(client, url, await _public(url, resolve))
        try:
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                return await _page(url, response)
            url = _next(url, response.headers["location"])
        finally:
            await response.aclose()
    raise WebError(f"{url.geturl()} leads on and on; {_HOPS} redirects were followed")


def _next(url: SplitResult, location: str) -> SplitResult:
    """Where a redirect leads. Raises `WebError` if that is another site, since leave was given for this one."""
    target = checked_url(urljoin(url.geturl(), location))
    if site(target) != site(url):
        raise WebError(f"{url.geturl()} leads to another site; fetch {target.geturl()} if you want that")
    return target


async def _public(url: SplitResult, resolve: Resolve) -> Sequence[str]:
    host = url.hostname or ""
    found = await resolve(host, url.port or _PORTS[url.scheme])
    if not found or not all(map(is_public, found)):
        raise WebError(f"{host} is this machine or in a private network, which is never fetched from")
    return found[:_ADDRESSES]


async def _opened(client: httpx2.AsyncClient, url: SplitResult, found: Sequence[str]) -> httpx2.Response:
    """The response of the first address that can be reached; its body is not read yet."""
    import httpx2

    for number, address in enumerate(found, 1):
        target = httpx2.URL(url.geturl()).copy_with(host=address, fragment=None)
        headers = {"Host": url.netloc}
        request = client.build_request("GET", target, headers=headers, extensions={"sni_hostname": url.hostname})
        try:
            return await client.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            if number == len(found):
                raise
    raise AssertionError("there is an address")


async def _page(url: SplitResult, response: httpx2.Response) -> Page:
    place = url.geturl()
    if response.status_code != 200:
        raise WebError(f"{place} answered {response.status_code} {response.reason_phrase}".rstrip())
    kind, _, rest = response.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind and not (kind.startswith(_TEXT) or kind.endswith(_TEXT_ENDS)):
        raise WebError(f"{place} is {kind}, not text")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise WebError(f"{place} comes compressed although that was not asked for, which is not read")
    data, cut = await _body(response)
    if is_binary(data):
        raise WebError(f"{place} is not text")
    return Page(place, kind, data.decode(_charset(rest), "replace"), cut)


async def _body(response: httpx2.Response) -> tuple[bytes, bool]:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > _BYTES:
            return bytes(data[:_BYTES]), True
    return bytes(data), False


def _charset(parameters: str) -> str:
    name = parameters.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    try:
        return codecs.lookup(name or "utf-8").name
    except (LookupError, ValueError):
        return "utf-8"
