"""Tasks from a repository's history: a commit's parent is the start, its code the solution, its tests the judge."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from assistant.chinese import has_chinese
from assistant.errors import UserError
from assistant.fix.meaning import is_python, meaning
from assistant.testing.paths import is_test_file
from assistant.workspace.languages import language_of
from assistant.workspace.scan import foreign, wanted, written_by_people
from training.data.questioning.issue_words import CHORE, expected, missing, named, statement
from training.data.repositories.diffs import changed, files, hunks, path_of, plain, rows
from training.data.repositories.history import Commit, FileCount, History
from training.data.repositories.modules import module_of
from training.data.schema import UNVERIFIED, Provenance, Refused, Source, Tags, Task, Verification, content_id
from training.data.stage import Context
from training.seeds import rng

_DATA = frozenset({"json", "toml", "yaml"})
_PROSE = (".md", ".rst", ".txt", ".adoc")
_NAME = re.compile(r"[A-Za-z_]\w{3,}")
_CODED = re.compile(r"[^\W_]_+[^\W_]|[a-z][A-Z]|[A-Za-z]\d")
"""What looks like a name in code and is no word that anybody would use."""
_DEFINED = re.compile(r"^\s*(?:async\s+)?(?:def|class)\s+([A-Za-z]\w{3,})")
_TEST = re.compile(r"^\s*(?:async\s+)?def\s+(test_?\w+)")
_DOCSTRING = re.compile(r"\s*[rR]?(?:\"\"\"|''')(.+?[.!?])(?:\"\"\"|'''|$)")
_MOST_NAMES, _FEWEST_WORDS = 2, 4


@dataclass(frozen=True, slots=True)
class Harvest:
    """Commits that touch code, with one parent and no more than `most_files` files and `most_lines` changed lines.

    The newest come first; `count` is how many are taken (0: all). Commits without tests become tasks too where
    `untested` is set; they are of type "unverified" and for training only. The limits are the project's.
    """

    seed: int = 0
    most_files: int = 8
    most_lines: int = 500
    count: int = 0
    untested: bool = True

    name: ClassVar[str] = "harvest"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Task | Refused]:
        """The tasks of each source; what a commit is refused for is said under its source's name and its own."""
        for source in records:
            context.watch(f"the history of {source.name}")
            try:
                yield from self._of(source)
            except UserError as error:
                yield Refused(source.id, "unreadable", str(error))

    def _of(self, source: Source) -> Iterator[Task | Refused]:
        history = History.of(Path(source.root))
        tip = source.revision or "HEAD"
        if history is None or not history.knows(tip):
            yield Refused(source.id, "no_history", "its folder is no git repository that holds its revision")
            return
        taken = 0
        for commit in history.commits(tip):
            made = self._task(source, history, commit)
            taken += isinstance(made, Task)
            yield made
            if self.count and taken >= self.count:
                return

    def _task(self, source: Source, history: History, commit: Commit) -> Task | Refused:
        kept = [file for file in commit.files if not _is_prose(file.path)]
        if refused := self._unfit(commit, kept):
            return _refused(source, commit, *refused)
        patches = {path_of(part): part for part in files(history.patch(commit, [file.path for file in kept]))}
        code = [path for path in patches if not is_test_file(path)]
        if refused := _made_by_programs(history, commit, [path for path in code if _is_code(path)]):
            return _refused(source, commit, *refused)
        solution = "".join(patches[path] for path in code)
        tests = "".join(part for path, part in patches.items() if is_test_file(path))
        words = self._words(source, commit, solution, tests)
        if words is None:
            return _refused(source, commit, "wordless", "neither its message nor its tests say what it is for")
        return _made(source, commit, words, solution, tests)

    def _unfit(self, commit: Commit, kept: Sequence[FileCount]) -> tuple[str, str] | None:
        """Why a commit is no task, as its list of files tells it."""
        code = [file.path for file in kept if _is_code(file.path) and not is_test_file(file.path)]
        lines = sum(file.added + file.removed for file in kept)
        if not code:
            return "no_code", "it changes no code"
        if not self.untested and not any(is_test_file(file.path) for file in kept):
            return "untested", "it changes no tests"
        if CHORE.match(commit.message):
            return "chore", "it is one of those that nobody would ask for"
        if any(file.added < 0 for file in kept):
            return "binary", "it changes a file that is no text"
        if not all(plain(file.path) for file in kept):
            return "odd_path", "it changes a file with an unusual name"
        if any(foreign(path) or not wanted(path) for path in code):
            return "generated", "it changes code that others or programs wrote"
        if len(kept) > self.most_files or lines > self.most_lines:
            return "large", f"it changes {len(kept)} files and {lines} lines"
        return None

    def _words(self, source: Source, commit: Commit, solution: str, tests: str) -> str | None:
        chance = rng(self.seed, "harvest", source.name, commit.sha)
        added = _names(changed(solution, "+"))
        new = (
            {name for name in added if _CODED.search(name)}
            - _names(changed(solution, "-"))
            - _names(_context(solution))
            - _names(changed(tests, "+"))
        )
        wanted = _new_definitions(solution, tests)
        said = statement(commit.message, new - {*wanted}, chance) or expected(_tests(tests), chance)
        described = (
            (name, path_of(part), text) for name in wanted for part in files(solution) if (text := _summary(part, name))
        )
        if said is None and (first := next(described, None)):
            said = missing(*first, chance)
        asked = [name for name in wanted if said and name not in said]
        gap = "\n" if said and "\n" in said else " "
        return f"{said}{gap}{named(asked[:_MOST_NAMES], chance)}" if said and asked else said


def _made(source: Source, commit: Commit, words: str, solution: str, tests: str) -> Task:
    most = max(files(solution), key=lambda part: (_is_code(path_of(part)), sum(1 for _ in rows(part))))
    lines = sum(1 for sign in "+-" for _ in changed(solution, sign))
    measures = {"files": float(len(files(solution))), "lines": float(lines), "hunks": float(hunks(solution))}
    chinese = has_chinese(words)
    return Task(
        content_id("commit", source.name, commit.sha, solution),
        "commit",
        words,
        Provenance(source.name, commit.parent, commit.released, path_of(most), made_by="harvest"),
        licence=source.licence,
        solution=solution,
        tests_patch=tests,
        test=source.test,
        tags=Tags("" if tests else UNVERIFIED, language="zh" if chinese else "en", measures=measures),
        verification=Verification("none", 0, {"commit": commit.sha}),
    )


def _refused(source: Source, commit: Commit, reason: str, detail: str) -> Refused:
    return Refused(f"{source.name}@{commit.sha[:12]}", reason, detail)


def _made_by_programs(history: History, commit: Commit, paths: Sequence[str]) -> tuple[str, str] | None:
    """Why a commit is no task, as the contents of its files tell it."""
    contents = history.contents(commit, paths)
    if all(_same_meaning(path, *states) for path, states in contents.items()):
        return "formatting", "it changes how the code looks and not what it means"
    texts = (data.decode("utf-8", "replace") for states in contents.values() for data in states if data)
    if not all(written_by_people(text) for text in texts):
        return "generated", "it changes code that a program wrote"
    return None


def _same_meaning(path: str, before: bytes | None, after: bytes | None) -> bool:
    """Whether a file means the same; comments and docstrings count as nothing."""
    if before is None or after is None:
        return False
    return meaning(path, _bare(path, before)) == meaning(path, _bare(path, after))


def _bare(path: str, data: bytes) -> bytes:
    """Python without comments and docstrings; anything else as it is."""
    tree = module_of(path, data.decode("utf-8", "replace")) if is_python(path) else None
    if tree is None:
        return data
    for node in ast.walk(tree.tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_words(body[0].value):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree.tree).encode("utf-8", "replace")


def _is_words(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_code(path: str) -> bool:
    language = language_of(path)
    return language is not None and language not in _DATA


def _is_prose(path: str) -> bool:
    """Documents, and what stands in hidden folders."""
    return path.lower().endswith(_PROSE) or any(part.startswith(".") for part in path.split("/"))


def _names(lines: Iterable[str]) -> set[str]:
    return {name for line in lines for name in _NAME.findall(line)}


def _context(patch: str) -> Iterator[str]:
    """The lines that a patch leaves as they are, and those that head its hunks."""
    return (line for line in patch.split("\n") if line.startswith((" ", "@@")))


def _tests(patch: str) -> list[str]:
    """Names of the tests that a patch adds."""
    return [match[1] for line in changed(patch, "+") if (match := _TEST.match(line))]


def _summary(solution: str, name: str) -> str:
    """The first line of the docstring of what a patch defines, where that stands in one line behind its head."""
    lines = [*changed(solution, "+")]
    here = (number for number, line in enumerate(lines) if (match := _DEFINED.match(line)) and match[1] == name)
    at = next(here, len(lines))
    head = next((number for number in range(at, len(lines)) if lines[number].rstrip().endswith(":")), len(lines))
    found = _DOCSTRING.match(lines[head + 1]) if head + 1 < len(lines) else None
    return found[1].strip() if found and len(found[1].split()) >= _FEWEST_WORDS else ""


def _new_definitions(solution: str, tests: str) -> list[str]:
    """Names that the solution defines anew and the tests use, so that whoever solves the task must know them."""
    used, before = _names(changed(tests, "+")), _names(changed(solution, "-")) | _names(_context(solution))
    found = [match[1] for line in changed(solution, "+") if (match := _DEFINED.match(line))]
    return [name for name in dict.fromkeys(found) if name in used and name not in before]
