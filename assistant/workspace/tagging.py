"""Finds the tags of many files at once, in processes apart: batches, so that asking costs little beside the work."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from assistant.apart import APART, Apart
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace
from assistant.workspace.scan import written_by_people
from assistant.workspace.tags import tagged

_BATCH = 200_000
"""Characters of a batch: about a tenth of a second of work; our choice."""
_SECONDS = 5.0
"""How long a batch may take, and a file of one that took longer or ended its process."""
FEW = 16
"""So many files are not worth another process."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to look into. `digest` tells its language and content; None: it has nothing for the map."""

    path: str
    language: str
    text: str
    digest: str


def source(workspace: Workspace, path: str) -> Source | None:
    """The file as it is now; None where it cannot be read, or a program wrote it."""
    language = tagged(path)
    with suppress(WorkspaceError):
        file = workspace.read(path)
        if language is not None and written_by_people(file.text):
            return Source(path, language, file.text, f"{language}:{file.digest}")
    return None


def find_tags(
    sources: Iterator[Source], done: Callable[[Source, Any], None], aparts: Sequence[Apart], deadline: float
) -> None:
    """Call `done`, from several threads but never at once, with each source and its tags; stop at the deadline.

    The tags are None where the text ended the process that read it, or took it over five seconds. `deadline` is a time
    of `time.monotonic`; a file that is cut off by it has nothing said of it.
    """
    batches, lock = _batches(sources), threading.Lock()

    def work(apart: Apart) -> None:
        while time.monotonic() < deadline:
            with lock:
                batch = next(batches, None)
            if batch is None:
                return
            for one, tags in _ask(apart, batch, deadline):
                with lock:
                    done(one, tags)

    with ThreadPoolExecutor(len(aparts), "tags") as pool:
        for result in [pool.submit(work, apart) for apart in aparts]:
            result.result()


@contextmanager
def processes_for(count: int, most: int) -> Iterator[Sequence[Apart]]:
    """As many processes as so many files are worth: for a few, the one that everybody uses."""
    if count <= FEW:
        yield [APART]
        return
    aparts = [Apart() for _ in range(most)]
    try:
        yield aparts
    finally:
        for apart in aparts:
            apart.close()


def _batches(sources: Iterable[Source]) -> Iterator[list[Source]]:
    batch, size = list[Source](), 0
    for one in sources:
        batch.append(one)
        size += len(one.text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _ask(apart: Apart, batch: Sequence[Source], deadline: float) -> Iterator[tuple[Source, Any]]:
    """A batch that ends its process is asked for file by file, so that only the hostile one has no tags."""
    left = max(0.0, deadline - time.monotonic())
    answer = apart.call("tags", [[one.language, one.text] for one in batch], seconds=min(left, _SECONDS))
    if answer is None and time.monotonic() >= deadline:
        return
    if answer is None and len(batch) > 1:
        for one in batch:
            yield from _ask(apart, [one], deadline)
        return
    if answer is not None or apart.call("tags", []) == []:  # else no process can be had, and the file is not to blame
        yield from zip(batch, answer or [None], strict=True)


def state(items: Iterable[tuple[str, str]]) -> str:
    """A digest of pairs of text."""
    found = hashlib.sha256()
    for one in sorted(items):
        found.update("\0".join(one).encode("utf-8", "surrogateescape"))
        found.update(b"\0\0")
    return found.hexdigest()
