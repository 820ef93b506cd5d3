"""Replies of models on disk, so that none is drawn twice: whole or not there, and safe for several processes.

The first one to write a reply wins, and everybody reads back what stands there: two processes that ask the same at the
same time go on with the same reply.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from model.engine import Sampling
from model.format import Reply
from model.prompt import Prompt

_FORM = 1
"""Of the files; it goes into the keys, so that a newer form finds nothing of an older one."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A reply as it was drawn: its tokens by segment (and ``prompt``), and why it ended (``stop`` or ``length``)."""

    reply: Reply
    tokens: Mapping[str, int] = field(default_factory=dict)
    finish: str = "stop"

    @property
    def whole(self) -> bool:
        """Whether it ended by itself, and not at a limit."""
        return self.finish == "stop"

    @property
    def spent(self) -> int:
        """Tokens that were generated."""
        return sum(count for name, count in self.tokens.items() if name != "prompt")


def key_of(model: str, prompt: Prompt, sampling: Sampling, n: int = 1, **more: int | str | None) -> str:
    """What a reply is kept under: the model, the prompt's text, how it was drawn, how many, and what else decides."""
    parts = [_FORM, model, prompt.dialect, prompt.text, asdict(sampling), n, sorted(more.items())]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, sort_keys=True).encode()).hexdigest()


class ReplyCache:
    """A folder of replies, one file a key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> tuple[Drawn, ...] | None:
        """The replies kept under a key, or None; a file that cannot be read counts as none."""
        try:
            return tuple(_adapter().validate_json(self._path(key).read_bytes()))
        except (OSError, ValidationError):
            return None

    def put(self, key: str, drawn: Sequence[Drawn]) -> tuple[Drawn, ...]:
        """Keep replies, unless there are some already; what stands there afterwards. Raises OSError."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{secrets.token_hex(8)}.new")
        try:
            beside.write_bytes(_adapter().dump_json(list(drawn)))
            _place(beside, path, over=self.get(key) is None and path.exists())
        finally:
            beside.unlink(missing_ok=True)
        return self.get(key) or tuple(drawn)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


def _place(beside: Path, path: Path, *, over: bool) -> None:
    """Give a file its name, if it is free; over a broken one, and where no links can be made, in any case."""
    if not over:
        try:
            path.hardlink_to(beside)
            return
        except FileExistsError:
            return
        except OSError:
            pass
    beside.replace(path)


@cache
def _adapter() -> TypeAdapter[list[Drawn]]:
    return TypeAdapter(list[Drawn])
