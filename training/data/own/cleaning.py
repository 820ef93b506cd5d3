"""Takes out of a user's own session what must not be learnt: secrets, personal data, and where things lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from assistant.safety.secrets import known_secrets, redact
from model.format import Reply, ToolCall
from model.prompt import Message
from training.data.guards.scrub import Scrubber

_REPOSITORIES, _HOME = "/repo", "/home/dev"
"""Where repositories and the user's folder seem to lie."""


class Cleaner:
    """Cleans one text after the other; one value becomes the same placeholder in all of them.

    `root` is the repository, `names` are of people, and `environ` holds secrets that are known by their values.
    """

    def __init__(
        self, root: Path, names: Iterable[str], environ: Mapping[str, str] = os.environ, home: Path | None = None
    ) -> None:
        self._known = known_secrets(None, environ)
        self._scrub = Scrubber(names)
        self._places = ((str(root), f"{_REPOSITORIES}/{root.name}"), (str(home or Path.home()), _HOME))

    def text(self, text: str) -> str:
        """The text without them."""
        for place, neutral in self._places:
            text = text.replace(place, neutral)
        return self._scrub(redact(text, self._known))

    def message(self, message: Message) -> Message:
        """The message without them."""
        return replace(message, content=self.text(message.content), calls=tuple(map(self._call, message.calls)))

    def reply(self, reply: Reply) -> Reply:
        """The reply without them."""
        judge, think, answer = map(self.text, (reply.judge, reply.think, reply.answer))
        return replace(reply, judge=judge, think=think, answer=answer, calls=tuple(map(self._call, reply.calls)))

    def _call(self, call: ToolCall) -> ToolCall:
        raw = self.text(call.raw) if call.error else ""
        arguments = {key: self._value(value) for key, value in call.arguments.items()}
        return ToolCall(call.name, arguments, raw, call.error)

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case dict():
                return {key: self._value(each) for key, each in value.items()}
            case list():
                return [self._value(each) for each in value]
            case _:
                return value
