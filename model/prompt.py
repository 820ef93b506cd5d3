"""Prompts: markup that we write, and text that others wrote and that can never become markup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from model.escape import escape
from model.format import Reply, ReplyParser, Segment, ThinkRequest, ToolCall
from model.surrogates import replace_surrogates

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the conversation. An assistant's `content` is its answer alone; judge and think are gone."""

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model is told of it. `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def as_openai(self) -> dict[str, Any]:
        """The form that chat templates and /v1/chat/completions take."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Opening:
    """What the assistant's turn already holds when the model takes over, and the segment that stands open there."""

    text: str = ""
    segment: Segment = Segment.JUDGE


class Piece(NamedTuple):
    """A stretch of a prompt; only a trusted one may hold control tokens."""

    text: str
    trusted: bool

    @property
    def inert(self) -> str:
        """The text as it may be sent: escaped unless it is trusted."""
        return self.text if self.trusted else escape(self.text)


class Tokenizer(Protocol):
    """What `Prompt.token_ids` needs of a tokenizer."""

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """Token ids of `text`; with `specials` false, ``<|im_end|>`` and its kind are plain text."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in every form an engine may want: pieces, text, token ids, or the messages it was made from.

    `think` is what it really asks of the model: AUTO where the dialect has no switch, whatever was wanted.
    """

    dialect: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    think: ThinkRequest
    opening: Opening
    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The prompt as text, untrusted pieces escaped."""
        return "".join(piece.inert for piece in self.pieces)

    def token_ids(self, tokenizer: Tokenizer) -> list[int]:
        """The prompt as token ids; ``<|im_end|>`` in untrusted text becomes ordinary tokens.

        Untrusted text is escaped here too: a vocabulary may have added tokens that are not marked as special, and
        tokenizers find those in any text.
        """
        ids: list[int] = []
        for piece in self.pieces:
            ids += tokenizer.encode(piece.inert, specials=piece.trusted)
        return ids


class Dialect(Protocol):
    """How one family of models is asked, and how its replies read."""

    name: str

    def render(self, messages: Iterable[Message], tools: Iterable[ToolSpec], think: ThinkRequest, why: str) -> Prompt:
        """The prompt for the next reply. `why` becomes the judge's text where a mode is forced."""

    def reopen(self, prompt: Prompt, opening: Opening) -> Prompt:
        """The same prompt with another opening, as `resume` and `cut` make them."""

    def resume(self, written: str, segment: Segment) -> Opening:
        """An opening that goes on where `written` (opening and reply so far) stopped, inside `segment`."""

    def cut(self, written: str, segment: Segment) -> Opening:
        """An opening that ends the open judge or thought of `written`, so that what comes next follows."""

    def answer(self, written: str, segment: Segment) -> Opening:
        """As `cut`, but the answer follows in any case: a judge that is ended so does not get to think."""

    def parser(self) -> ReplyParser:
        """A parser in the state that the generation prompt leaves; feed it the opening's text first."""

    def write(self, reply: Reply) -> str:
        """A reply as a model would write it, beginning where a completion begins; its text is escaped."""


class PieceList:
    """Collects pieces behind those `before`, joining neighbours of the same trust; lone surrogates are replaced."""

    def __init__(self, before: tuple[Piece, ...] = ()) -> None:
        self._before = before[:-1]
        self._pieces: list[tuple[list[str], bool]] = [([piece.text], piece.trusted) for piece in before[-1:]]

    def markup(self, text: str) -> None:
        """Add text that we wrote."""
        self._add(text, True)

    def text(self, text: str) -> None:
        """Add text that others wrote."""
        self._add(text, False)

    def pieces(self) -> tuple[Piece, ...]:
        """All pieces so far."""
        return self._before + tuple(Piece("".join(parts), trusted) for parts, trusted in self._pieces)

    def inert(self) -> str:
        """Everything so far as one text, what others wrote escaped."""
        return "".join(piece.inert for piece in self.pieces())

    def _add(self, text: str, trusted: bool) -> None:
        if not text:
            return
        text = replace_surrogates(text)
        if self._pieces and self._pieces[-1][1] is trusted:
            self._pieces[-1][0].append(text)
        else:
            self._pieces.append(([text], trusted))


CallWriter = Callable[[PieceList, str, Mapping[str, Any]], None]
"""Adds the body of a call, by its name and arguments."""
