"""Slash prompts: messages kept as Markdown files, ours and the user's own. Never from a repository."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import islice
from pathlib import Path

from assistant.config import config_dir
from assistant.errors import UserError

_FOLDER = "prompts"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_HEAD = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_DESCRIPTION = re.compile(r"^description:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_PLACE = re.compile(r"\{arguments(?:\|([^{}]*))?\}")
_SHOWN = 80
_MOST = 200
_LONGEST = 64_000
"""Files of a folder, and characters of one, that are read; our choice."""


@dataclass(frozen=True, slots=True)
class SlashPrompt:
    """A prompt by its name. `own` says that the user wrote it; `problem` says why it cannot be used, if it cannot."""

    name: str
    description: str
    text: str
    own: bool = False
    problem: str = ""

    def message(self, arguments: str = "") -> str:
        """The message: `arguments` where the text has ``{arguments}``, or behind it where it has no such place.

        ``{arguments|something}`` stands for something where there are none.

        Raises:
            UserError: the file cannot be read.
        """
        if self.problem:
            raise UserError(self.problem)
        given = arguments.strip()
        if given and not _PLACE.search(self.text):
            return f"{self.text}\n\n{given}"
        return _PLACE.sub(lambda place: given or place[1] or "", self.text).strip()


def slash_prompts(environ: Mapping[str, str] = os.environ) -> dict[str, SlashPrompt]:
    """All prompts by name, in the order of their names; the user's own stand in for ours."""
    found = {prompt.name: prompt for prompt in _ours()}
    found |= {prompt.name: prompt for prompt in _of_the_user(config_dir(environ) / _FOLDER)}
    return dict(sorted(found.items()))


def expand(text: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The message that ``/NAME arguments`` stands for; None where `text` is no slash prompt.

    Raises:
        UserError: the prompt's file cannot be read.
    """
    words = text.strip().split(maxsplit=1)
    if not words or not words[0].startswith("/"):
        return None
    prompt = slash_prompts(environ).get(words[0][1:])
    return prompt.message(words[1] if len(words) > 1 else "") if prompt else None


def _ours() -> Iterator[SlashPrompt]:
    for file in resources.files("assistant").joinpath(_FOLDER, "slash").iterdir():
        if (name := _name(file)) is not None:
            yield _prompt(name, file.read_text("utf-8"), own=False)


def _of_the_user(folder: Path) -> Iterator[SlashPrompt]:
    try:
        files = sorted(islice(folder.iterdir(), _MOST))
    except OSError:
        return
    for file in files:
        if (name := _name(file)) is None:
            continue
        try:
            with file.open(encoding="utf-8") as opened:
                text = opened.read(_LONGEST + 1)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            problem = f"the prompt {file} cannot be read: {why}"
            yield SlashPrompt(name, "cannot be read", "", own=True, problem=problem)
            continue
        yield _prompt(name, text, own=True) if len(text) <= _LONGEST else _too_long(name, file)


def _too_long(name: str, file: Path) -> SlashPrompt:
    problem = f"the prompt {file} is longer than {_LONGEST:,} characters; make it shorter"
    return SlashPrompt(name, "is too long", "", own=True, problem=problem)


def _name(file: Traversable) -> str | None:
    name = file.name.removesuffix(".md")
    return name if name != file.name and _NAME.fullmatch(name) and file.is_file() else None


def _prompt(name: str, text: str, *, own: bool) -> SlashPrompt:
    text = text.removeprefix("\ufeff")
    head = _HEAD.match(text)
    body = (text[head.end() :] if head else text).strip()
    described = _DESCRIPTION.search(head[1]) if head else None
    description = described[1] if described else body.partition("\n")[0].lstrip("# ")
    if not body:
        return SlashPrompt(name, "is empty", "", own, problem=f"the prompt /{name} is empty; write what it shall say")
    return SlashPrompt(name, description[:_SHOWN], body, own)
