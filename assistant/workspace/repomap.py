"""The map of a repository: what it defines, the most wanted first, cut to a budget of tokens.

What was found in a file is kept by its content; a change of one file costs the reading of one file.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace
from assistant.workspace.names import Focus, Key, NameIndex, Names
from assistant.workspace.outline import LEAST, fitted
from assistant.workspace.scan import scan, stamps, wanted
from assistant.workspace.symbols import matches, name_parts
from assistant.workspace.tagcache import Known, TagCache
from assistant.workspace.tagging import FEW, Source, find_tags, processes_for, source, state
from assistant.workspace.tags import Definition, tagged, tags_of
from assistant.workspace.watching import Watch

_PROCESSES = 2
_MOST_SHOWN = 2_000
"""Definitions that a map is cut from; our choice."""
_SECONDS = 30.0
"""How long a call may look into what is new; the next one goes on from there. Our choice."""
_NEVER = Known("", "")


@dataclass(frozen=True, slots=True)
class Place:
    """A definition and the file that holds it."""

    path: str
    definition: Definition


@dataclass(frozen=True, slots=True)
class Use:
    """A file that uses a name: how often, and the line where it does first."""

    path: str
    count: int
    line: int


@dataclass(frozen=True, slots=True)
class Found:
    """Where a name is defined and used."""

    definitions: tuple[Place, ...]
    uses: tuple[Use, ...]


class RepoMap:
    """The map of one repository. `cache_folder` None keeps nothing on disk. May be used from several threads.

    Without `hears` it looks at every file each time: what it then says is never a moment old.
    """

    def __init__(
        self, workspace: Workspace, cache_folder: Path | None, *, processes: int = _PROCESSES, hears: bool = True
    ) -> None:
        self._workspace = workspace
        self._hears = hears
        self._processes = processes
        self._cache = TagCache(cache_folder, workspace.root)
        self._lock = threading.Lock()
        self._known: dict[str, Known] | None = None
        self._index: NameIndex | None = None
        self._defined: dict[str, tuple[Definition, ...]] = {}
        self._watch: Watch | None = None
        self._closed = False
        self._left = 0

    async def text(
        self,
        budget: int,
        *,
        mentioned: str = "",
        opened: Collection[str] = (),
        changed: Collection[str] = (),
        count: Callable[[str], int],
    ) -> str:
        """The map in at most `budget` tokens as `count` counts them; "" where nothing fits or nothing is defined.

        `mentioned` is what the user said; `opened` and `changed` are paths relative to the repository.
        """
        return await asyncio.to_thread(self.now, budget, Focus(mentioned, opened, changed), count)

    def now(self, budget: int, focus: Focus, count: Callable[[str], int], *, seconds: float = _SECONDS) -> str:
        """The same in this thread, of what is found in about so many seconds."""
        with self._lock:
            self._refresh({*focus.opened, *focus.changed}, time.monotonic() + seconds)
            order = self._order(focus)
            self._load(path for path, _ in order[: budget // LEAST])
            return fitted(order, self._definitions, budget, count)

    def ranked(self, focus: Focus, limit: int, *, seconds: float = _SECONDS) -> tuple[Place, ...]:
        """The definitions that are wanted most, at most `limit`, of what is found in about so many seconds."""
        with self._lock:
            self._refresh({*focus.opened, *focus.changed}, time.monotonic() + seconds)
            order = self._order(focus)[:limit]
            self._load(path for path, _ in order)
            found = (Place(path, one) for path, name in order for one in self._definitions(path) if one.name == name)
            return tuple(islice(found, limit))

    async def symbols(self, path: str) -> tuple[Definition, ...]:
        """What a file defines, in its order, whether or not it is in the map. Raises `WorkspaceError`."""
        file = await asyncio.to_thread(self._workspace.read, path)
        tags = await asyncio.to_thread(tags_of, path, file.text)
        return tags.definitions

    async def find(self, name: str, changed: Collection[str] = ()) -> Found:
        """Where a name, perhaps qualified (``Class.method``), is defined, and where its last part is used."""
        return await asyncio.to_thread(self._find, name, changed)

    def remark(self) -> str:
        """A sentence where the last look had no time for all files, else an empty string."""
        return f"({self._left:,} files are not looked into yet; call again for them.)" if self._left else ""

    def watch(self) -> None:
        """From now on hear of changes from the system instead of looking at every file. Needs `close`."""
        if self._watch is None and self._hears:
            self._watch = Watch(self._workspace.root)

    def close(self) -> None:
        """Stop watching, and looking into files."""
        self._closed = True
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _find(self, name: str, changed: Collection[str]) -> Found:
        *_, last = parts = name_parts(name)
        with self._lock:
            self._refresh(changed, time.monotonic() + _SECONDS)
            index = self._indexed()
            self._load(index.definers(last))
            places = [
                Place(path, one)
                for path in index.definers(last)
                for one in self._definitions(path)
                if matches(one, parts)
            ]
            uses = list(self._uses(index.users(last), last))
        return Found(tuple(places), tuple(sorted(uses, key=lambda use: (-use.count, use.path))))

    def _uses(self, paths: Collection[str], name: str) -> Iterator[Use]:
        files = self._files()
        kept = self._cache.lines({files[path].digest for path in paths})
        for path in paths:
            uses = kept.get(files[path].digest, {})
            found = [uses[way] for way in (name, f".{name}") if way in uses]
            if found:
                yield Use(path, sum(count for count, _ in found), min(line for _, line in found))

    def _order(self, focus: Focus) -> list[Key]:
        """The order without any focus is kept on disk: it is what every session begins with."""
        if self._index is not None or focus.words or focus.opened or focus.changed:
            return self._indexed().ranked(focus, _MOST_SHOWN)
        now = state((path, known.digest) for path, known in self._files().items())
        kept = self._cache.order(now)
        if kept is None:
            kept = self._indexed().ranked(focus, _MOST_SHOWN)
            self._cache.save_order(now, kept)
        return kept

    def _files(self) -> dict[str, Known]:
        if self._known is None:
            self._known = self._cache.known()
        return self._known

    def _indexed(self) -> NameIndex:
        """The names of all files; loaded when first asked for."""
        if self._index is None:
            self._index = NameIndex()
            self._index.update(self._names(self._files()))
        return self._index

    def _names(self, paths: Collection[str]) -> dict[str, Names | None]:
        """The names of these files. One whose tags the cache has lost is looked into again the next time."""
        files, found = self._files(), dict[str, Names | None]()
        kept = self._cache.names({files[path].digest for path in paths if files[path].digest})
        for path in [*paths]:
            digest = files[path].digest
            if digest and digest not in kept:
                files[path] = _NEVER
            names, used = kept.get(digest, ((), {}))
            found[path] = Names(tagged(path) or "", frozenset(names), used)
        return found

    def _definitions(self, path: str) -> tuple[Definition, ...]:
        return self._defined.get(path, ())

    def _load(self, paths: Iterable[str]) -> None:
        """Have the definitions of these files at hand."""
        files = self._files()
        wanted = {path: files[path].digest for path in paths if path in files and path not in self._defined}
        kept = self._cache.definitions(set(wanted.values())) if wanted else {}
        self._defined |= {path: kept.get(digest, ()) for path, digest in wanted.items()}

    def _refresh(self, asked: Collection[str], deadline: float) -> None:
        """Look into what is new or another since, and forget what is gone."""
        self._left = 0
        current, files = self._current(asked), self._files()
        paths = [path for path, stamp in current.items() if stamp and files.get(path, _NEVER).stamp != stamp]
        gone = [path for path, stamp in current.items() if stamp is None and path in files]
        if not paths and not gone:
            return
        found = self._look(sorted(paths, key=_turn), current, deadline)
        self._left = len(paths) - len(found.files)
        if self._left and self._watch is not None:
            self._watch.forget()
        if not self._cache.save(found.files, gone, found.tags):
            self._begin_again(deadline)
            return
        for path in gone:
            del files[path]
        files |= found.files
        for path in (*gone, *found.files):
            self._defined.pop(path, None)
        if self._index is not None:
            self._index.update({**dict.fromkeys(gone), **self._names(found.files)})

    def _begin_again(self, deadline: float) -> None:
        """What cannot be kept on disk is kept in memory."""
        self._cache = TagCache(None, self._workspace.root)
        self._known, self._index = None, None
        self._defined.clear()
        if self._watch is not None:
            self._watch.forget()
        self._refresh((), deadline)

    def _look(self, paths: Sequence[str], current: Mapping[str, str | None], deadline: float) -> _Look:
        found, files = _Look(), self._files()
        kept = self._cache.digests() if len(paths) > FEW else set[str]()

        def sources() -> Iterator[Source]:
            for path in paths:
                if self._closed:
                    return
                one = source(self._workspace, path)
                if one is None or one.digest in kept or one.digest == files.get(path, _NEVER).digest:
                    found.files[path] = Known(current[path] or "", one.digest if one else "")
                else:
                    yield one

        def done(one: Source, tags: Any) -> None:
            found.files[one.path] = Known(current[one.path] or "", "" if tags is None else one.digest)
            if tags is not None:
                found.tags[one.digest] = tags

        with processes_for(len(paths), self._processes) as aparts:
            find_tags(sources(), done, aparts, deadline)
        return found

    def _current(self, asked: Collection[str]) -> Mapping[str, str | None]:
        """The stamps of the files that may have changed; None: it is gone, or no longer wanted."""
        heard = self._watch.taken() if self._watch else None
        if heard is None or self._has_folder({path for path in heard if not wanted(path)}):
            found = scan(self._workspace)
            return {**dict.fromkeys(self._files()), **found}
        paths = {path for path in {*heard, *asked} if wanted(path)}
        there = stamps(self._workspace, self._not_ignored(paths))
        return {path: there.get(path) for path in paths}

    def _has_folder(self, paths: Collection[str]) -> bool:
        """Whether one of the paths is a folder, or was one: what is in it must be looked for."""
        root, inside = self._workspace.root, tuple(f"{path}/" for path in paths)
        there = any(os.path.isdir(root / path) for path in paths)  # noqa: PTH112 - this one never raises
        return there or any(known.startswith(inside) for known in self._files())

    def _not_ignored(self, paths: Collection[str]) -> Collection[str]:
        new = [path for path in paths if path not in self._files()]
        if not new:
            return paths
        with suppress(WorkspaceError):
            return {*paths} - {*new} | {*self._workspace.git.known(new)}
        return paths


@dataclass(slots=True)
class _Look:
    """What a look into files gave: files known, and tags by digest."""

    files: dict[str, Known] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)


def first_map(
    workspace: Workspace, cache_folder: Path | None, budget: int, count: Callable[[str], int], seconds: float
) -> str:
    """The map for a session's beginning, of what could be read in about `seconds`; the next call goes on from there."""
    return RepoMap(workspace, cache_folder).now(budget, Focus(), count, seconds=seconds)


def _turn(path: str) -> tuple[bool, int, str]:
    """What is looked into first where time is short: no tests, and what lies high."""
    return "test" in path.lower(), path.count("/"), path
