"""Which files of a repository define a name and which use it, and how that ranks definitions."""

from __future__ import annotations

import heapq
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from assistant.workspace.pagerank import Links

_FAMILIES = {
    "c": "c",
    "cpp": "c",
    "java": "jvm",
    "javascript": "js",
    "kotlin": "jvm",
    "tsx": "js",
    "typescript": "js",
}
"""Languages whose files use each other's names; any other is alone."""
_COMMON = 10
"""A name that more files define says nothing of where it leads; our choice, as the weights below."""
_EVERYDAY = frozenset(name for kind in (str, bytes, list, dict, set) for name in dir(kind))
"""What objects of every program have; a use of such a name is rarely one of the repository's own."""
_SEEDED = 0.7
_UNUSED = 1e-6
_MENTIONED = 30
_WORD = re.compile(r"[^\W\d]\w*")
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)+|[\w-]+\.\w+")

Key = tuple[str, str]
"""A path and a name that it defines."""
_Table = dict[str, set[str]]
"""By name: files."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a file defines for others, and how often it uses which name; with a dot before what objects have."""

    language: str
    defined: frozenset[str]
    used: Mapping[str, int]

    @property
    def family(self) -> str:
        """Files of one family use each other's names."""
        return _FAMILIES.get(self.language, self.language)


@dataclass(frozen=True, slots=True)
class Focus:
    """What a ranking is for: the user's words, files that were opened, and files that were changed."""

    words: str = ""
    opened: Collection[str] = ()
    changed: Collection[str] = ()


class NameIndex:
    """The names of all files. Not safe to use from two threads at once."""

    def __init__(self) -> None:
        self._files: dict[str, Names] = {}
        self._nodes: dict[str, int] = {}
        self._count = 0
        self._defined: defaultdict[str, _Table] = defaultdict(dict)
        self._used: defaultdict[str, _Table] = defaultdict(dict)
        self._flows: dict[str, tuple[list[int], list[float]]] = {}
        self._ids: dict[Key, int] = {}
        self._links = Links()
        self._last: list[float] | None = None

    def update(self, changes: Mapping[str, Names | None]) -> None:
        """Take in files that are new or other than they were, or that are gone (None)."""
        touched: set[str] = {*changes}
        for path, names in changes.items():
            touched |= self._replace(path, names)
        for path in sorted(touched & self._nodes.keys()):
            self._link(path)

    def definers(self, name: str) -> list[str]:
        """The files that define a name, in any language."""
        return sorted({path for table in self._defined.values() for path in _with_dot(table, name)})

    def users(self, name: str) -> list[str]:
        """The files that use a name, in any language."""
        return sorted({path for table in self._used.values() for path in _with_dot(table, name)})

    def ranked(self, focus: Focus, limit: int) -> list[Key]:
        """The definitions that are wanted most, at most `limit`, the most wanted first."""
        mentioned = self._mentioned(focus.words)
        named = [path for path in _paths(focus.words) for path in self._ending(path)]
        rank = self._rank(focus, [path for path, _ in mentioned] + named)
        scores = self._scores(rank)
        for key in mentioned:
            scores[key] += 1.0
        for path in {*named, *focus.changed} & self._files.keys():
            for name in self._files[path].defined:
                scores[path, name] += rank[self._nodes[path]] / len(self._files[path].defined)
        if len(scores) < limit:
            self._fill(scores, rank)
        best = heapq.nsmallest(limit, scores.items(), key=lambda item: (-item[1], item[0]))
        return [(path, name.removeprefix(".")) for (path, name), _ in best]

    def _scores(self, rank: Sequence[float]) -> defaultdict[Key, float]:
        """What flows to each definition; numbers stand for them, since the hash of a pair costs more than the sum."""
        scores = [0.0] * len(self._ids)
        for path, (ids, shares) in self._flows.items():
            mass = rank[self._nodes[path]]
            for number, share in zip(ids, shares, strict=True):
                scores[number] += mass * share
        return defaultdict(float, {key: score for key, score in zip(self._ids, scores, strict=True) if score})

    def _fill(self, scores: defaultdict[Key, float], rank: Sequence[float]) -> None:
        """Give what nobody uses a place behind the rest."""
        for path, names in self._files.items():
            for name in names.defined:
                scores[path, name] += _UNUSED * rank[self._nodes[path]] / len(names.defined)

    def _replace(self, path: str, names: Names | None) -> set[str]:
        """Put a file's names in the place of those that it had; the files whose links that may change."""
        before = self._files.pop(path, None)
        same = before.defined if before and names and before.family == names.family else frozenset[str]()
        touched = self._take(path, before, same) if before else set[str]()
        if names is None:
            self._drop(path)
            return touched
        self._files[path] = names
        if path not in self._nodes:
            self._nodes[path] = self._count
            self._count += 1
        return touched | self._enter(path, names, same)

    def _take(self, path: str, names: Names, kept: frozenset[str]) -> set[str]:
        defined, used = self._defined[names.family], self._used[names.family]
        for name in names.used:
            used[name].discard(path)
        for name in names.defined:
            defined[name].discard(path)
        return set().union(*(_users(used, name) for name in names.defined - kept))

    def _enter(self, path: str, names: Names, known: frozenset[str]) -> set[str]:
        defined, used = self._defined[names.family], self._used[names.family]
        for name in names.used:
            used.setdefault(name, set()).add(path)
        for name in names.defined:
            defined.setdefault(name, set()).add(path)
        return set().union(*(_users(used, name) for name in names.defined ^ known))

    def _drop(self, path: str) -> None:
        node = self._nodes.pop(path, None)
        if node is not None:
            self._links.set(node, {})
            del self._flows[path]

    def _link(self, path: str) -> None:
        """Lead a file to the definitions that it uses and does not make itself, and so to their files."""
        flow = list(self._leads(path))
        total = sum(weight for _, weight in flow)
        ids = [self._ids.setdefault(key, len(self._ids)) for key, _ in flow]
        self._flows[path] = ids, [weight / total for _, weight in flow]
        weights: dict[int, float] = {}
        for (definer, _), weight in flow:
            node = self._nodes[definer]
            weights[node] = weights.get(node, 0.0) + weight
        self._links.set(self._nodes[path], weights)

    def _leads(self, path: str) -> Iterator[tuple[Key, float]]:
        names = self._files[path]
        table = self._defined[names.family]
        for name, count in names.used.items():
            definers = table.get(name)
            if not definers and name[0] == ".":
                name = name[1:]
                definers = table.get(name)
            telling = _telling(name)
            if telling and definers and len(definers) <= _COMMON and path not in definers:
                weight = math.sqrt(count) * telling / len(definers)
                for definer in definers:
                    yield (definer, name), weight

    def _rank(self, focus: Focus, mentioned: Collection[str]) -> list[float]:
        """Of each node: most of the walk begins again at what the focus names, the rest anywhere."""
        seeds: defaultdict[str, float] = defaultdict(float)
        for paths, weight in ((focus.opened, 1.0), (focus.changed, 2.0), (mentioned, 2.0)):
            for path in self._nodes.keys() & {*paths}:
                seeds[path] += weight
        rest = (1 - _SEEDED if seeds else 1.0) / max(len(self._nodes), 1)
        personal = [0.0] * self._count
        for path, node in self._nodes.items():
            personal[node] = rest + _SEEDED * seeds.get(path, 0.0) / (sum(seeds.values()) or 1.0)
        self._last = self._links.rank(personal, self._last)
        return self._last

    def _mentioned(self, words: str) -> list[Key]:
        """Definitions whose names stand in the user's words, and are not just words."""
        found: list[Key] = []
        for word in sorted({word for word in _WORD.findall(words) if _is_name(word, words)}):
            keys = [(path, name) for name in (word, f".{word}") for path in self._exact(name)]
            found += keys if len(keys) <= _MENTIONED else ()
        return found

    def _exact(self, name: str) -> Iterator[str]:
        for table in self._defined.values():
            yield from table.get(name, ())

    def _ending(self, path: str) -> Iterator[str]:
        return (known for known in self._nodes if known == path or known.endswith(f"/{path}"))


def _with_dot(table: _Table, name: str) -> Iterable[str]:
    return {*table.get(name, ()), *table.get(f".{name}", ())}


def _users(table: _Table, name: str) -> Iterable[str]:
    """The files that may mean this definition: a member of a module is used with a dot, too."""
    return table.get(name, ()) if name.startswith(".") else _with_dot(table, name)


def _paths(words: str) -> set[str]:
    return set(_PATH.findall(words))


@lru_cache(maxsize=65_536)
def _telling(name: str) -> float:
    """How much a use of a name says: long composed ones lead to one place, short and private ones rarely."""
    bare = name.removeprefix(".")
    if bare in _EVERYDAY:
        return 0.0
    if bare.startswith("_"):
        return 0.1
    if len(bare) < 4:
        return 0.3
    return 3.0 if len(bare) >= 8 and _is_composed(bare) else 1.0


def _is_name(word: str, words: str) -> bool:
    return len(word) > 2 and (_is_composed(word) or f"{word}(" in words or f"`{word}" in words or f".{word}" in words)


def _is_composed(name: str) -> bool:
    """Whether a word is composed as names are, not as words of a sentence."""
    return "_" in name.strip("_") or not (name.islower() or name.istitle() or name.isupper())
