"""The border between the agent and whatever runs the model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from model.prompt import Prompt

SILENCE = 120.0
"""Seconds without a byte after which a stream counts as dead; our choice."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens. The defaults are those of HiPO's model card."""

    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = 4096
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counted them; `cached` is the part of `prompt` that was not computed again.

    `prefill` is the seconds that it took for the rest of the prompt, or None where the engine does not say.
    """

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    prefill: float | None = None


class Finish(StrEnum):
    """Why a stream ended."""

    STOP = "stop"
    LENGTH = "length"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a reply. The last one has `finish`; a cut stream says in `error` what happened.

    `usage` is that of the whole stream so far; only the last one need have it. `lost` says of a cut stream that the
    engine went away, so that the request may be sent again.
    """

    text: str = ""
    tokens: int = 0
    finish: Finish | None = None
    usage: Usage | None = None
    error: str | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What answers: `name` is what the user would type, `model` what it runs, `context` its limit in tokens or None.

    `continues` says whether a reply can go on behind any opening; where it cannot, a prompt is answered from the start.
    `batches` says that several replies at once take it hardly longer than one.
    """

    name: str
    model: str
    dialect: str
    context: int | None = None
    why: str = ""
    continues: bool = True
    batches: bool = False


class EngineError(Exception):
    """The engine cannot be used as asked; the message is one sentence for the user."""


class EngineUnreachable(EngineError):
    """Nothing (usable) answers."""


class EngineRefused(EngineError):
    """It answers, and says no: a key is missing, the prompt is too long, the request is not understood."""


class Engine(Protocol):
    """Anything that turns a prompt into a stream of text.

    `stream` yields at least one delta, the last with `finish`. It raises `EngineError` only before the first delta;
    a stream that breaks later ends with `Finish.CUT` and keeps what came. Closing the generator stops the engine.
    """

    async def info(self) -> EngineInfo:
        """Reach the engine and ask what it is. Raises `EngineUnreachable` or `EngineRefused`."""

    def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The reply, as text in the prompt's dialect, beginning right behind the opening."""

    async def count(self, prompt: Prompt) -> int | None:
        """Tokens of the prompt by the real tokenizer, or None where the engine cannot tell."""

    async def aclose(self) -> None:
        """Let go of connections, memory and ports."""


def is_engine(spec: str) -> bool:
    """Whether `spec` has the form of an engine: `embedded`, `http://host:port[/v1]`, `unix:/path` or `torch:MODEL`."""
    return spec == "embedded" or spec.startswith(("http://", "https://", "unix:", "torch:"))
