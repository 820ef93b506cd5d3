"""Events as JSON, one a line, and the JSON schema that they keep to."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TextIO, get_args

from assistant.events import Event, as_json

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def lines_to(out: TextIO) -> Callable[[Event], None]:
    """Writes each event to `out` as a line of its own, at once."""

    def show(event: Event) -> None:
        out.write(json.dumps(as_json(event)) + "\n")
        out.flush()

    return show


def schema() -> dict[str, Any]:
    """The JSON schema of a line: one of the events, told apart by `kind`. Fields are added, never removed."""
    from pydantic import TypeAdapter

    definitions: dict[str, Any] = {}
    for event in get_args(Event):
        found = TypeAdapter(event).json_schema(mode="serialization", ref_template="#/$defs/{model}")
        definitions |= found.pop("$defs", {})
        definitions[event.__name__] = _with_kind(found, event.kind)
    return {
        "$schema": _DIALECT,
        "title": "A line of `kat ask --json`",
        "oneOf": [{"$ref": f"#/$defs/{event.__name__}"} for event in get_args(Event)],
        "$defs": {name: _written(definitions[name]) for name in sorted(definitions)},
    }


def _with_kind(event: dict[str, Any], kind: str) -> dict[str, Any]:
    return event | {"properties": {"kind": {"const": kind}, **event.get("properties", {})}}


def _written(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition that says what is written: every field is always there, whether it has a default or not."""
    if "properties" not in definition:
        return definition
    properties = {name: _plain(field) for name, field in definition["properties"].items()}
    return definition | {"properties": properties, "required": list(properties)}


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in field.items() if name not in ("title", "default")}


if __name__ == "__main__":
    json.dump(schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
