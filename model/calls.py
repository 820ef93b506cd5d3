"""The two ways in which models write a tool call: Hermes JSON and Qwen3-Coder XML."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from model.format import ToolCall
from model.prompt import PieceList
from model.surrogates import replace_surrogates

_NAME = re.compile(r"[\w.-]{1,64}")
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
    raw = replace_surrogates(raw)
    try:
        data = _loads(raw)
        if isinstance(data, list) and len(data) == 1:
            data = data[0]
        name, arguments = data["name"], data.get("arguments", {})
        if isinstance(arguments, str):
            arguments = _loads(arguments) if arguments.strip() else {}
    except json.JSONDecodeError as error:
        return ToolCall("", {}, raw, f"not valid JSON: {error.msg} at character {error.pos}")
    except ValueError:
        return ToolCall("", {}, raw, "not valid JSON: a number is too long, infinite or NaN")
    except (KeyError, TypeError, AttributeError):
        return ToolCall("", {}, raw, 'a call is an object with "name" and "arguments"')
    except RecursionError:
        return ToolCall("", {}, raw, "nested too deeply")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return ToolCall("", {}, raw, '"name" is a string and "arguments" an object')
    return ToolCall(name, arguments, raw)


def _loads(text: str) -> Any:
    """JSON as the standard has it, but with raw line breaks in strings; surrogates that stand alone are replaced."""
    return _encodable(json.loads(text, strict=False, parse_constant=_finite, parse_float=_finite))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _encodable(value: Any) -> Any:
    match value:
        case str():
            return replace_surrogates(value)
        case list():
            return [_encodable(item) for item in value]
        case dict():
            return {replace_surrogates(key): _encodable(item) for key, item in value.items()}
        case _:
            return value


def plain_name(name: str) -> str:
    """`name` if it can stand in markup and in a protocol (1 to 64 letters, digits, ``_.-``), else "unknown"."""
    return name if _NAME.fullmatch(name) else "unknown"


def write_json_call(out: PieceList, name: str, arguments: Mapping[str, Any]) -> None:
    """Add the body of a JSON call, as the chat templates of Qwen2.5 and KAT-V1 write it."""
    out.text(f'{{"name": "{plain_name(name)}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}')


_TAG = re.compile(r"<(function|parameter)=([^<>\n]{0,200})>|</(?:function|parameter)>")
_BEGUN = re.compile(r"<(?:/?[a-z]{0,9}|(?:function|parameter)=[^<>\n]{0,200})\Z")
_LONGEST = 220


class _At(Enum):
    START = auto()
    BETWEEN = auto()
    VALUE = auto()
    AFTER_PARAMETER = auto()
    AFTER_FUNCTION = auto()


class XmlCallReader:
    """``<function=NAME><parameter=P>value</parameter></function>``, read while it streams.

    Values are strings; a tool's own argument model turns them into numbers where it must. Tags in a value are text:
    ``</parameter>`` ends it only at the start of a line, or where nothing but the next tag or the end follows.
    A `<` that was escaped comes from the parser as a chunk of its own, and never begins a tag.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._at = _At.START
        self._raw: list[str] = []
        self._held = ""
        self._name = ""
        self._parameter = ""
        self._value: list[str] = []
        self._maybe: list[str] = []
        self._line_start = True
        self._arguments: dict[str, str] = {}
        self._error: str | None = None

    def feed(self, chunk: str) -> None:
        """Take the next piece of the body."""
        self._raw.append(chunk)
        if chunk == "<":
            self._flush()
            self._text(chunk)
            return
        text, self._held, start = self._held + chunk, "", 0
        for found in _TAG.finditer(text):
            self._text(text[start : found.start()])
            self._tag(found)
            start = found.end()
        begun = _BEGUN.search(text, max(start, len(text) - _LONGEST))
        end = begun.start() if begun else len(text)
        self._text(text[start:end])
        self._held = text[end:]

    def inside_value(self) -> bool:
        """Whether a value is open, so that ``</tool_call>`` would be text."""
        pending = self._at in (_At.AFTER_PARAMETER, _At.AFTER_FUNCTION)
        return self._at is _At.VALUE or (pending and bool(self._held))

    def finish(self) -> ToolCall:
        """The call with its parameters as strings."""
        self._flush()
        if self._at is _At.AFTER_PARAMETER:
            self._end_value()
        if self._at in (_At.VALUE, _At.AFTER_FUNCTION):
            self._fail("a parameter is not closed")
        elif self._at is _At.START:
            self._fail("a call begins with <function=NAME>")
        raw = "".join(self._raw).strip()
        call = ToolCall(self._name, {} if self._error else dict(self._arguments), raw, self._error)
        self._clear()
        return call

    def _flush(self) -> None:
        held, self._held = self._held, ""
        self._text(held)

    def _text(self, text: str) -> None:
        if not text:
            return
        match self._at:
            case _At.START:
                self._stray(text, "a call begins with <function=NAME>")
            case _At.BETWEEN:
                self._stray(text, "there is text outside of the parameters")
            case _At.VALUE:
                self._add(text)
            case _At.AFTER_PARAMETER | _At.AFTER_FUNCTION:
                self._maybe.append(text)
                if not text.isspace():
                    self._reopen()

    def _stray(self, text: str, error: str) -> None:
        if not text.isspace():
            self._fail(error)

    def _fail(self, error: str) -> None:
        self._error = self._error or error

    def _add(self, text: str) -> None:
        self._value.append(text)
        self._line_start = text.endswith("\n")

    def _reopen(self) -> None:
        """What looked like the end of the value was text in it."""
        self._at = _At.VALUE
        self._add("".join(self._maybe))
        self._maybe = []

    def _tag(self, found: re.Match[str]) -> None:
        if self._at is _At.AFTER_PARAMETER and found[0] != "</parameter>":
            self._end_value() if found[1] != "function" else self._reopen()
        elif self._at in (_At.AFTER_PARAMETER, _At.AFTER_FUNCTION):
            self._reopen()
        if self._at is _At.VALUE:
            self._tag_in_value(found[0])
        elif found[1] == "function":
            self._open_function(found[2])
        elif found[1] == "parameter":
            self._open_parameter(found[2])
        elif found[0] == "</parameter>":
            self._fail("a parameter is closed that was not open")

    def _tag_in_value(self, tag: str) -> None:
        if tag == "</parameter>" and self._line_start:
            self._end_value()
        elif tag == "</parameter>":
            self._at, self._maybe = _At.AFTER_PARAMETER, [tag]
        elif tag == "</function>" and self._line_start:
            self._at, self._maybe = _At.AFTER_FUNCTION, [tag]
        else:
            self._add(tag)

    def _open_function(self, name: str) -> None:
        if self._at is not _At.START:
            self._fail("a call holds one function: write a <tool_call> for each")
        elif plain_name(name) != name:
            self._fail("the function's name is not plain")
        else:
            self._name = name
        self._at = _At.BETWEEN

    def _open_parameter(self, name: str) -> None:
        if self._at is _At.START:
            self._fail("a call begins with <function=NAME>")
        if plain_name(name) != name:
            self._fail("a parameter's name is not plain: letters, digits, _ . and -")
        self._parameter = name
        self._at, self._line_start = _At.VALUE, True

    def _end_value(self) -> None:
        self._arguments[self._parameter] = _unwrapped("".join(self._value))
        self._value, self._maybe = [], []
        self._at = _At.BETWEEN


def _unwrapped(text: str) -> str:
    """A value without the line breaks that belong to its tags."""
    if text.startswith("\r\n"):
        return text[2:].removesuffix("\n").removesuffix("\r")
    if text.startswith("\n"):
        return text[1:].removesuffix("\n")
    return text.removesuffix("\n")


def write_xml_call(out: PieceList, name: str, arguments: Mapping[str, Any]) -> None:
    """Add the body of an XML call, as Qwen3-Coder's chat template writes it; only the values are others' text."""
    out.markup(f"<function={plain_name(name)}>\n")
    for key, value in arguments.items():
        out.markup(f"<parameter={plain_name(key)}>\n")
        out.text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        out.markup("\n</parameter>\n")
    out.markup("</function>")
