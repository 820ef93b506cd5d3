"""How long a prompt is, in tokens, and how much of the context a conversation may take."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.context import Transcript, Turn
from model.engine import Engine
from model.format import ThinkRequest
from model.prompt import Dialect, Message, Prompt, ToolSpec

TRIGGER = 0.85
"""The share of the room at which a conversation is made shorter; our choice."""
TARGET = 0.5
"""The share that it shall take then, so that it has room to grow; our choice."""
_GROWTH = 0.1
"""The share it must have grown by since it was last made shorter, as long as it fits; our choice."""
_SLACK = 256
"""Tokens kept free for the words that open a reply and those that are put into it, and the least reply; our choice."""
_BYTES_A_TOKEN = 3
"""A guess for engines that never count; it is called an estimate wherever it is used."""
_MARKUP = 64
"""Tokens of markup around a message or a call, at most."""


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens of a prompt; `exact` is False where they are an estimate."""

    tokens: int
    exact: bool = True


def room(context: int, reply: int) -> int:
    """Tokens that a prompt may have beside a reply of `reply` tokens, never less than two thirds of the context."""
    return max(context - reply - _slack(context), context * 2 // 3)


def left(context: int, prompt: int) -> int:
    """Tokens that a reply may have behind a prompt of so many, 0 where none is worth asking for.

    Servers refuse a request that asks for more than fits.
    """
    free = context - prompt - _slack(context)
    return free if free >= _slack(context) else 0


def needs(context: int | None, prompt: int, reply: int, since: int | None = None) -> bool:
    """Whether a prompt of so many tokens must be made shorter; never where the context is not known.

    `since` is the length it had when it was last made shorter: as long as it fits, it must have grown since.
    """
    if context is None:
        return False
    if not left(context, prompt):
        return True
    limit = room(context, reply)
    return prompt > TRIGGER * limit and (since is None or prompt - since > _GROWTH * limit)


def _slack(context: int) -> int:
    return min(_SLACK, context // 16)


class Gauge:
    """Measures prompts: by the engine's tokenizer, else by what a server counted before, scaled by bytes."""

    def __init__(self, engine: Engine, dialect: Dialect, specs: Sequence[ToolSpec]) -> None:
        self._engine = engine
        self._dialect = dialect
        self._specs = tuple(specs)
        self._counted: tuple[int, int] | None = None
        self._prompt: tuple[Prompt, int] | None = None

    async def length(self, messages: Sequence[Message]) -> Length:
        """The prompt that these messages make, without an opening. Raises `EngineError`."""
        prompt = self._dialect.render(messages, self._specs, ThinkRequest.AUTO, "")
        counted = await self._engine.count(prompt)
        if counted is not None:
            return Length(counted)
        return Length(math.ceil(_size(prompt.text) * self._tokens_a_byte()), exact=False)

    def saw(self, prompt: Prompt, tokens: int) -> None:
        """A server counted `prompt`, whose messages are a beginning of the transcript."""
        if tokens > 0:
            self.measured(len(prompt.messages) - 1, tokens)  # without the system message
            self._prompt = (prompt, tokens)

    def measured(self, turns: int, tokens: int) -> None:
        """The first `turns` of the transcript make a prompt of so many tokens."""
        self._counted = (turns, tokens)

    def at_most(self, transcript: Transcript) -> int | None:
        """No prompt of `transcript` has more tokens: what was counted, and a token for each byte that came since."""
        if self._counted is None or self._counted[0] > len(transcript.turns):
            return None
        turns, tokens = self._counted
        return tokens + sum(_bytes(turn) for turn in transcript.turns[turns:])

    def _tokens_a_byte(self) -> float:
        prompt, tokens = self._prompt or (None, 0)
        return tokens / max(1, _size(prompt.text)) if prompt else 1 / _BYTES_A_TOKEN


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _bytes(turn: Turn) -> int:
    message = turn.message
    texts = [message.content, *(json.dumps(call.arguments, ensure_ascii=False) for call in message.calls)]
    texts += [call.name + call.raw for call in message.calls]
    sizes = (_size(text) + 3 * text.count("<") for text in texts)  # `<` may be escaped
    return sum(sizes) + _MARKUP * (1 + len(message.calls))
