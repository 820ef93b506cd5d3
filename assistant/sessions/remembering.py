"""What the model of a session that goes on knows of files, told from its journal and the files as they are now."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from assistant.safety.sanitize import sanitize
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace
from assistant.workspace.seen import Seen

Record = Mapping[str, Any]
_LINE = re.compile(r"^(\d+)\t(.*)$", re.MULTILINE)
_LONG = re.compile(r" … [\d,]+ characters left out$")
_STALE = ""
"""The digest of no file: it was known once, and is not as it was."""


def remembered(records: Iterable[Record], workspace: Workspace) -> Seen:
    """The files that were read or written; those that changed since count as known, but as another text.

    So a file that somebody changed between two runs is shown to the model before it overwrites it.
    """
    seen = Seen()
    for path, last in _last_known(records, workspace).items():
        try:
            data, text = workspace.read_bytes(path)[0], workspace.read(path)
        except WorkspaceError:
            continue
        same = _is_blob(data, last["blob"]) if "blob" in last else _shows(last["output"], text.text)
        note = seen.wrote if "blob" in last else seen.show
        note(path, (text.digest or _STALE) if same else _STALE)
    seen.next_reply()
    return seen


def _last_known(records: Iterable[Record], workspace: Workspace) -> dict[str, Mapping[str, str]]:
    """For each file what the model saw of it last: what was read, or the blob that a step left."""
    known: dict[str, Mapping[str, str]] = {}
    reads: dict[str, str] = {}
    for record in records:
        match record["kind"]:
            case "intent" if record["tool"] == "read_file":
                reads[record["id"]] = str(record["arguments"].get("path", ""))
            case "result" if record["outcome"] == "ok" and record["id"] in reads:
                if path := _relative(workspace, reads[record["id"]]):
                    known[path] = {"output": record["output"]}
            case "changed":
                known |= _left(record["changes"])
    return known


def _left(changes: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    return {path: {"blob": after[1] if after else ""} for path, (_, after) in changes.items()}


def _relative(workspace: Workspace, path: str) -> str:
    try:
        return workspace.relative(path)
    except WorkspaceError:
        return ""


def _is_blob(data: bytes, blob: str) -> bool:
    """Whether git would call this content so."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest() == blob


def _shows(output: str, text: str) -> bool:
    """Whether every numbered line of an output is still the line of that number."""
    lines = text.split("\n")
    for number, shown in _LINE.findall(output):
        if int(number) > len(lines):
            return False
        line = sanitize(lines[int(number) - 1].removesuffix("\r"))
        whole = _LONG.sub("", shown)
        if line != shown and not (whole != shown and line.startswith(whole)):
            return False
    return True
