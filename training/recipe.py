"""Recipes: TOML files in layers, read against dataclasses, so that a mistake is one sentence before anything runs.

The layers, from below: what `extends` names (relative to the file, or a recipe of ours; again in layers), the file,
``KAT_TRAIN_SET`` (words ``key=value`` as a shell splits them), and ``--set key=value``. A key is dotted
(``stages.mix.size``), a value is TOML, and text where it is no TOML. Tables are merged, everything else is replaced.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from assistant.errors import UserError
from training.near import nearest

T = TypeVar("T")
SHIPPED = Path(__file__).resolve().parent / "recipes"
"""Where the recipes lie that come with the program."""
_DEEPEST = 8
"""Files that may extend one another; our choice: more is a circle."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def layers(path: Path, sets: Iterable[str] = (), environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The tables of a recipe, all layers merged.

    Raises:
        UserError: a file cannot be read, or ``key=value`` is not written so.
    """
    merged = _file(path, _DEEPEST)
    try:
        words = shlex.split(environ.get("KAT_TRAIN_SET", ""))
    except ValueError as error:
        raise UserError(f"KAT_TRAIN_SET cannot be read ({error}); write words like stages.mix.size=1000") from None
    for word in [*words, *sets]:
        merged = merged_over(merged, assignment(word))
    return merged


def assignment(word: str) -> dict[str, Any]:
    """``a.b=1`` as ``{"a": {"b": 1}}``. Raises UserError."""
    key, found, text = word.partition("=")
    if not found or not key.strip():
        raise UserError(f"{word!r} sets nothing; write key=value")
    value: Any = _value(text)
    for name in reversed(key.strip().split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def build(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """An instance of a dataclass from a table; `where` names the table in messages.

    Raises:
        UserError: a key is unknown (the nearest is named), missing, or has a value of another type.
    """
    hints, known = get_type_hints(kind), {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    at = f"[{where}] " if where else "the recipe "
    for name in values:
        if name not in known:
            raise UserError(f"{at}has no {name!r}; {nearest(name, known)}")
    if missing := [name for name, field in known.items() if name not in values and _needed(field)]:
        raise UserError(f"{at}needs {', '.join(missing)}")
    return kind(**{name: _as(hints[name], value, _join(where, name)) for name, value in values.items()})


def shown(thing: Any) -> str:
    """A resolved recipe (a dataclass, or tables) as TOML that resolves to the same."""
    return "\n".join(_tables(_plain(thing), ())).strip() + "\n"


def _file(path: Path, left: int) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"the recipe {path} cannot be read: {reason}") from None
    below = found.pop("extends", None)
    if below is None:
        return found
    if not isinstance(below, str):
        raise UserError(f"extends in {path} is the name of one file, in quotes")
    if left == 0:
        raise UserError(f"{path} extends itself, over {below}; take one `extends` away")
    return merged_over(_file(_below(path, below), left - 1), found)


def _below(path: Path, name: str) -> Path:
    """The file that `extends` names: beside the one that says so, else among those that come with the program."""
    beside, ours = path.parent / name, SHIPPED / name
    return ours if not beside.exists() and Path(name).name == name and ours.is_file() else beside


def merged_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One table laid over another, and so are the tables in them."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = merged_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _as(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _any_of(inner, value, where)
    if origin is Literal:
        return _one_of(inner, value, where)
    if origin is tuple:
        return _items(inner, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(where, value, "a table")
        return {str(name): _as(inner[1], one, _join(where, str(name))) for name, one in value.items()}
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return build(hint, value, where)
    return _plainly(hint, value, where)


def _plainly(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(_one_of(tuple(member.value for member in hint), value, where))
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in _WORDS and type(value) is hint:
        return value
    raise _wrong(where, value, _WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}"))


_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path, in quotes",
}


def _any_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    problem: UserError | None = None
    for kind in kinds:
        if kind is NoneType:
            if value is None:
                return None
            continue
        try:
            return _as(kind, value, where)
        except UserError as error:
            problem = problem or error
    raise problem or _wrong(where, value, "left out")


def _one_of(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value in choices and not isinstance(value, bool):
        return value
    raise _wrong(where, value, f"one of {', '.join(map(str, choices))}")


def _items(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(where, value, "a list, in brackets")
    if len(kinds) == 2 and kinds[1] is ...:
        return tuple(_as(kinds[0], one, where) for one in value)
    if len(kinds) != len(value):
        raise _wrong(where, value, f"a list of {len(kinds)}")
    return tuple(_as(kind, one, where) for kind, one in zip(kinds, value, strict=True))


def _wrong(where: str, value: Any, wanted: str) -> UserError:
    return UserError(f"{where} cannot be {value!r}: it is {wanted}")


def _plain(thing: Any) -> Any:
    """What TOML can write: tables, lists and values; what is None is left out."""
    if is_dataclass(thing) and not isinstance(thing, type):
        thing = {field.name: getattr(thing, field.name) for field in fields(thing)}
    match thing:
        case Mapping():
            return {str(name): _plain(value) for name, value in thing.items() if value is not None}
        case list() | tuple():
            return [_plain(value) for value in thing]
        case Enum():
            return thing.value
        case Path():
            return str(thing)
    return thing


def _tables(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    values = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    lines = ["", f"[{'.'.join(map(_key, path))}]"] if path and (values or not table) else []
    lines += [f"{_key(name)} = {literal(value)}" for name, value in values.items()]
    for name, value in table.items():
        if isinstance(value, Mapping):
            lines += _tables(value, (*path, name))
    return lines


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else literal(name)


def literal(value: Any) -> str:
    """A value as TOML writes it."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(_ESCAPES.get(char, char) for char in value) + '"'
        case list() | tuple():
            return f"[{', '.join(map(literal, value))}]"
        case Mapping() if not value:
            return "{}"
        case Mapping():
            return f"{{ {', '.join(f'{_key(name)} = {literal(one)}' for name, one in value.items())} }}"
    return str(value)


_ESCAPES: dict[str, str] = {'"': '\\"', "\\": "\\\\", "\x7f": "\\u007f", **{chr(n): f"\\u{n:04x}" for n in range(32)}}
