"""Which files of a repository define a name and which use it, and how that ranks definitions."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from assistant.workspace.pagerank import Links, Walk

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
_FEW = 3
"""A word with more definitions than this says where it leads only if it is written as a name, or a file is meant."""
_PRECISION = 0.03
"""Of the walk that begins at every file with a mass of 1."""
_LESS = 0.1
_TINY = 1e-9
_NEAR = 1e-4
"""Of the walk that begins at what a focus names with a mass of 1 in all."""
_WORD = re.compile(r"[^\W\d]\w*")
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)+|[\w-]+\.\w+")

Key = tuple[str, str]
"""A path and a name that it defines."""
_Places = Mapping[int, int]
"""Definitions of a name: the node of each, and its number."""
_Flow = Sequence[tuple[_Places, float]]
"""Definitions, and the share of a file's mass that each of them is given."""


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


@dataclass(frozen=True, slots=True)
class _Lead:
    """Where the use of a name leads, with which weight to each place."""

    weight: float
    places: _Places


class NameIndex:
    """The names of all files; numbers stand for files (nodes) and definitions. Not safe to use from two threads."""

    def __init__(self) -> None:
        self._files: dict[str, Names] = {}
        self._nodes: dict[str, int] = {}
        self._defined: defaultdict[str, dict[str, set[str]]] = defaultdict(dict)
        self._leads: defaultdict[str, dict[str, _Lead]] = defaultdict(dict)
        self._numbers: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._scores: list[float] = []
        self._flows: list[_Flow] = []
        self._links: Links = []
        self._walk = Walk(self._links, _PRECISION)
        self._best: tuple[int, Sequence[int]] | None = None

    def update(self, changes: Mapping[str, Names | None]) -> None:
        """Take in files that are new or other than they were, or that are gone (None)."""
        moved: defaultdict[str, set[str]] = defaultdict(set)
        for path, names in changes.items():
            for family, found in self._replace(path, names):
                moved[family] |= found
        for family, leads in self._leads.items():
            for name in moved[family] & leads.keys():
                del leads[name]
        for path in (changes.keys() & self._files.keys()) | self._affected(self._files.keys() - changes.keys(), moved):
            self._link(path)

    def _affected(self, paths: Set[str], moved: Mapping[str, Set[str]]) -> set[str]:
        """Those of `paths` that use names which lead elsewhere now; what is no member may be used as one."""
        ways = {family: found | {f".{name}" for name in found} for family, found in moved.items()} if paths else {}
        files = {path: self._files[path] for path in paths} if any(ways.values()) else {}
        return {path for path, names in files.items() if not names.used.keys().isdisjoint(ways.get(names.family, ()))}

    def definers(self, name: str) -> list[str]:
        """The files that define a name, in any language."""
        found = (table.get(way, ()) for table in self._defined.values() for way in (name, f".{name}"))
        return sorted({path for paths in found for path in paths})

    def users(self, name: str) -> list[str]:
        """The files that use a name, in any language."""
        return sorted(path for path, names in self._files.items() if name in names.used or f".{name}" in names.used)

    def ranked(self, focus: Focus, limit: int) -> list[Key]:
        """The definitions that are wanted most, at most `limit`, the most wanted first."""
        self._settle()
        named = {path for word in _PATH.findall(focus.words) for path in self._ending(word)}
        mentioned = self._mentioned(focus.words, named)
        near = self._near(focus, [*named, *(path for path, _ in mentioned)])
        scores = self._scored(near, limit)
        for key, score in mentioned.items():
            scores[key] += score
        for path in {*named, *focus.changed} & self._files.keys():
            self._add_all(scores, path, near.rank[self._nodes[path]] / near.total)
        if len(scores) < limit:
            for path in self._files:
                self._add_all(scores, path, _UNUSED * self._walk.rank[self._nodes[path]])
        best = sorted((-score, key) for key, score in scores.items())[:limit]
        return [(path, name.removeprefix(".")) for _, (path, name) in best]

    def _scored(self, near: Walk, limit: int) -> defaultdict[Key, float]:
        """What is best anywhere and what is near, by the share of the walks that flows to it."""
        nearer = _SEEDED / near.total if near.rank else 0.0
        anywhere = (1 - _SEEDED if near.rank else 1.0) / self._walk.total
        flows = dict.fromkeys(self._top(limit), 0.0)
        for node, mass in near.rank.items():
            for places, share in self._flows[node]:
                for number in places.values():
                    flows[number] = flows.get(number, 0.0) + mass * share
        keys, scores = self._keys, self._scores
        found = {keys[number]: anywhere * scores[number] + nearer * flow for number, flow in flows.items()}
        return defaultdict(float, found)

    def _top(self, limit: int) -> Sequence[int]:
        """The best definitions where nothing is in focus, in no order; kept until something changes."""
        if self._best is None or self._best[0] != limit:
            least = max([_TINY, *sorted(self._scores, reverse=True)[:limit][-1:]])
            self._best = limit, [number for number, score in enumerate(self._scores) if score >= least]
        return self._best[1]

    def _add_all(self, scores: defaultdict[Key, float], path: str, mass: float) -> None:
        """Divide a mass among all that a file defines, used or not."""
        defined = self._files[path].defined
        for name in defined:
            scores[path, name] += mass / len(defined)

    def _replace(self, path: str, names: Names | None) -> Iterable[tuple[str, Set[str]]]:
        """Put a file's names in the place of those that it had; by family, names that lead elsewhere from now on."""
        before = self._files.pop(path, None)
        if before is not None:
            table = self._defined[before.family]
            for name in before.defined:
                table[name].discard(path)
        if names is None:
            self._drop(path)
            return [(before.family, before.defined)] if before else []
        self._enter(path, names)
        if before is not None and before.family == names.family:
            return [(names.family, before.defined ^ names.defined)]
        return [(one.family, one.defined) for one in (before, names) if one]

    def _enter(self, path: str, names: Names) -> None:
        self._files[path] = names
        table = self._defined[names.family]
        for name in names.defined:
            table.setdefault(name, set()).add(path)
        if path not in self._nodes:
            self._nodes[path] = len(self._links)
            self._links.append({})
            self._flows.append(())
            self._walk.add(self._nodes[path], 1.0)

    def _drop(self, path: str) -> None:
        node = self._nodes.pop(path, None)
        if node is not None:
            self._send(node, ())
            self._walk.add(node, -1.0)

    def _lead(self, family: str, name: str) -> _Lead:
        """Where a name leads: to each of its definitions the less, the more there are."""
        paths = self._defined[family].get(name, ())
        weight = _telling(name) / len(paths) if 0 < len(paths) <= _COMMON else 0.0
        places = {self._nodes[path]: self._number((path, name)) for path in sorted(paths)} if weight else {}
        return self._leads[family].setdefault(name, _Lead(weight, places))

    def _number(self, key: Key) -> int:
        number = self._numbers.setdefault(key, len(self._keys))
        if number == len(self._keys):
            self._keys.append(key)
            self._scores.append(0.0)
        return number

    def _link(self, path: str) -> None:
        """Lead a file to the definitions that it uses and does not make itself, and so to their files."""
        names, node, flow = self._files[path], self._nodes[path], list[tuple[_Places, float]]()
        table, leads = self._defined[names.family], self._leads[names.family]
        for name, count in names.used.items():
            if not table.get(name) and name.startswith("."):
                name = name[1:]
            if not table.get(name):
                continue
            lead = leads.get(name) or self._lead(names.family, name)
            if lead.places and node not in lead.places:
                flow.append((lead.places, math.sqrt(count) * lead.weight))
        self._send(node, flow)

    def _send(self, node: int, flow: _Flow) -> None:
        """Make this the way on from a file, whatever the weights add up to."""
        total, links = sum(weight * len(places) for places, weight in flow), dict[int, float]()
        shares = [(places, weight / total) for places, weight in flow]
        for places, share in shares:
            for target in places:
                links[target] = links.get(target, 0.0) + share
        mass = self._walk.rank.get(node, 0.0)
        if mass:
            self._score(self._flows[node], -mass)
            self._score(shares, mass)
            self._walk.relinked(node, self._links[node], links)
        self._flows[node], self._links[node] = shares, links
        self._best = None

    def _score(self, flow: _Flow, mass: float) -> None:
        scores = self._scores
        for places, share in flow:
            for number in places.values():
                scores[number] += mass * share

    def _settle(self) -> None:
        """Walk from every file, as far as it is not done."""
        for node, mass in self._walk.settle().items():
            self._score(self._flows[node], mass)
            self._best = None

    def _near(self, focus: Focus, mentioned: Iterable[str]) -> Walk:
        """The walk from what the focus names; nothing, where that is nothing that is known."""
        seeds: defaultdict[int, float] = defaultdict(float)
        for paths, weight in ((focus.opened, 1.0), (focus.changed, 2.0), (mentioned, 2.0)):
            for path in self._nodes.keys() & {*paths}:
                seeds[self._nodes[path]] += weight
        walk, total = Walk(self._links, _NEAR), sum(seeds.values())
        for node, weight in seeds.items():
            walk.add(node, weight / total)
        walk.settle()
        return walk

    def _mentioned(self, words: str, named: Set[str]) -> dict[Key, float]:
        """Definitions whose names stand in the user's words: of many those in files that are meant, too."""
        found = {word: self._exact(word) for word in {*_WORD.findall(words)} if len(word) > 2}
        sure = {word for word in found if _is_name(word, words)}
        paths = named | {path for word in sure if len(found[word]) <= _FEW for path, _ in found[word]}
        scores: dict[Key, float] = {}
        for word, keys in found.items():
            meant = [key for key in keys if key[0] in paths] or keys
            if meant and len(meant) <= (_MENTIONED if word in sure else _FEW):
                scores |= dict.fromkeys(meant, (1.0 if word in sure else _LESS) / len(meant))
        return scores

    def _exact(self, word: str) -> list[Key]:
        tables = self._defined.values()
        return [(path, name) for name in (word, f".{word}") for table in tables for path in sorted(table.get(name, ()))]

    def _ending(self, path: str) -> Iterator[str]:
        return (known for known in self._nodes if known == path or known.endswith(f"/{path}"))


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
    """Whether a word of a sentence stands there as a name of something."""
    return _is_composed(word) or f"{word}(" in words or f"`{word}" in words or f".{word}" in words


def _is_composed(name: str) -> bool:
    """Whether a word is composed as names are, not as words of a sentence."""
    return "_" in name.strip("_") or not (name.islower() or name.istitle() or name.isupper())
