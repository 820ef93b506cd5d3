"""Under which licence a source stands, as an SPDX expression, and which of them may be trained on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, ClassVar, Literal

from training.data.schema import Refused, Sample, Source, Task
from training.data.stage import Context

PERMISSIVE = (
    "0BSD", "Apache-2.0", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "HPND", "ISC", "MIT",
    "MIT-0", "MIT-CMU", "NCSA", "PSF-2.0", "PostgreSQL", "Python-2.0", "Unlicense", "UPL-1.0", "Zlib",
)  # fmt: skip
"""Licences that ask for no more than to be named; our choice of SPDX ids."""
_CLASSIFIERS: Mapping[str, str] = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
}
"""The ends of trove classifiers that say exactly which licence is meant; "BSD License" does not."""
_WORDS: Mapping[str, str] = {
    "mit": "MIT",
    "expat": "MIT",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "simplified bsd": "BSD-2-Clause",
    "isc": "ISC",
    "psf": "PSF-2.0",
    "mpl 2.0": "MPL-2.0",
}
"""What people write in the field, in lower case, without "license", "the" and "version"."""
_NOISE = re.compile(r"\b(?:the|licen[cs]e[ds]?|version|v(?=\d)|software)\b|[(),]")
_FILES = re.compile(r"(?:licen[cs]e|copying|unlicense)(?:[.-][\w.-]+)?", re.IGNORECASE)
_METADATA = ("PKG-INFO", "METADATA")
_TOKENS = re.compile(r"\(|\)|[A-Za-z0-9.+-]+")
_EXPRESSION = re.compile(r"[A-Za-z0-9.+-]+(?:\s+(?:AND|OR|WITH)\s+[A-Za-z0-9.+()-]+|[()\s])*")
_BSD = "redistribution and use in source and binary forms"
_MIT = "permission is hereby granted, free of charge, to any person obtaining a copy"
_LONGEST = 200_000


def licence_of(root: str | Path) -> str:
    """The SPDX expression of a source, or an empty string where none can be told for sure.

    In this order: an expression in the metadata, a licence file that is known, a classifier, the field's own words.
    """
    folder = Path(root)
    said = [*_said(folder)]
    for found in (_expressions(said), _by_file(folder), _by_classifier(said), _by_words(said)):
        if found:
            return found
    return ""


def allows(expression: str, allowed: Iterable[str]) -> bool:
    """Whether an SPDX expression leaves a choice that is all within `allowed`; exceptions (`WITH`) only give more."""
    tokens = _TOKENS.findall(expression)
    if not tokens:
        return False
    value, rest = _either(tokens, frozenset(name.lower() for name in allowed))
    return value and not rest


@dataclass(frozen=True, slots=True)
class Licences:
    """Refuses sources whose licence is not `allowed`, and fills in what was not known of it.

    `unknown` says what becomes of sources whose licence nobody can tell: a company's own code has none, and is kept
    with ``keep``.
    """

    allowed: tuple[str, ...] = PERMISSIVE
    unknown: Literal["refuse", "keep"] = "refuse"

    name: ClassVar[str] = "licences"
    version: ClassVar[int] = 1
    reads: ClassVar[Any] = Source | Task | Sample
    writes: ClassVar[Any] = Source | Task | Sample
    whole: ClassVar[bool] = False

    def __call__(
        self, records: Iterable[Source | Task | Sample], context: Context
    ) -> Iterator[Source | Task | Sample | Refused]:
        """The records that may be trained on."""
        for record in records:
            if isinstance(record, Source) and not record.licence:
                record = replace(record, licence=licence_of(record.root))
            objection = self.objection(record.licence)
            yield Refused(record.id, "licence", objection) if objection else record

    def objection(self, licence: str) -> str:
        """Why something under this licence may not be trained on; empty if it may."""
        if not licence:
            return "no licence could be told." if self.unknown == "refuse" else ""
        return "" if allows(licence, self.allowed) else f"{licence} is not among the licences allowed."


def _said(folder: Path) -> Iterator[Mapping[str, Any]]:
    """What metadata says: of an sdist or an installed package, and of pyproject.toml."""
    places = [folder, *sorted(folder.glob("*.egg-info")), *sorted(folder.glob("src/*.egg-info"))]
    for path in (place / name for place in places for name in _METADATA):
        if path.is_file():
            fields = HeaderParser().parsestr(_text(path))
            yield {
                "expression": fields.get("License-Expression", ""),
                "words": fields.get("License", ""),
                "classifiers": fields.get_all("Classifier", []),
            }
    yield _of_project(folder / "pyproject.toml")


def _of_project(path: Path) -> Mapping[str, Any]:
    try:
        tables = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError:
        return {}
    project = tables.get("project") or tables.get("tool", {}).get("poetry", {})
    licence = project.get("license", "")
    words = licence.get("text", "") if isinstance(licence, dict) else licence
    return {"expression": words, "words": words, "classifiers": project.get("classifiers", [])}


def _expressions(said: list[Mapping[str, Any]]) -> str:
    return next((found for each in said if (found := _expression(str(each.get("expression") or "")))), "")


def _expression(text: str) -> str:
    """The text if it is an expression of ids that we know."""
    text = " ".join(text.split())
    if not text or not _EXPRESSION.fullmatch(text):
        return ""
    known = {name.lower() for name in (*PERMISSIVE, *_CLASSIFIERS.values(), *_in_files())}
    ids = [token for token in _TOKENS.findall(text) if token not in ("(", ")", "AND", "OR")]
    return text if all(name.lower() in known or name.startswith("LicenseRef-") for name in ids) else ""


def _in_files() -> Iterator[str]:
    """The ids of the licences that are told by their text."""
    from identify.vendor.licenses import LICENSES

    for name, _ in LICENSES:
        yield from (name, f"{name}-only", f"{name}-or-later", f"{name}+")


def _by_file(folder: Path) -> str:
    """What the licence files are; several that differ (a choice, or files of others) tell nothing for sure."""
    if not folder.is_dir():
        return ""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and _FILES.fullmatch(path.name))
    found = {name for path in paths if (name := _in_file(path))}
    return found.pop() if len(found) == 1 else ""


def _in_file(path: Path) -> str:
    from identify.identify import license_id

    text = _text(path)
    if not text.strip() or len(text) > _LONGEST:
        return ""
    try:
        return license_id(str(path)) or _by_phrases(text)
    except UnicodeDecodeError:
        return _by_phrases(text)


def _by_phrases(text: str) -> str:
    """BSD and MIT by the sentences that make them, where names and layout differ from the form."""
    plain = " ".join(text.lower().split())
    if plain.count(_BSD) + plain.count(_MIT) != 1 or "general public license" in plain:
        return ""
    if _MIT in plain:
        return "MIT" if "without restriction" in plain else ""
    if "all advertising materials" in plain or "patent" in plain:
        return ""
    return "BSD-3-Clause" if "endorse or promote" in plain else "BSD-2-Clause"


def _by_classifier(said: list[Mapping[str, Any]]) -> str:
    names = {str(line).rpartition(" :: ")[2] for each in said for line in each.get("classifiers") or ()}
    found = sorted({_CLASSIFIERS[name] for name in names if name in _CLASSIFIERS})
    vague = any("License" in name and name not in _CLASSIFIERS for name in names)
    return found[0] if len(found) == 1 and not vague else ""


def _by_words(said: list[Mapping[str, Any]]) -> str:
    for each in said:
        words = str(each.get("words") or "")
        plain = " ".join(_NOISE.sub(" ", words.lower()).split())
        if found := _WORDS.get(plain) or _expression(words):
            return found
    return ""


def _either(tokens: list[str], allowed: frozenset[str]) -> tuple[bool, list[str]]:
    value, rest = _both(tokens, allowed)
    while rest[:1] == ["OR"]:
        other, rest = _both(rest[1:], allowed)
        value = value or other
    return value, rest


def _both(tokens: list[str], allowed: frozenset[str]) -> tuple[bool, list[str]]:
    value, rest = _one(tokens, allowed)
    while rest[:1] == ["AND"]:
        other, rest = _one(rest[1:], allowed)
        value = value and other
    return value, rest


def _one(tokens: list[str], allowed: frozenset[str]) -> tuple[bool, list[str]]:
    if not tokens:
        return False, []
    if tokens[0] == "(":
        value, rest = _either(tokens[1:], allowed)
        return (value, rest[1:]) if rest[:1] == [")"] else (False, rest)
    rest = tokens[3:] if tokens[1:2] == ["WITH"] else tokens[1:]
    return tokens[0].lower() in allowed, rest


def _text(path: Path) -> str:
    try:
        return path.read_bytes()[: _LONGEST + 1].decode("utf-8", "replace")
    except OSError:
        return ""
