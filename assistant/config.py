"""Settings: defaults, then the user's file, then the environment, then flags. Never from a repository."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assistant.errors import UserError
from model.format import ThinkRequest

APP = "kat-pilot"


class Settings(BaseModel):
    """All settings with their defaults. The file is TOML with these names at its top level."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: str | None = Field(None, description="embedded, http://host:port[/v1] or unix:/path; unset: look for one")
    model: str | None = Field(None, description="the model's name on a server that has several")
    dialect: Literal["kat", "qwen3", "qwen3_coder"] | None = Field(None, description="unset: by the model's name")
    api_key: str | None = Field(None, description="key for the engine; better in KAT_API_KEY", repr=False)
    think: ThinkRequest = Field(ThinkRequest.AUTO, description="auto, on or off")
    profile: Literal["compact", "full"] | None = Field(None, description="prompt size; unset: by the engine")
    max_steps: int | None = Field(None, ge=1, le=10_000, description="steps a message may take; unset: by the engine")
    max_tokens: int | None = Field(None, ge=16, description="tokens a reply may have; unset: by the engine")
    temperature: float | None = Field(None, ge=0, le=2, description="unset: by the engine")
    top_p: float = Field(0.95, gt=0, le=1)
    seed: int | None = None
    silence: float = Field(120.0, gt=0, description="seconds without a byte after which a stream counts as dead")
    command_timeout: float = Field(120.0, gt=0, description="seconds a command or a test run may take")
    test_command: str | None = Field(None, description="unset: found by the repository's files")


_ENVIRONMENT = {
    "KAT_ENGINE": "engine",
    "KAT_MODEL": "model",
    "KAT_DIALECT": "dialect",
    "KAT_API_KEY": "api_key",
    "KAT_THINK": "think",
    "KAT_PROFILE": "profile",
    "KAT_MAX_STEPS": "max_steps",
}


def config_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the user's settings are; ``KAT_CONFIG`` overrides."""
    return Path(environ.get("KAT_CONFIG") or platformdirs.user_config_path(APP))


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where sessions are kept; ``KAT_STATE`` overrides."""
    return Path(environ.get("KAT_STATE") or platformdirs.user_state_path(APP))


def load(flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force. A flag that is None does not count.

    Raises:
        UserError: the file cannot be read, or a name or value in it, the environment or the flags is wrong.
    """
    path = config_dir(environ) / "config.toml"
    values = _read(path)
    values |= {name: environ[key] for key, name in _ENVIRONMENT.items() if environ.get(key)}
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**values)
    except ValidationError as error:
        raise UserError(_sentence(error, path)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _sentence(error: ValidationError, path: Path) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, Settings.model_fields, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(Settings.model_fields)}"
        return f"unknown setting {name!r} in {path}; {hint}"
    return f"the setting {name!r} cannot be {first['input']!r}: {first['msg'].lower()}"
