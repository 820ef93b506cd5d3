"""What a server offers, cut down to what a prompt may hold: names, descriptions and schemas are text of others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistant.safety.sanitize import sanitize
from assistant.servers import McpServer
from model.prompt import ToolSpec

if TYPE_CHECKING:
    from mcp_types import Tool

MOST_TOOLS = 64
"""Tools of one server that a prompt may hold (our choice)."""
_DESCRIPTION = 600
_SCHEMA = 4_000
_DEPTH = 8
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_LONGEST_NAME = 64
"""Characters of a tool's name that the dialects understand."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool of a server. `destroys` is the server's own word that a call may destroy something."""

    server: str
    tool: str
    spec: ToolSpec
    destroys: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools of a server that can be used, and what is wrong with the others, a sentence each."""

    tools: tuple[Offered, ...]
    problems: tuple[str, ...] = ()


def offer_of(server: McpServer, tools: Sequence[Tool], more: bool = False) -> Offer:
    """What of a server's tools is offered to the model; `more` says that the list was not read to its end."""
    wanted = _wanted(server, tools)
    named = {name: tool for tool in wanted if (name := full_name(server.name, tool.name))}
    problems = [*_missing(server, tools), *_unnamed(server, wanted)]
    if len(named) > MOST_TOOLS or more:
        count = f"more than {len(tools):,}" if more else f"{len(named):,}"
        problems.append(
            f"The MCP server {server.name!r} has {count} tools; {min(len(named), MOST_TOOLS)} of them are offered. "
            f"List those you want in `tools` of [mcp.{server.name}]."
        )
    kept = list(named.items())[:MOST_TOOLS]
    return Offer(tuple(_offered(server.name, name, tool) for name, tool in kept), tuple(problems))


def full_name(server: str, tool: str) -> str:
    """The name under which the model calls a tool, empty where it cannot have one."""
    name = f"mcp_{server}_{tool}"
    return name if _NAME.fullmatch(tool) and len(name) <= _LONGEST_NAME else ""


def _wanted(server: McpServer, tools: Iterable[Tool]) -> list[Tool]:
    return [tool for tool in tools if server.tools is None or tool.name in server.tools]


def _missing(server: McpServer, tools: Iterable[Tool]) -> list[str]:
    gone = sorted(set(server.tools or ()) - {tool.name for tool in tools})
    named = ", ".join(gone)
    return [f"The MCP server {server.name!r} has no tool {named}; see `tools` in your settings."] if gone else []


def _unnamed(server: McpServer, tools: Iterable[Tool]) -> list[str]:
    odd = [tool.name for tool in tools if not full_name(server.name, tool.name)]
    if not odd:
        return []
    first = sanitize(odd[0][:_LONGEST_NAME])
    return [f"{len(odd)} tools of the MCP server {server.name!r} are left out, because of their names ({first!r}, …)."]


def _offered(server: str, name: str, tool: Tool) -> Offered:
    described = " ".join(sanitize((tool.description or tool.title or "")[: 2 * _DESCRIPTION]).split())
    text = described if len(described) <= _DESCRIPTION else f"{described[:_DESCRIPTION]}…"
    destroys = tool.annotations is not None and tool.annotations.destructive_hint is True
    return Offered(server, tool.name, ToolSpec(name, text or tool.name, schema_of(tool.input_schema)), destroys)


def schema_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that fits into a prompt: without what is nested too deep, and only its names where it is too long."""
    clean = _clean(schema, _DEPTH)
    properties = clean.get("properties")
    given = properties if isinstance(properties, dict) else {}
    named = {name: each if isinstance(each, dict) else {} for name, each in given.items()}
    needed = clean.get("required")
    required = [name for name in needed if isinstance(name, str)] if isinstance(needed, list) else []
    whole = {**clean, "type": "object", "properties": named, "required": required}
    short = {"type": "object", "properties": {name: _kind(named[name]) for name in list(named)[:MOST_TOOLS]}}
    return next((each for each in (whole, short) if len(json.dumps(each)) <= _SCHEMA), {"type": "object"})


def _kind(schema: Any) -> dict[str, Any]:
    given = schema.get("type") if isinstance(schema, dict) else None
    return {"type": given} if isinstance(given, str) else {}


def _clean(value: Any, depth: int) -> Any:
    match value:
        case str():
            return sanitize(value)
        case dict() if depth:
            return {sanitize(str(name)): _clean(each, depth - 1) for name, each in value.items()}
        case list() if depth:
            return [_clean(each, depth - 1) for each in value]
        case dict() | list():
            return {}
        case int() if abs(value) >= 1 << 64:  # of more than a few thousand digits Python makes no text
            return None
        case _:
            return value
