"""What an editor sends as a message, as text; and patches as an editor shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from acp.schema import (
    AudioContentBlock,
    EmbeddedResourceContentBlock,
    FileEditToolCallContent,
    ImageContentBlock,
    ResourceContentBlock,
    TextContentBlock,
    TextResourceContents,
)

from assistant.errors import UserError

Block = TextContentBlock | ImageContentBlock | AudioContentBlock | ResourceContentBlock | EmbeddedResourceContentBlock

_FILE = re.compile(r"^--- (.*)\n\+\+\+ (.*)\n", re.MULTILINE)
_HUNK = re.compile(r"^@@ .*\n?", re.MULTILINE)
_NO_FILE = "/dev/null"


def message_of(blocks: Sequence[Block], root: Path) -> str:
    """The message as text; files in the repository are named by their paths in it.

    Raises:
        UserError: there is a picture or sound in it, or nothing at all.
    """
    text = "".join(_text_of(block, root) for block in blocks)
    if not text.strip():
        raise UserError("the message is empty; say what to do")
    return text


def words_of(blocks: Sequence[Block]) -> str:
    """What of the message the user wrote himself."""
    return "".join(block.text for block in blocks if isinstance(block, TextContentBlock))


def _text_of(block: Block, root: Path) -> str:
    match block:
        case TextContentBlock():
            return block.text
        case ResourceContentBlock():
            return f" {_named(block.uri, root)} "
        case EmbeddedResourceContentBlock(resource=TextResourceContents() as resource):
            return f"\n{_named(resource.uri, root)}:\n{_fenced(resource.text)}\n"
        case EmbeddedResourceContentBlock():
            return f"\n{_named(block.resource.uri, root)} (not text)\n"
        case ImageContentBlock() | AudioContentBlock():
            raise UserError(f"the model cannot take {block.type}; send text and files")


def _named(uri: str, root: Path) -> str:
    """A file's path, in the repository if it lies there, with the lines that the address names; else the address."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return uri
    path = Path(unquote(parts.path))
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return f"{shown}:{parts.fragment}" if parts.fragment else str(shown)


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def edits_of(patch: str, root: Path) -> list[FileEditToolCallContent]:
    """A unified diff as an editor shows it, one piece a hunk."""
    pieces = _FILE.split(patch)[1:]
    files = zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=True)
    return [edit for before, after, body in files for edit in _hunks(_name(before, after), before, body, root)]


def proposed(tool: str, arguments: Mapping[str, Any], root: Path) -> list[FileEditToolCallContent]:
    """What a call would change, as far as its arguments tell without a look at the file."""
    path = arguments.get("path")
    if isinstance(arguments.get("patch"), str):
        return edits_of(arguments["patch"], root)
    if not isinstance(path, str):
        return []
    match tool, arguments:
        case "write_file", {"content": str(new)}:
            return [_edit(root, path, None, new)]
        case "edit_file", {"edits": [*edits]}:
            pairs = [(each.get("old"), each.get("new")) for each in edits if isinstance(each, dict)]
        case "edit_file", {"old": old, "new": new}:
            pairs = [(old, new)]
        case _:
            return []
    return [_edit(root, path, str(old), str(new)) for old, new in pairs]


def places(arguments: Mapping[str, Any], root: Path) -> list[str]:
    """The files that a call names."""
    named = [arguments.get(name) for name in ("path", "new_path")]
    return [str(root / path) for path in named if isinstance(path, str) and path]


def _name(before: str, after: str) -> str:
    """The path that a patch is for: without git's prefix, or a time behind a tab."""
    name = (before if after.strip() == _NO_FILE else after).split("\t")[0].strip()
    return name[2:] if name.startswith(("a/", "b/")) else name


def _hunks(name: str, before: str, body: str, root: Path) -> Iterator[FileEditToolCallContent]:
    new_file = before.strip() == _NO_FILE
    for hunk in _HUNK.split(body)[1:]:
        old, new = _sides(hunk)
        yield _edit(root, name, None if new_file else old, new)


def _sides(hunk: str) -> tuple[str, str]:
    """The text before and after."""
    lines = [line for line in hunk.splitlines(keepends=True) if line[:1] in (" ", "+", "-")]
    return tuple("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))  # type: ignore[return-value]


def _edit(root: Path, path: str, old: str | None, new: str) -> FileEditToolCallContent:
    return FileEditToolCallContent(type="diff", path=str(root / path), old_text=old, new_text=new)
