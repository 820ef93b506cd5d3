"""Models that the user's settings name, beside those of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.errors import UserError

if TYPE_CHECKING:
    from model.catalog import CatalogEntry

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TEXTS = frozenset({"title", "repository", "path", "dialect", "licence", "quantization", "base"})
_DIALECTS = ("kat", "qwen3", "qwen3_coder")
_MOST = {"temperature": 2.0, "top_p": 1.0, "context": 10_000_000}
_TAKEN = (*sorted(_TEXTS), "aliases", *_MOST)


@dataclass(frozen=True, slots=True)
class OwnModel:
    """One `[models.NAME]` table: a name on a hub (`repository`) or files (`path`), and what is to be known of it.

    `context` is in tokens, `quantization` as in the catalogue (awq, gptq, fp8, int8, gguf), `base` names the model that
    it is a packed build of. What is None is found in its files, by its name, or stays unknown.
    """

    name: str
    title: str | None = None
    repository: str | None = None
    path: Path | None = None
    dialect: str | None = None
    context: int | None = None
    licence: str | None = None
    quantization: str | None = None
    base: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    aliases: tuple[str, ...] = ()

    def entry(self) -> CatalogEntry:
        """As an entry of the catalogue, with what can be told of it by its name."""
        from model.catalog import UNKNOWN_CONTEXT, CatalogEntry, parameters_of
        from model.dialects import dialect_of_model

        named = self.repository or self.name
        guessed = {"dialect": self.dialect, "context": self.context}
        return CatalogEntry(
            name=self.name,
            title=self.title or self.name,
            dialect=self.dialect or dialect_of_model(named),
            context=self.context or UNKNOWN_CONTEXT,
            licence=self.licence,
            parameters=parameters_of(named),
            repository=self.repository,
            path=self.path,
            quantization=self.quantization,
            base=self.base,
            temperature=self.temperature,
            top_p=self.top_p,
            aliases=self.aliases,
            assumed={key: "not in the settings" for key, value in guessed.items() if value is None},
        )


def read_models(value: Any) -> tuple[OwnModel, ...]:
    """The models of the `models` setting. Raises TypeError or ValueError that says what is wrong with which."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, Mapping):
        raise TypeError("each model is a table of its own, like [models.NAME]")
    return tuple(_model(name, table) for name, table in value.items())


def entry_named(name: str, own: Iterable[OwnModel]) -> CatalogEntry:
    """The model that a user means: one of his own, of the catalogue, of a hub, or files.

    Raises:
        UserError: there is none.
    """
    from model.catalog import resolve

    try:
        return resolve(name, [model.entry() for model in own])
    except ValueError as error:
        raise UserError(str(error)) from None


def _model(name: str, table: Any) -> OwnModel:
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name {name!r} has other than up to 64 letters, digits, dots, hyphens and underscores")
    if not isinstance(table, Mapping):
        raise TypeError(f"{name!r} is a table, like [models.{name}]")
    if unknown := sorted(set(table) - set(_TAKEN)):
        raise ValueError(f"[models.{name}] knows no {unknown[0]!r}; it takes {', '.join(_TAKEN)}")
    if ("repository" in table) == ("path" in table):
        raise ValueError(f"[models.{name}] has either a repository on a hub or a path to its files")
    values: dict[str, Any] = {key: _text(name, key, table[key]) for key in _TEXTS & set(table)}
    values |= {key: _number(name, key, table[key]) for key in set(_MOST) & set(table)}
    _checked(name, values)
    if "context" in values:
        values["context"] = int(values["context"])
    if "path" in values:
        values["path"] = _place(name, values["path"])
    return OwnModel(name, aliases=_aliases(name, table.get("aliases", [])), **values)


def _checked(name: str, values: Mapping[str, Any]) -> None:
    if values.get("dialect", "kat") not in _DIALECTS:
        raise ValueError(f"'dialect' of [models.{name}] is one of {', '.join(_DIALECTS)}")
    if values.get("context", 1) % 1:
        raise ValueError(f"'context' of [models.{name}] is a whole number of tokens")
    if "repository" in values and not re.fullmatch(r"[\w.-]+/[\w.-]+", values["repository"]):
        raise ValueError(f"'repository' of [models.{name}] is ORGANISATION/NAME")


def _text(name: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise TypeError(f"{key!r} of [models.{name}] is a line of text")
    return value


def _place(name: str, value: str) -> Path:
    """A path that means the same wherever the program is started."""
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        path = Path(value)
    if not path.is_absolute():
        raise ValueError(f"'path' of [models.{name}] begins with / or ~/")
    return path


def _number(name: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{key!r} of [models.{name}] is a number")
    if not 0 <= value <= _MOST[key] or (value == 0 and key != "temperature"):
        raise ValueError(f"{key!r} of [models.{name}] is above 0 and at most {_MOST[key]:g}")
    return value


def _aliases(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise TypeError(f"'aliases' of [models.{name}] is a list of names")
    return tuple(value)
