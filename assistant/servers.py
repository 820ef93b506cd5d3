"""MCP servers as the user's settings name them: programs to start, or addresses to reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_NAME = re.compile(r"[a-z0-9-]{1,24}")
"""No underscore, so that `mcp_NAME_tool` can be taken apart; short, since the names of tools have a limit too."""
_SETTINGS = frozenset({"command", "args", "env", "url", "headers", "tools"})

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class McpServer:
    """One `[mcp.NAME]` table: either `command` with `args` and `env`, or `url` with `headers`.

    `tools` are those that may be used; all of them where it is None.
    """

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Pairs = ()
    url: str = ""
    headers: Pairs = ()
    tools: tuple[str, ...] | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may be a password or a key: the values of its variables and headers."""
        return tuple(value for _, value in (*self.env, *self.headers))


def read_servers(value: Any) -> tuple[McpServer, ...]:
    """The servers of the `mcp` setting. Raises TypeError or ValueError that says what is wrong with which."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, Mapping):
        raise TypeError("each server is a table of its own, like [mcp.NAME]")
    return tuple(_server(name, table) for name, table in value.items())


def _server(name: str, table: Any) -> McpServer:
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name {name!r} has other than up to 24 small letters, digits and hyphens")
    if not isinstance(table, Mapping):
        raise TypeError(f"{name!r} is a table, like [mcp.{name}]")
    if unknown := sorted(set(table) - _SETTINGS):
        raise ValueError(f"[mcp.{name}] knows no {unknown[0]!r}; it takes {', '.join(sorted(_SETTINGS))}")
    tools = _list(name, table, "tools") if "tools" in table else None
    match bool(_text(name, table, "command")), bool(_text(name, table, "url")):
        case True, False:
            _without(name, table, "headers", "url")
            return McpServer(
                name, table["command"], _list(name, table, "args"), _pairs(name, table, "env"), tools=tools
            )
        case False, True:
            _without(name, table, "args", "command")
            _without(name, table, "env", "command")
            return McpServer(name, url=_url(name, table), headers=_pairs(name, table, "headers"), tools=tools)
        case _:
            raise ValueError(f"[mcp.{name}] has either a command or a url")


def _without(name: str, table: Mapping[str, Any], setting: str, other: str) -> None:
    if setting in table:
        raise ValueError(f"[mcp.{name}] has {setting!r}, which belongs to a server with a {other}")


def _text(name: str, table: Mapping[str, Any], setting: str) -> str:
    value = table.get(setting, "")
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(f"{setting!r} of [mcp.{name}] is text")
    return value


def _list(name: str, table: Mapping[str, Any], setting: str) -> tuple[str, ...]:
    value = table.get(setting, [])
    if not isinstance(value, list) or not all(isinstance(each, str) and "\0" not in each for each in value):
        raise TypeError(f"{setting!r} of [mcp.{name}] is a list of texts")
    return tuple(value)


def _pairs(name: str, table: Mapping[str, Any], setting: str) -> Pairs:
    value = table.get(setting, {})
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
        raise TypeError(f"{setting!r} of [mcp.{name}] is a table of texts")
    if bad := [key for key, text in value.items() if not key or "=" in key or any(c in key + text for c in "\0\r\n")]:
        raise ValueError(f"{setting!r} of [mcp.{name}] cannot have {bad[0]!r}; names and values are one line each")
    return tuple(value.items())


def _url(name: str, table: Mapping[str, Any]) -> str:
    url = _text(name, table, "url")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"'url' of [mcp.{name}] begins with http:// or https:// and a host")
    return url
