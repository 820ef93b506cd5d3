"""The two ways in which models write a tool call: Hermes JSON and Qwen3-Coder XML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from model.format import ToolCall

_JSON_QUOTES = re.compile(r'\\.|"|\\$', re.DOTALL)


class JsonCallReader:
    """``{"name": …, "arguments": {…}}``, as Qwen2.5, Hermes and KAT-V1 write it."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._in_string = False
        self._escaped = False

    def feed(self, chunk: str) -> None:
        """Take the next piece of the body, keeping track of whether it ends inside a JSON string."""
        self._parts.append(chunk)
        if self._escaped:
            chunk, self._escaped = chunk[1:], False
        for found in _JSON_QUOTES.finditer(chunk):
            match found[0]:
                case '"':
                    self._in_string = not self._in_string
                case "\\":
                    self._escaped = True
                case _:
                    pass

    def inside_value(self) -> bool:
        """Whether the body stands inside a JSON string."""
        return self._in_string

    def finish(self) -> ToolCall:
        """The call; arguments that came as a JSON string are read once more."""
        raw = "".join(self._parts).strip()
        self._parts, self._in_string, self._escaped = [], False, False
        return read_json_call(raw)


def read_json_call(raw: str) -> ToolCall:
    """Read one JSON call; never raises, `ToolCall.error` says what is wrong."""
    try:
        data = json.loads(raw, strict=False)
        if isinstance(data, list) and len(data) == 1:
            data = data[0]
        name, arguments = data["name"], data.get("arguments", {})
        if isinstance(arguments, str):
            arguments = json.loads(arguments, strict=False) if arguments.strip() else {}
    except json.JSONDecodeError as error:
        return ToolCall("", {}, raw, f"not valid JSON: {error.msg} at character {error.pos}")
    except (KeyError, TypeError, AttributeError):
        return ToolCall("", {}, raw, 'a call is an object with "name" and "arguments"')
    except RecursionError:
        return ToolCall("", {}, raw, "nested too deeply")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return ToolCall("", {}, raw, '"name" is a string and "arguments" an object')
    return ToolCall(name, arguments, raw)


def write_json_call(name: str, arguments: Mapping[str, Any]) -> str:
    """The body of a JSON call, as the chat templates of Qwen2.5 and KAT-V1 write it."""
    return f'{{"name": "{name}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}'


_FUNCTION = re.compile(r"\s*<function=([^>\s]*)>")
_PARAMETER = re.compile(r"<parameter=([^>\s]*)>\n?(.*?)\n?</parameter>", re.DOTALL)


class XmlCallReader:
    """``<function=NAME><parameter=P>value</parameter></function>``, as Qwen3-Coder and KAT-Dev write it.

    Values are strings; a tool's own argument model turns them into numbers where it must.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._open = False
        self._tail = ""

    def feed(self, chunk: str) -> None:
        """Take the next piece of the body, keeping track of whether a parameter is open."""
        self._parts.append(chunk)
        seen = self._tail + chunk
        opened, closed = seen.rfind("<parameter="), seen.rfind("</parameter>")
        if opened != closed:
            self._open = opened > closed
        self._tail = seen[-len("<parameter=") :]

    def inside_value(self) -> bool:
        """Whether a parameter is open."""
        return self._open

    def finish(self) -> ToolCall:
        """The call with its parameters as strings."""
        raw = "".join(self._parts).strip()
        self._parts, self._open, self._tail = [], False, ""
        function = _FUNCTION.match(raw)
        if function is None:
            return ToolCall("", {}, raw, "a call begins with <function=NAME>")
        if raw.count("<parameter=") != raw.count("</parameter>"):
            return ToolCall(function[1], {}, raw, "a parameter is not closed")
        return ToolCall(function[1], dict(_PARAMETER.findall(raw)), raw)


def write_xml_call(name: str, arguments: Mapping[str, Any]) -> str:
    """The body of an XML call, as Qwen3-Coder's chat template writes it."""
    lines = [f"<function={name}>"]
    for key, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        lines += [f"<parameter={key}>", text, "</parameter>"]
    return "\n".join([*lines, "</function>"])
