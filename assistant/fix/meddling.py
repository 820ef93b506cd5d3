"""What an attempt may not touch: the tests, their settings, what runs them, and what they would say of themselves."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from doctest import DocTestParser
from pathlib import Path

from assistant.fix.changes import Change, Changes, FileState
from assistant.testing.paths import is_test_file
from assistant.testing.report import TestReport

_SETTINGS = re.compile(
    r"(^|/)(?:\.?pytest\.(?:ini|toml)|tox\.ini|\.coveragerc|noxfile\.py|(?:nose2?|unittest)\.cfg|\.rspec"
    r"|(?:jest|vitest|karma|playwright|cypress)\.(?:config|conf|workspace|setup)\.\w+|\.mocharc\.\w+"
    r"|phpunit\.xml(?:\.dist)?)$|(^|/)[^/]+\.(?:egg|dist)-info/|\.pth$"
)
"""Settings of test runners, and metadata of packages, by which plugins are found."""
_RUNNERS = frozenset({"Makefile", "makefile", "GNUmakefile", "package.json", "pyproject.toml", "setup.cfg", "justfile"})
_RECIPES = {"Makefile": "make", "makefile": "make", "GNUmakefile": "gmake|make", "justfile": "just"}
"""Files, and the programs that run what they say."""
_TOOLS = ("pytest", "coverage", "tox", "hatch", "pdm", "poe", "taskipy")
_SECTIONS = ("tool:pytest", "pytest", "coverage", "nosetests", "unittest", "aliases")
_KEYS = ("scripts", "jest", "mocha", "vitest", "ava", "nyc", "c8")
"""The parts of pyproject.toml, setup.cfg and package.json that say how tests run."""
_ALWAYS = frozenset({"sitecustomize", "usercustomize"})
_SHADOWS = sys.stdlib_module_names | {"pytest", "_pytest", "pluggy", "iniconfig", "packaging", "coverage", "xdist"}
"""Modules that, new where Python looks first, would take the place of what runs the tests."""
_FIRST = ("src", "lib", "python")
_STARTERS = re.compile(r"(?:^|/)(?:(?:ba|da|z|k)?sh|python[\d.]*|node|deno|bun|ruby|perl|php|lua|source|\.|-[pcm])$")
_EXECUTED = re.compile(r"(?:^|[;&|(]|\b(?:time|exec|nice|env)\s|\b\w+=\S*\s)\s*([\w.-]+/[\w./-]+)")
"""A file at the place of a program."""
_COMPILED = (".py", ".c", ".cc", ".cpp", ".h", ".hpp", ".rs", ".go", ".java", ".kt", ".js", ".ts", ".rb", ".php", ".cs")
"""Code that a command may check or compile rather than run."""
_WORDS = re.compile(r"[^\s'\"|&;()<>=`$]+")
_HOLDS = re.compile(
    r"^[ \t]*(?:from|import)[ \t]+(?:_?pytest\b|unittest\b(?!\.mock|[ \t]+import[ \t]+mock\b)[^\n]*)"
    r"|(?:__import__|import_module)\(\s*['\"](?:_?pytest|unittest)\b|\bPYTEST_CURRENT_TEST\b|\bos\._exit\b",
    re.MULTILINE,
)
"""By which code gets hold of what judges it."""
_ENDS = re.compile(
    r"\b(?:sys\.|process\.|System\.|os\.)?_?(?:exit|Exit|quit|SystemExit)\(\s*0?\s*\)|\braise SystemExit\s*$",
    re.MULTILINE,
)
"""By which a program ends well before it did anything."""
_DOCUMENTS = (".md", ".rst", ".txt")
_RUST_TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod\s+\w+\s*\{.*", re.DOTALL)
_NAMED = re.compile(r"^[Tt]est|[_-][Tt]ests?$|[a-z]Tests?$")
_UNLOADED = "unittest.loader._FailedTest."
"""What unittest puts before the name of a module that it cannot import."""


def loaded(name: str) -> str:
    """The id of a test, or of all in a module that unittest could not import."""
    return name.removeprefix(_UNLOADED)


@dataclass(frozen=True, slots=True)
class Guard:
    """Tells what of an attempt counts, by the run `before` it of the test `command` on the repository at `root`."""

    root: Path
    command: str
    before: TestReport

    def code_of(self, changes: Changes) -> Changes:
        """The changes without those of tests, and without what would hide tests."""
        kept = {change.path for change in changes.changes if not self.is_of_the_tests(change)}
        back = [change.path for change in changes.changes if change.path not in kept]
        return changes.where(lambda path: path in kept and not any(test.startswith(f"{path}/") for test in back))

    def is_of_the_tests(self, change: Change) -> bool:
        """Whether a change could change what is tested, and how.

        Where single tests have no names the exit code is all the proof there is, and how they are run must not change.
        """
        path = change.path
        return (
            any(is_test_file(name) for name in self._readings(path))
            or _SETTINGS.search(path) is not None
            or (_named_so(path) and self._has_tests(path))
            or self._shadows(path)
            or path in self._programs()
            or self._says_how(change)
        )

    def objection(self, changes: Changes) -> str:
        """Why no run of the tests can prove these changes, or an empty string where one can."""
        for change in changes.changes:
            if change.new is None or change.path.endswith(_DOCUMENTS):
                continue
            if used := _new_in(_HOLDS, change) or (_new_in(_ENDS, change) if not self.before.named else ""):
                return f"{change.path} gets hold of the run of the tests ({used}), so what they say proves nothing."
            if (
                change.old
                and self._has_tests(change.path)
                and not _tests_inside(change.old) <= _tests_inside(change.new)
            ):
                return f"The tests inside {change.path} were changed."
        return ""

    def _has_tests(self, path: str) -> bool:
        """Whether tests that ran are in a file, as far as their ids say so."""
        if path.endswith(".rs"):
            return True
        return any(path == home or path.endswith(f"/{home}") for home in self._homes())

    def _homes(self) -> set[str]:
        ids = [loaded(name) for name in (*self.before.passed, *self.before.failed, *self.before.skipped)]
        return {home for name in ids for home in _homes(name)}

    def _readings(self, path: str) -> Iterator[str]:
        """The path, and what it may be in the way of: a folder of tests, or a test file that has a package's name."""
        parts = path.split("/")
        yield f"{path}/"
        for above in ("/".join(parts[:count]) for count in range(1, len(parts) + 1)):
            yield above
            if os.path.lexists(self.root / f"{above}.py"):
                yield f"{above}.py"

    def _shadows(self, path: str) -> bool:
        if not path.endswith((".py", ".pyc", ".so", ".pyd")):
            return False
        folder, place = self._folder(), self.root
        if folder and path.startswith(f"{folder}/"):
            place, path = place / folder, path.removeprefix(f"{folder}/")
        first, _, rest = path.partition("/")
        if first in _FIRST and rest:
            place, first = place / first, rest.partition("/")[0]
        name = first.partition(".")[0]
        return name in _ALWAYS or (name in _SHADOWS and not _is_there(place, name))

    def _says_how(self, change: Change) -> bool:
        name = change.path.rpartition("/")[2]
        if name in _RECIPES and re.search(rf"\b(?:{_RECIPES[name]})\b", self.command):
            return True
        if name not in _RUNNERS:
            return False
        return not self.before.named or _how(name, change.old) != _how(name, change.new)

    def _programs(self) -> set[str]:
        """Files that the command runs; where tests have no names, all that it speaks of and does not compile."""
        found, before = {os.path.normpath(path) for path in _EXECUTED.findall(self.command)}, ""
        for word in _WORDS.findall(self.command):
            plain = os.path.normpath(word)
            if before in ("-m", "-p"):
                module = word.replace(".", "/")
                found |= {f"{module}.py", f"{module}/__main__.py"}
            elif _is_run(word, before) or (not self.before.named and not word.endswith(_COMPILED)):
                found.add(plain)
            before = before if word.startswith("-") and not _STARTERS.search(word) else word
        folder = self._folder()
        return found | {f"{folder}/{name}" for name in found} if folder else found

    def _folder(self) -> str:
        """The folder that the command goes to first."""
        found = re.match(r"\s*cd\s+(?:'([^']*)'|(\S+))\s*&&", self.command)
        return os.path.normpath(found[1] or found[2]) if found else ""


def _is_run(word: str, before: str) -> bool:
    return word.endswith(".sh") or _STARTERS.search(before) is not None


def _homes(name: str) -> Iterator[str]:
    """The files that a test may be in, by its id."""
    if "::" in name or " > " in name:
        yield re.split(r"::| > ", name, maxsplit=1)[0]
        return
    parts = name.split(".")
    yield from ("/".join(parts[:count]) + ".py" for count in range(1, len(parts) + 1))


def _named_so(path: str) -> bool:
    return _NAMED.search(path.rpartition("/")[2].partition(".")[0]) is not None


def _is_there(folder: Path, module: str) -> bool:
    return any(os.path.lexists(folder / name) for name in (module, f"{module}.py"))


def _how(name: str, state: FileState | None) -> object:
    """What a file says of how tests run; something that equals nothing where it cannot be read."""
    text = state.content.decode("utf-8", "replace") if state else ""
    try:
        if name == "package.json":
            said = json.loads(text or "{}")
            return {key: said.get(key) for key in _KEYS}
        if name == "pyproject.toml":
            tools = tomllib.loads(text).get("tool", {})
            return {key: tools.get(key) for key in _TOOLS}
        if name == "setup.cfg":
            parser = ConfigParser(interpolation=None)
            parser.read_string(text)
            return {section: dict(parser[section]) for section in parser.sections() if section.startswith(_SECTIONS)}
    except (ValueError, AttributeError, ConfigError):
        return object()
    return None


def _new_in(pattern: re.Pattern[str], change: Change) -> str:
    """What of `pattern` a change brings more of, as it is written there."""
    old = _matches(pattern, change.old)
    new = _matches(pattern, change.new)
    return " ".join(new[-1].split()) if len(new) > len(old) else ""


def _matches(pattern: re.Pattern[str], state: FileState | None) -> list[str]:
    return [found[0] for found in pattern.finditer(state.content.decode("utf-8", "replace"))] if state else []


def _tests_inside(state: FileState) -> set[str]:
    """Tests and examples that stand beside the code of Python, and the module of tests in one of Rust."""
    text = state.content.decode("utf-8", "replace")
    if found := _RUST_TESTS.search(text):
        return {found[0].strip()}
    try:
        nodes = [*ast.walk(ast.parse(text))]
    except (SyntaxError, ValueError):
        return set()
    return {said for node in nodes for said in _said(node)}


def _said(node: ast.AST) -> Iterator[str]:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if not isinstance(node, ast.Module) and node.name.lower().startswith("test"):
        yield ast.dump(node)
    try:
        examples = DocTestParser().get_examples(ast.get_docstring(node) or "")
    except ValueError:
        return
    yield from (f"{example.source}{example.want}" for example in examples)
