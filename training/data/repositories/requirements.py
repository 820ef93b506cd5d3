"""What the tests of a source need, as its own files say: lock files, lists of requirements, metadata."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

LOCKS = ("uv.lock", "poetry.lock", "pdm.lock")
_LISTS = ("requirements*.txt", "*requirements.txt", "requirements/*.txt", "tests/requirements*.txt")
_LIST_OF_DOCS = re.compile(r"doc|lint|example|bench|release|build")
_EXTRAS = ("test", "tests", "testing", "dev", "develop", "development")
"""Extras and groups that tests may need, most likely first; of extras only those of the first kind that is there."""
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[\w.!+-]+")
_OWN = re.compile(r"^(?:-|\.|/|git\+|https?:|file:)|\$\{|\{|@\s*\S*:|\s--")
_EXTRA = re.compile(r"""(?:;|\band\b)\s*\(?\s*extra\s*==\s*['"]([^'"]+)['"]\s*\)?""")
_NEVER = frozenset(
    {
        "python",
        "pip",
        "setuptools-scm",
        "tox",
        "nox",
        "pre-commit",
        "mypy",
        "ruff",
        "black",
        "flake8",
        "pylint",
        "isort",
    }
    | {"sphinx", "furo", "twine", "flit", "build", "wheel", "bump2version", "mkdocs", "asv", "codecov", "coveralls"}
)
"""What no test needs, though it may stand in a list for developers."""


@dataclass(frozen=True, slots=True)
class Needs:
    """`requirements` are lines for pip, `pinned` are versions that lock files name (``name==version``).

    `name`, `version`, `metadata` (the text of METADATA) and `points` (entry points) describe the source itself; empty
    where it does not say them.
    """

    requirements: tuple[str, ...]
    pinned: tuple[str, ...] = ()
    name: str = ""
    version: str = ""
    metadata: str = ""
    points: str = ""


def needs(root: Path) -> Needs:
    """What the tests in `root` need, pytest included."""
    project = _toml(root / "pyproject.toml")
    metadata = _metadata(root)
    name = str(metadata["Name"] or _at(project, "project", "name") or "")
    version = str(metadata["Version"] or _at(project, "project", "version") or "")
    found = [*_declared(root, project, metadata), *_listed(root)] or [*_tox(root)]
    wanted = {line for line in found if _wanted(line, name)} | {"pytest"}
    return Needs(
        tuple(sorted(wanted)),
        tuple(sorted(_pinned(root, name))),
        name if _is_plain(name, version) else "",
        version,
        _described(name, version, metadata),
        _points(project),
    )


def _wanted(line: str, own: str) -> bool:
    named = _NAME.match(line)
    return named is not None and not _OWN.search(line) and _normal(named[0]) not in _NEVER | {_normal(own)}


def _declared(root: Path, project: Mapping[str, Any], metadata: Message) -> Iterator[str]:
    if metadata["Name"]:
        yield from _required(metadata)
    elif isinstance(own := _at(project, "project"), dict):
        yield from _texts(own.get("dependencies"))
        yield from _chosen(own.get("optional-dependencies"))
    yield from _names(_at(project, "tool", "poetry", "dependencies"))
    yield from _names(_at(project, "tool", "poetry", "dev-dependencies"))
    groups = _at(project, "tool", "poetry", "group")
    for name in _EXTRAS if isinstance(groups, dict) else ():
        yield from _names(_at(groups, name, "dependencies"))
    yield from _grouped(_at(project, "dependency-groups"))
    yield from _setup(root) if not metadata["Name"] else ()


def _required(metadata: Message) -> Iterator[str]:
    """What `Requires-Dist` says, without its marker for an extra."""
    lines = [str(line) for line in metadata.get_all("Requires-Dist", [])]
    extras: dict[str, list[str]] = {}
    for line in lines:
        found = _EXTRA.search(line)
        extras.setdefault(found[1] if found else "", []).append(_EXTRA.sub("", line).strip())
    yield from extras.pop("", [])
    yield from _chosen(extras)


def _chosen(extras: object) -> Iterator[str]:
    """The requirements of the extra that is for tests."""
    if not isinstance(extras, dict):
        return
    name = next((name for name in _EXTRAS if name in extras), None)
    yield from _texts(extras.get(name)) if name else ()


def _grouped(groups: object) -> Iterator[str]:
    """PEP 735: the groups for tests, with the groups that they include."""
    pending = [name for name in _EXTRAS if isinstance(groups, dict) and name in groups]
    seen = set()
    while pending and isinstance(groups, dict):
        name = pending.pop()
        seen.add(name)
        for entry in groups.get(name, ()):
            if isinstance(entry, str):
                yield entry
            elif (inner := str(entry.get("include-group", ""))) and inner not in seen:
                pending.append(inner)


def _setup(root: Path) -> Iterator[str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with suppress(configparser.Error, UnicodeDecodeError):
        parser.read(root / "setup.cfg", "utf-8")
        yield from parser.get("options", "install_requires", fallback="").split("\n")
        yield from parser.get("options", "tests_require", fallback="").split("\n")
        extras = dict(parser["options.extras_require"]) if parser.has_section("options.extras_require") else {}
        yield from _chosen({name: text.split("\n") for name, text in extras.items()})


def _listed(root: Path) -> Iterator[str]:
    """The lines of requirements files, but for options and paths."""
    places = {place for pattern in _LISTS for place in root.glob(pattern)}
    for place in sorted(places):
        inside = place.resolve().is_relative_to(root.resolve())  # a link may lead to what is nobody's business
        if inside and place.is_file() and not _LIST_OF_DOCS.search(place.name):
            text = place.read_text("utf-8", "replace").replace("\\\n", " ")
            yield from (_uncommented(line) for line in text.split("\n"))


def _tox(root: Path) -> Iterator[str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with suppress(configparser.Error, UnicodeDecodeError):
        parser.read(root / "tox.ini", "utf-8")
        for line in parser.get("testenv", "deps", fallback="").split("\n"):
            yield re.sub(r"^[\w,!{}-]+: +", "", _uncommented(line))


def _pinned(root: Path, own: str) -> Iterator[str]:
    """The versions in lock files; a package of which there are several is not pinned."""
    for lock in LOCKS:
        versions: dict[str, set[str]] = {}
        for package in _toml(root / lock).get("package", ()):
            versions.setdefault(_normal(str(package.get("name", ""))), set()).add(str(package.get("version", "")))
        yield from (f"{name}=={min(its)}" for name, its in versions.items() if len(its) == 1 and name != _normal(own))


def _points(project: Mapping[str, Any]) -> str:
    """Entry points as they stand in `entry_points.txt`; commands are left out: nothing is installed to run them."""
    groups = _at(project, "project", "entry-points")
    sections = groups.items() if isinstance(groups, dict) else ()
    return "".join(
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in points.items()) for group, points in sections
    )


def _metadata(root: Path) -> Message:
    place = root / "PKG-INFO"
    return Parser().parsestr(place.read_text("utf-8", "replace") if place.is_file() else "", headersonly=True)


def _described(name: str, version: str, metadata: Message) -> str:
    if not _is_plain(name, version):
        return ""
    lines = [("Metadata-Version", "2.1"), ("Name", name), ("Version", version)]
    summary = [("Summary", str(metadata["Summary"]))] if metadata["Summary"] else []
    requires = [("Requires-Dist", str(line)) for line in metadata.get_all("Requires-Dist", [])]
    return "".join(f"{field}: {text}\n" for field, text in (*lines, *summary, *requires))


def _is_plain(name: str, version: str) -> bool:
    """Whether they are there and can name a folder: nothing in them leads elsewhere."""
    return _NAME.fullmatch(name) is not None and _VERSION.fullmatch(version) is not None


def _toml(place: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(place.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def _at(table: object, *names: str) -> object:
    for name in names:
        table = table.get(name) if isinstance(table, dict) else None
    return table


def _texts(entries: object) -> Iterable[str]:
    return (entry for entry in entries if isinstance(entry, str)) if isinstance(entries, list) else ()


def _names(table: object) -> Iterable[str]:
    """Poetry's tables: only names, for its ranges are its own; the lock file has the versions."""
    entries = table.items() if isinstance(table, dict) else ()
    return (name for name, entry in entries if not (isinstance(entry, dict) and entry.get("optional")))


def _uncommented(line: str) -> str:
    return re.sub(r"(?:^|\s)#.*|\s--hash=\S+", "", line).strip()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
