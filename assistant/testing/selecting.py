"""The command that runs only some tests, and which tests a change may touch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

_UNCLEAR = re.compile(r"[$`*?~#\\\n<>|;()]|(?<!&)&(?!&)")
"""What a shell reads more into than words."""
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
_STARTERS = frozenset({"env", "nice", "npx", "bunx", "time", "xvfb-run"})
_RUNNING = frozenset({"uv", "poetry", "pdm", "hatch", "pipenv", "rye", "pixi", "bundle", "pnpm", "yarn"})
"""Programs that start another one, at once or behind `run`, `exec` or `dlx`."""
_JAVA = re.compile(r"((?:[a-z_]\w*\.)*[A-Z][\w$]*)(?:\.(\w+))?")
_LONGEST = 100_000
"""Characters of a command; Linux takes 131,072 in one argument."""
_PYTEST_VALUES = frozenset(
    {
        "-k",
        "-m",
        "-n",
        "-p",
        "-c",
        "-o",
        "-W",
        "-r",
        "--ignore",
        "--ignore-glob",
        "--deselect",
        "--rootdir",
        "--confcutdir",
        "--cov",
        "--cov-report",
        "--cov-config",
        "--maxfail",
        "--durations",
        "--tb",
        "--junitxml",
        "--junit-xml",
        "--import-mode",
        "--numprocesses",
        "--dist",
        "--timeout",
        "--basetemp",
        "--color",
        "--capture",
        "--show-capture",
        "--cov-fail-under",
        "--ds",
        "--log-level",
        "--override-ini",
        "--config-file",
    }
)
_GO_VALUES = frozenset(
    {
        "-timeout",
        "-tags",
        "-count",
        "-p",
        "-parallel",
        "-mod",
        "-covermode",
        "-coverprofile",
        "-coverpkg",
        "-cpu",
        "-exec",
    }
)


@dataclass(frozen=True, slots=True)
class _Words:
    """A command: what stands before the program, the program and its arguments."""

    before: str
    program: tuple[str, ...]
    arguments: tuple[str, ...]

    def text(self, *arguments: str) -> str:
        """The same program with these arguments."""
        return f"{self.before}{shlex.join((*self.program, *arguments))}"


def with_tests(command: str, ids: Iterable[str]) -> str | None:
    """The command that runs these tests, and perhaps some more; None where that cannot be said.

    It is said of plain commands of pytest, unittest, go, cargo, jest, vitest, mocha, ctest, rspec, Maven and Gradle.
    """
    names = tuple(dict.fromkeys(ids))
    words = _words(command)
    if words is None or not names:
        return None
    built = next((build(words, names) for fits, build in _BUILDERS if fits(words)), None)
    return built if built is not None and len(built) <= _LONGEST else None


def is_piped(command: str) -> bool:
    """Whether the exit code may be that of another program, behind a pipe."""
    try:
        words = list(shlex.shlex(command, posix=True, punctuation_chars=True))
    except ValueError:
        return False
    return not {"|", "|&"}.isdisjoint(words) and "pipefail" not in words


def impacted(
    failing: Sequence[str],
    all_ids: Iterable[str],
    files: Iterable[str],
    read: Callable[[str], str] | None = None,
) -> tuple[str, ...]:
    """Tests that a change of `files` may touch, most likely first: those that fail, those beside them, those named so.

    With `read` (the text of a file, "" if there is none), those in files which name a module that changed as well.
    """
    stems = set[str]().union(*map(_stems, files)) - {"__init__", "index", "mod", "lib", "main", ""}
    homes = dict.fromkeys(_home(name) for name in failing)
    known = set(failing)
    others = [name for name in all_ids if name not in known]
    beside = [name for name in others if _home(name) in homes]
    rest = [name for name in others if _home(name) not in homes]
    named = [name for name in rest if _stems(_home(name)) & stems]
    reading = _readers({_home(name) for name in rest}, stems, read) if read and stems else set()
    return tuple(dict.fromkeys([*failing, *beside, *named, *(name for name in rest if _home(name) in reading)]))


def _readers(homes: Iterable[str], stems: set[str], read: Callable[[str], str]) -> set[str]:
    words = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(stems)))})\b")
    return {home for home in homes if words.search(read(home))}


def _home(name: str) -> str:
    """The file, class or package a test is in."""
    for separator in ("::", " > "):
        if separator in name:
            return name.partition(separator)[0]
    dotted = re.fullmatch(r"([\w.$]+)\.[\w$]+(?:\(.*\))?(?:\[.*\])?", name)
    return dotted[1] if dotted else name


def _stems(home: str) -> set[str]:
    """What a test and the file it tests have in common: `calc` of calc.py, test_calc.py, CalcTest and calc.test.ts."""
    if re.fullmatch(r"(?:\w+\.)+[A-Z]\w*", home):
        *modules, owner = home.split(".")
        return {_stem(owner), *(_stem(name) for name in modules if name.startswith("test_") or name.endswith("_test"))}
    return {_stem(PurePosixPath(home.rpartition(":")[2]).name.partition(".")[0])}


def _stem(name: str) -> str:
    return re.sub(r"^tests?_|_tests?$|_spec$|Tests?$|^Test(?=[A-Z])", "", name).lower()


def _words(command: str) -> _Words | None:
    """The words of a command that is plain; `cd x &&` and the like may stand before it."""
    before, _, last = command.rpartition("&&")
    if _UNCLEAR.search(command) or "&&" in last or before.count("'") % 2 or before.count('"') % 2:
        return None
    try:
        words = shlex.split(last)
    except ValueError:
        return None
    start = _program(words)
    assigned = any(_ASSIGNMENT.match(word) for word in words[:start]) and words[0] != "env"
    lead = "".join(f"{shlex.quote(word)} " for word in (*(["env"] if assigned else []), *words[:start]))
    size = 3 if words[start + 1 : start + 2] == ["-m"] else 1
    first = f"{before}&& " if before else ""
    return _Words(first + lead, tuple(words[start : start + size]), tuple(words[start + size :]))


def _program(words: Sequence[str]) -> int:
    """The place of the program that runs the tests."""
    match words:
        case [first, *rest] if _ASSIGNMENT.match(first) or (first in _STARTERS and rest and rest[0][:1] != "-"):
            return 1 + _program(rest)
        case [first, "run" | "exec" | "dlx", *rest] if first in _RUNNING:
            return 2 + _program(rest)
        case ["timeout", seconds, *rest] if seconds[:1].isdigit():
            return 2 + _program(rest)
        case ["yarn" | "pnpm", "jest" | "vitest" | "mocha", *_]:
            return 1
    return 0


def _is(*names: str) -> Callable[[_Words], bool]:
    return lambda words: bool(words.program) and words.program[0].rpartition("/")[2] in names


def _module(name: str) -> Callable[[_Words], bool]:
    return lambda words: len(words.program) == 3 and words.program[1:] == ("-m", name)


def _first(program: Callable[[_Words], bool], *subcommands: str) -> Callable[[_Words], bool]:
    return lambda words: program(words) and words.arguments[: len(subcommands)] == subcommands


def _npm_with(option: str) -> Callable[[_Words], bool]:
    """npm's test script, given an option that only one runner has."""
    return lambda words: _is("npm")(words) and words.arguments[:2] == ("test", "--") and option in words.arguments


def _options(arguments: Sequence[str], values: frozenset[str]) -> list[str] | None:
    """The options without what else stands there; None where it is unclear whether a word belongs to an option."""
    kept: list[str] = []
    expected = False
    for number, word in enumerate(arguments):
        before = arguments[number - 1] if number else ""
        if word.startswith("-") or expected:
            kept.append(word)
            expected = word in values and not expected
        elif before.startswith("--") and "=" not in before and before not in values and not _is_place(word):
            return None
    return kept


def _is_place(word: str) -> bool:
    return "/" in word or word.endswith(".py") or word in ("test", "tests", ".")


def _pytest(words: _Words, ids: Sequence[str]) -> str | None:
    options = _options(words.arguments, _PYTEST_VALUES)
    return None if options is None else words.text(*options, *ids)


def _unittest(words: _Words, ids: Sequence[str]) -> str:
    return words.text(*words.arguments, *(part for name in ids for part in ("-k", name)))


def _go(words: _Words, ids: Sequence[str]) -> str | None:
    options = _options(words.arguments[1:], _GO_VALUES)
    if options is None or any(option.lstrip("-").startswith("run") for option in options):
        return None
    packages = tuple(dict.fromkeys(name.partition("::")[0] for name in ids))
    tests = dict.fromkeys(name.partition("::")[2].partition("/")[0] for name in ids)
    chosen = () if "" in tests else ("-run", _any(tests))
    return words.text("test", *options, *chosen, *packages)


def _cargo(words: _Words, ids: Sequence[str]) -> str | None:
    if any(":doc::" in name for name in ids):
        return None
    names = dict.fromkeys(name.partition("::")[2] if ":" in name.partition("::")[0] else name for name in ids)
    separator = () if "--" in words.arguments else ("--",)
    return words.text(*words.arguments, *separator, "--exact", *names)


def _javascript(words: _Words, ids: Sequence[str]) -> str | None:
    """jest and vitest: their files, and names within them as they join them."""
    files = dict.fromkeys(name.partition(" > ")[0] for name in ids)
    names = [name.partition(" > ")[2].replace(" > ", " ") for name in ids]
    if not all(re.search(r"\.[cm]?[jt]sx?$", file) for file in files):
        return None
    chosen = ("-t", _any(names)) if all(names) else ()
    return words.text(*words.arguments, *files, *chosen)


def _mocha(words: _Words, ids: Sequence[str]) -> str:
    return words.text(*words.arguments, "-g", _any(name.replace(" > ", " ") for name in ids))


def _ctest(words: _Words, ids: Sequence[str]) -> str | None:
    narrowed = any(word in ("-R", "-E", "-I", "-L") for word in words.arguments)
    return None if narrowed else words.text(*words.arguments, "-R", _any(ids))


def _rspec(words: _Words, ids: Sequence[str]) -> str:
    return words.text(*words.arguments, *(part for name in ids for part in ("-e", name)))


def _maven(words: _Words, ids: Sequence[str]) -> str:
    chosen = ",".join(dict.fromkeys("#".join(_method(name)) for name in ids))
    return words.text(*words.arguments, f"-Dtest={chosen}", "-Dsurefire.failIfNoSpecifiedTests=false")


def _gradle(words: _Words, ids: Sequence[str]) -> str:
    names = dict.fromkeys(".".join(_method(name)) for name in ids)
    return words.text(*words.arguments, *(part for name in names for part in ("--tests", name)))


def _method(name: str) -> Iterator[str]:
    """The class and, if one is named, the method, without the arguments of a case."""
    found = _JAVA.match(name)
    yield from (part for part in found.groups() if part) if found else (name,)


def _any(names: Iterable[str]) -> str:
    return f"^({'|'.join(_quoted(name) for name in dict.fromkeys(names))})$"


def _quoted(name: str) -> str:
    """For regular expressions of Go, JavaScript and CMake, which know fewer escapes than Python's."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", name)


_BUILDERS: tuple[tuple[Callable[[_Words], bool], Callable[[_Words, Sequence[str]], str | None]], ...] = (
    (_is("pytest", "py.test"), _pytest),
    (_module("pytest"), _pytest),
    (_module("unittest"), _unittest),
    (_first(_is("go"), "test"), _go),
    (_first(_is("cargo"), "test"), _cargo),
    (_is("jest", "vitest"), _javascript),
    (_npm_with("--verbose"), _javascript),
    (_npm_with("--reporter=verbose"), _javascript),
    (_is("mocha"), _mocha),
    (_is("ctest"), _ctest),
    (_is("rspec"), _rspec),
    (_is("mvn", "mvnw"), _maven),
    (_is("gradle", "gradlew"), _gradle),
)
