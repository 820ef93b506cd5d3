"""All tools, how a model is told of them, and how its calls are read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from assistant.safety.sanitize import sanitize
from assistant.tools.apply_patch import ApplyPatch
from assistant.tools.ask_user import AskUser
from assistant.tools.base import Tool, ToolError
from assistant.tools.delete_file import DeleteFile
from assistant.tools.edit_file import EditFile
from assistant.tools.finish import Finish
from assistant.tools.git_diff import GitDiff
from assistant.tools.list_files import ListFiles
from assistant.tools.move_file import MoveFile
from assistant.tools.read_file import ReadFile
from assistant.tools.read_output import ReadOutput
from assistant.tools.replace_symbol import ReplaceSymbol
from assistant.tools.repo_map import ShowRepoMap
from assistant.tools.run_command import RunCommand
from assistant.tools.run_tests import RunTests
from assistant.tools.search import Search
from assistant.tools.spawn import Spawn
from assistant.tools.stop_command import StopCommand
from assistant.tools.symbols import Symbols
from assistant.tools.todo import Todo
from assistant.tools.web_fetch import WebFetch
from assistant.tools.write_file import WriteFile
from model.format import ToolCall
from model.prompt import ToolSpec

Profile = Literal["compact", "full"]

TOOLS: tuple[type[Tool], ...] = (
    ReadFile,
    ListFiles,
    Search,
    ShowRepoMap,
    Symbols,
    EditFile,
    ReplaceSymbol,
    WriteFile,
    DeleteFile,
    MoveFile,
    ApplyPatch,
    RunCommand,
    RunTests,
    GitDiff,
    ReadOutput,
    StopCommand,
    Todo,
    AskUser,
    Spawn,
    WebFetch,
    Finish,
)
"""In the order in which prompts list them; a change of order breaks every prefix cache."""

_BY_NAME = {tool.name: tool for tool in TOOLS}
LOOKING = frozenset(tool.name for tool in TOOLS if tool.reads)
"""The tools that only look."""
_TYPES = {str: "string", int: "integer", bool: "boolean"}
_SHOWN = 200


def specs(profile: Profile, *, network: bool = False) -> tuple[ToolSpec, ...]:
    """The tools as prompts offer them; the compact profile has no descriptions of arguments.

    Nor has the full one of those that their name explains: prompts are read at every step of a small context.

    `network` is the user's setting: without it no tool is offered that needs the network.
    """
    offered = (tool for tool in TOOLS if network or not tool.needs_network)
    return tuple(_spec(tool, profile) for tool in offered if tool.compact or profile == "full")


def read_call(call: ToolCall) -> Tool:
    """The tool with its arguments. Raises `ToolError` that names what is wrong and what would be right."""
    if call.error is not None:
        raise ToolError(f"The call cannot be read ({_short(call.error)}); write it again in the form described above.")
    tool = _BY_NAME.get(call.name)
    if tool is None:
        raise ToolError(_unknown(call.name))
    try:
        return tool.model_validate(_without_empty(tool, call.arguments))
    except ValidationError as error:
        raise ToolError(_wrong(tool, error.errors()[0])) from None


def _spec(tool: type[Tool], profile: Profile) -> ToolSpec:
    hidden = tool.full_only if profile == "compact" else frozenset()
    shown = {name: field for name, field in tool.model_fields.items() if name not in hidden}
    properties = {name: _property(field, profile) for name, field in shown.items()}
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    extra = tool.compact_required if profile == "compact" else ()
    required = [name for name, field in tool.model_fields.items() if field.is_required() or name in extra]
    if required:
        parameters["required"] = required
    return ToolSpec(tool.name, tool.brief if profile == "compact" else tool.description, parameters)


def _property(field: FieldInfo, profile: Profile) -> dict[str, Any]:
    kinds = (field.annotation, *get_args(field.annotation))
    schema = next(_schema(kind, profile) for kind in kinds if kind in _TYPES or get_origin(kind) in (list, Literal))
    return schema | ({"description": field.description} if profile == "full" and field.description else {})


def _schema(kind: Any, profile: Profile) -> dict[str, Any]:
    if kind in _TYPES:
        return {"type": _TYPES[kind]}
    if get_origin(kind) is Literal:
        return {"type": "string", "enum": list(get_args(kind))}
    item = get_args(kind)[0]
    if item in _TYPES:
        return {"type": "array", "items": {"type": _TYPES[item]}}
    fields: dict[str, FieldInfo] = item.model_fields
    properties = {name: _property(field, profile) for name, field in fields.items()}
    required = [name for name, field in fields.items() if field.is_required()]
    return {"type": "array", "items": {"type": "object", "properties": properties, "required": required}}


def _without_empty(tool: type[Tool], arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments without the optional ones that are null or, where a number belongs, empty."""
    fields = tool.model_fields
    optional = {name for name, field in fields.items() if not field.is_required()}
    empty = {name for name, value in arguments.items() if value is None or (value == "" and name not in tool.blank)}
    return {name: value for name, value in arguments.items() if name not in optional & empty}


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"the tools are {_and(_BY_NAME)}."
    return f"There is no tool {_short(name)!r}; {hint}"


def _wrong(tool: type[Tool], error: ErrorDetails) -> str:
    field = _short(str(error["loc"][0])) if error["loc"] else "its arguments"
    match error["type"]:
        case "missing":
            said = f"{tool.name} needs {_short('.'.join(map(str, error['loc'])))}"
        case "extra_forbidden":
            said = f"{tool.name} has no argument {field!r}"
        case _:
            said = f"{tool.name} cannot use {field} = {_short(repr(error['input']))} ({error['msg'].lower()})"
    return f"{said}; {_usage(tool)}."


def _usage(tool: type[Tool]) -> str:
    names = [name if field.is_required() else f"{name} (optional)" for name, field in tool.model_fields.items()]
    return f"its arguments are {_and(names)}" if len(names) > 1 else f"its argument is {names[0]}"


def _and(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _short(text: str) -> str:
    clean = sanitize(text)
    return clean if len(clean) <= _SHOWN else f"{clean[:_SHOWN]}…"
