"""Settings: defaults, then the user's file, then the environment, then flags. Never from a repository."""

from __future__ import annotations

import difflib
import os
import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from assistant.errors import UserError
from assistant.own_models import OwnModel, read_models
from assistant.servers import McpServer, read_servers
from assistant.think_settings import UserRule, read_rules, read_without
from model.engine import SILENCE
from model.format import ThinkRequest

APP = "kat-pilot"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their defaults. The file is TOML with these names at its top level.

    None means: by the engine, or found by looking. Numbers are positive (`temperature` may be 0); seconds are seconds.
    `adapter` is a LoRA adapter for an engine in this process: GGUF for the embedded one, peft's folder for `torch:`.
    `sandbox_write` lists absolute paths of folders that commands may change besides the repository. `models` are the
    user's own, by name. `temperature` and `top_p` that are None are the model's makers' own. Budgets are in
    tokens: of one judge, of one thought (None: three quarters of `max_tokens`), of all thoughts of a session.
    `hold_format` has a server hold replies to KAT's format by a grammar, for models that never learned it.
    `run_tokens` and `run_seconds` limit what one message may take. `think_rules` are the user's own rules on thinking,
    `think_without` names built-in ones that do not count. `own_sessions` lets training data be made of one's sessions.
    A plain dataclass, because the first screen waits for it.
    """

    engine: str | None = None
    model: str | None = None
    dialect: Literal["kat", "qwen3", "qwen3_coder"] | None = None
    adapter: str | None = None
    hold_format: bool = False
    api_key: str | None = None
    think: ThinkRequest = ThinkRequest.AUTO
    profile: Literal["compact", "full"] | None = None
    max_steps: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    silence: float = SILENCE
    command_timeout: float = 120.0
    test_command: str | None = None
    sandbox_network: bool = False
    sandbox_write: tuple[str, ...] = ()
    mcp: tuple[McpServer, ...] = ()
    models: tuple[OwnModel, ...] = ()
    judge_budget: int = 200
    think_budget: int | None = None
    session_think_budget: int | None = None
    run_tokens: int | None = None
    run_seconds: float | None = None
    think_rules: tuple[UserRule, ...] = ()
    think_without: tuple[str, ...] = ()
    own_sessions: bool = False


NAMES = tuple(field.name for field in fields(Settings))
_ENVIRONMENT = {
    "KAT_ENGINE": "engine",
    "KAT_MODEL": "model",
    "KAT_DIALECT": "dialect",
    "KAT_ADAPTER": "adapter",
    "KAT_API_KEY": "api_key",
    "KAT_THINK": "think",
    "KAT_PROFILE": "profile",
    "KAT_MAX_STEPS": "max_steps",
}
_MAY_BE_ZERO = frozenset({"temperature", "seed"})
_SECRET = frozenset({"api_key", "mcp"})
_MOST = {"top_p": 1.0, "temperature": 2.0}


def config_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the user's settings are; ``KAT_CONFIG`` overrides."""
    return _directory(environ.get("KAT_CONFIG"), "user_config_path")


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where sessions are kept; ``KAT_STATE`` overrides."""
    return _directory(environ.get("KAT_STATE"), "user_state_path")


def load(flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force. A flag that is None does not count.

    Raises:
        UserError: the file cannot be read, or a name or value in it, the environment or the flags is wrong.
    """
    path = config_dir(environ) / "config.toml"
    values = _read(path)
    values |= {name: environ[key] for key, name in _ENVIRONMENT.items() if environ.get(key)}
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    types = typing.get_type_hints(Settings)
    return Settings(**{name: _checked(name, value, types, path) for name, value in values.items()})


def _directory(given: str | None, kind: str) -> Path:
    if given:
        return Path(given)
    import platformdirs

    found: Path = getattr(platformdirs, kind)(APP)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _checked(name: str, value: Any, types: Mapping[str, Any], path: Path) -> Any:
    """`value` as the setting's type."""
    if name not in types:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
        raise UserError(f"unknown setting {name!r} in {path}; {hint}")
    options = get_args(types[name]) if NoneType in get_args(types[name]) else ()
    kind = next((option for option in options if option is not NoneType), types[name])
    try:
        return _as(kind, value, name)
    except (TypeError, ValueError) as error:
        shown = "that" if name in _SECRET or isinstance(value, dict | list) else repr(value)
        raise UserError(f"the setting {name!r} cannot be {shown}: {error}") from None


def _as(kind: Any, value: Any, name: str) -> Any:
    if name in _READERS:
        return _READERS[name](value)
    if get_origin(kind) is Literal:
        return _one_of(value, get_args(kind))
    if kind is bool:
        return _yes_or_no(value)
    if issubclass(kind, Enum):
        return kind(_one_of(value, tuple(member.value for member in kind)))
    if kind is str:
        if not isinstance(value, str):
            raise TypeError("it is text")
        return value
    if isinstance(value, bool) or (kind is int and isinstance(value, float)):
        raise TypeError("it is a number" if kind is float else "it is a whole number")
    return _in_range(kind(value), name)


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"it is one of {', '.join(choices)}")
    return value


def _folders(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise TypeError('it is a list of folders, like ["/data/cache"]')
    for each in value:
        if not Path(each).is_absolute():
            raise ValueError(f"{each!r} is not an absolute path; write it out in full, from /")
    return tuple(value)


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it is true or false")
    return value


def _in_range(number: float, name: str) -> float:
    if number < 0 or (number == 0 and name not in _MAY_BE_ZERO):
        raise ValueError("it must be greater than 0")
    if number > _MOST.get(name, float("inf")):
        raise ValueError(f"it is at most {_MOST[name]:g}")
    return number


_READERS: dict[str, Callable[[Any], Any]] = {
    "sandbox_write": _folders,
    "mcp": read_servers,
    "models": read_models,
    "think_rules": read_rules,
    "think_without": read_without,
}
"""Settings that are more than one value."""
