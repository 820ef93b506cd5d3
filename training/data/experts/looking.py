"""Experts that look something up: where a thing is defined, who calls it, what a file is for, or that it is not there.

What they say is read off the syntax tree, or off the very output that the tool gave.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath

from model.format import ToolCall
from training.data.experts.expert import Episode, Library, Part, call, find, reading, shuffled
from training.data.experts.playing import Script
from training.data.experts.steady import Astray
from training.data.experts.words import asked, in_words
from training.data.repositories.modules import Callable_, Definition, Module

_MOST_CALLS = 12
_LONGEST_FILE = 6_000
"""Characters of a file that is summed up, and callers of a function that are named; our choice."""
_MATCH = re.compile(r"^(?P<path>[^:\n]+):(?P<line>\d+): (?P<text>.*)$", re.MULTILINE)
_INVENTED = ("fetch", "build", "parse", "resolve", "collect", "merge", "apply", "rotate", "encode", "prepare")
_THINGS = ("report", "window", "token", "ledger", "cursor", "header", "shard", "ticket", "payload", "margin")


def where(library: Library, part: Part) -> Iterator[Episode]:
    """Where is it defined?"""
    for one in shuffled(part.rng, library.unique):
        yield Episode(
            "where",
            asked(part.rng, "where", part.language, name=one.node.name),
            partial(_where, part, one),
            one.module.path,
            one.qualified,
        )


def _where(part: Part, one: Definition) -> Script:
    name, path, line = one.node.name, one.module.path, one.node.lineno
    shown = yield part.turn("look", find(part, one))
    _seen(shown, path)
    en = part.rng.choice(
        (
            f"`{name}` is defined in {path}, line {line}.",
            f"In {path}, line {line}.",
            f"{path}:{line} defines `{name}`{_within(one)}.",
            f"It is defined in `{path}` on line {line}{_within(one)}.",
        )
    )
    zh = f"`{name}` 定义在 {path} 第 {line} 行。"
    thought = in_words(
        part.language,
        f"The output names one definition of {name}: {path}, line {line}.",
        f"结果只有一处定义：{path} 第 {line} 行。",
    )
    yield part.turn("tell", answer=in_words(part.language, en, zh), thought=thought)


def _within(one: Definition) -> str:
    return f", as a method of `{one.owner.name}`" if one.owner and isinstance(one.node, Callable_) else ""


def callers(library: Library, part: Part) -> Iterator[Episode]:
    """Who calls it?"""
    for one in shuffled(part.rng, library.functions):
        yield Episode(
            "calls",
            asked(part.rng, "calls", part.language, name=one.node.name),
            partial(_callers, library, part, one),
            one.module.path,
            one.qualified,
        )


def _callers(library: Library, part: Part, one: Definition) -> Script:
    name = one.node.name
    shown = yield part.turn("look", call("search", pattern=rf"\b{name}\("))
    output = shown[-1]
    places = _calling(library, output, name)
    if not places and "Nothing" not in output and len(_MATCH.findall(output)) != 1:
        raise Astray("not every match is a call that can be told")
    yield part.turn("tell", answer=_called(part, name, places), thought=_called_thought(part, name, places))


def _calling(library: Library, output: str, name: str) -> list[tuple[str, int]]:
    """The lines that the search showed and that really call it. Raises `Astray` where there are too many."""
    found = [(match["path"], int(match["line"])) for match in _MATCH.finditer(output)]
    if len(found) > _MOST_CALLS or "Only the first" in output or "left out" in output:
        raise Astray("too many calls to name")
    by_file = defaultdict[str, list[int]](list)
    for path, line in found:
        by_file[path].append(line)
    return [
        (path, line) for path, lines in by_file.items() for line in lines if line in _call_lines(library, path, name)
    ]


def _call_lines(library: Library, path: str, name: str) -> frozenset[int]:
    """The lines of a file in which the name that is called stands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse((library.root / path).read_bytes())
    except (SyntaxError, ValueError, OSError):
        return frozenset()
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = (
        func.lineno if isinstance(func, ast.Name) else func.end_lineno or 0
        for func in calls
        if (isinstance(func, ast.Name) and func.id == name) or (isinstance(func, ast.Attribute) and func.attr == name)
    )
    return frozenset(names)


def _called(part: Part, name: str, places: Sequence[tuple[str, int]]) -> str:
    listed = ", ".join(f"{path}:{line}" for path, line in places)
    if not places:
        return in_words(
            part.language, f"Nothing in the repository calls `{name}` by name.", f"仓库里没有直接调用 `{name}` 的地方。"
        )
    en = part.rng.choice(
        (
            f"`{name}` is called in {_counted(len(places), 'place')}: {listed}.",
            f"{_counted(len(places), 'call').capitalize()} of `{name}`: {listed}.",
            f"Called at {listed}.",
        )
    )
    return in_words(part.language, en, f"`{name}` 在 {len(places)} 处被调用：{listed}。")


def _called_thought(part: Part, name: str, places: Sequence[tuple[str, int]]) -> str:
    en = f"Of the lines shown, the one with `def` is no call. What calls {name}: {_counted(len(places), 'line')}."
    return in_words(part.language, en, f"带 def 的那一行不是调用。真正调用 {name} 的有 {len(places)} 行。")


def _counted(count: int, what: str) -> str:
    numbers = ("no", "one", "two", "three", "four", "five", "six")
    return f"{numbers[count] if count < len(numbers) else count} {what}{'s' * (count != 1)}"


def files(library: Library, part: Part) -> Iterator[Episode]:
    """What is in a file?"""
    for module in shuffled(part.rng, tuple(library.modules.values())):
        if 0 < len(module.text) <= (_LONGEST_FILE if part.full else 1_700) and _defined(module):
            yield Episode(
                "file",
                asked(part.rng, "file", part.language, path=module.path),
                partial(_file, part, module),
                module.path,
            )


def _file(part: Part, module: Module) -> Script:
    by_symbols = part.full and not _first_sentence(module.tree) and part.rng.random() < 0.5
    looking = call("symbols", path=module.path) if by_symbols else call("read_file", path=module.path)
    shown = yield part.turn("look", looking)
    if "left out" in shown[-1]:
        raise Astray("not all of the file was shown")
    about, listed = _first_sentence(module.tree), ", ".join(f"`{name}`" for name in _defined(module))
    en = f"{module.path} defines {listed}."
    if about:
        en = part.rng.choice((f"{about} It defines {listed}.", f"Its docstring says: {about} It defines {listed}."))
    zh = f"{module.path} 定义了 {listed}。" + (f"文件说明是：{about}" if about else "")
    thought = in_words(part.language, f"At the top level of the file stand {listed}.", f"文件顶层定义了 {listed}。")
    yield part.turn("tell", answer=in_words(part.language, en, zh), thought=thought)


def _defined(module: Module) -> list[str]:
    return [node.name for node in module.tree.body if isinstance(node, Callable_ | ast.ClassDef)][:20]


def _first_sentence(node: ast.Module | ast.ClassDef | Callable_) -> str:
    """The first sentence of a docstring, on one line; empty where there is none that reads as one."""
    text = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])\s", text)[0] if text else ""
    if not 12 <= len(sentence) <= 200 or any(mark in sentence for mark in (">>>", "::", ":param", "http")):
        return ""
    return sentence if sentence[-1] in ".!?" else f"{sentence}."


def signatures(library: Library, part: Part) -> Iterator[Episode]:
    """Which parameters does it take?"""
    for one in shuffled(part.rng, library.functions):
        if (
            isinstance(one.node, Callable_)
            and one.node.args.posonlyargs + one.node.args.args + one.node.args.kwonlyargs
        ):
            yield Episode(
                "signature",
                asked(part.rng, "signature", part.language, name=one.node.name),
                partial(_signature, part, one),
                one.module.path,
                one.qualified,
            )


def _signature(part: Part, one: Definition) -> Script:
    node = one.node
    assert isinstance(node, Callable_)
    shown = yield part.turn("look", find(part, one))
    _seen(shown, one.module.path)
    if node.body[0].lineno - node.lineno > 1 or part.rng.random() < 0.3:
        yield from reading(part, one.module, node.lineno, node.body[0].lineno, node.body[0].lineno - 1)
    parameters = ast.unparse(node.args)
    en = part.rng.choice(
        (
            f"`{node.name}({parameters})`, in {one.module.path}.",
            f"Its parameters are `{parameters}` ({one.module.path}, line {node.lineno}).",
            f"It is declared as `{node.name}({parameters})`.",
        )
    )
    zh = f"`{node.name}({parameters})`，位于 {one.module.path} 第 {node.lineno} 行。"
    thought = in_words(
        part.language,
        f"The def line on line {node.lineno} names them all: {parameters}.",
        f"第 {node.lineno} 行的 def 给出了全部参数：{parameters}。",
    )
    yield part.turn("tell", answer=in_words(part.language, en, zh), thought=thought)


def purposes(library: Library, part: Part) -> Iterator[Episode]:
    """What is it for?"""
    for one in shuffled(part.rng, library.unique):
        if _first_sentence(one.node):
            yield Episode(
                "purpose",
                asked(part.rng, "purpose", part.language, name=one.node.name),
                partial(_purpose, part, one),
                one.module.path,
                one.qualified,
            )


def _purpose(part: Part, one: Definition) -> Script:
    shown = yield part.turn("look", find(part, one))
    _seen(shown, one.module.path)
    last = min(one.last, one.node.body[0].end_lineno or one.last)
    yield from reading(part, one.module, one.first, last, last)
    sentence, name = _first_sentence(one.node), one.node.name
    en = part.rng.choice((f"{sentence}", f"By its docstring: {sentence}", f"`{name}` ({one.module.path}): {sentence}"))
    zh = f"`{name}` 的文档写道：{sentence}"
    thought = in_words(
        part.language, f"The docstring of {name} says it: {sentence}", f"{name} 的文档字符串已经说明：{sentence}"
    )
    yield part.turn("tell", answer=in_words(part.language, en, zh), thought=thought)


def bases(library: Library, part: Part) -> Iterator[Episode]:
    """What does a class inherit from?"""
    for one in shuffled(part.rng, library.unique):
        if isinstance(one.node, ast.ClassDef):
            yield Episode(
                "bases",
                asked(part.rng, "bases", part.language, name=one.node.name),
                partial(_bases, part, one),
                one.module.path,
                one.qualified,
            )


def _bases(part: Part, one: Definition) -> Script:
    shown = yield part.turn("look", call("search", pattern=f"class {one.node.name}"))
    _seen(shown, one.module.path)
    assert isinstance(one.node, ast.ClassDef)
    named = ", ".join(f"`{ast.unparse(base)}`" for base in one.node.bases)
    if one.node.bases and one.node.bases[-1].end_lineno != one.node.lineno:
        raise Astray("the class line does not name them all")
    en = f"`{one.node.name}` inherits from {named}." if named else f"`{one.node.name}` names no base class."
    zh = f"`{one.node.name}` 继承自 {named}。" if named else f"`{one.node.name}` 没有写父类。"
    thought = in_words(
        part.language, f"The class line in {one.module.path} says: {en}", f"{one.module.path} 中的 class 行说明：{zh}"
    )
    yield part.turn("tell", answer=in_words(part.language, en, zh), thought=thought)


def folders(library: Library, part: Part) -> Iterator[Episode]:
    """Which files are in a folder?"""
    names = sorted({str(PurePosixPath(path).parent) for path in library.modules} - {"."})
    for name in shuffled(part.rng, tuple(names)):
        yield Episode("folder", asked(part.rng, "folder", part.language, path=name), partial(_folder, part, name), name)


def _folder(part: Part, name: str) -> Script:
    shown = yield part.turn("look", call("list_files", path=name))
    listed = shown[-1].splitlines()
    if "…" in shown[-1] or len(listed) > 15:
        raise Astray("too many files to name")
    count, joined = len(listed), ", ".join(listed)
    en = f"{name} holds {count} file{'s' * (count != 1)}: {joined}."
    thought = in_words(
        part.language, f"The listing has {count} lines, one a file.", f"列表共 {count} 行，每行一个文件。"
    )
    yield part.turn(
        "tell", answer=in_words(part.language, en, f"{name} 下共有 {count} 个文件：{joined}。"), thought=thought
    )


def missing(library: Library, part: Part) -> Iterator[Episode]:
    """A file that is not there."""
    for module in shuffled(part.rng, tuple(library.modules.values())):
        place = PurePosixPath(module.path)
        path = str(place.with_name(f"{part.rng.choice(_THINGS)}_{part.rng.choice(_INVENTED)}.py"))
        if not (library.root / path).exists():
            yield Episode(
                "missing", asked(part.rng, "missing", part.language, path=path), partial(_missing, part, path), path
            )


def _missing(part: Part, path: str) -> Script:
    looking: ToolCall = part.rng.choice((call("read_file", path=path), call("list_files", path=path)))
    fails = looking.name == "read_file"
    yield part.turn("look", looking, fails=fails)
    name, folder = PurePosixPath(path).name, str(PurePosixPath(path).parent)
    if fails or part.rng.random() < 0.5:
        shown = yield part.turn("look", call("search", pattern=PurePosixPath(path).stem))
        _nothing(shown)
    en = part.rng.choice(
        (
            f"There is no {path} in this repository, so nothing was done. Which file do you mean?",
            f"{path} does not exist. Please give me the right path.",
            f"I found no file {name} in {folder}; is the name right?",
        )
    )
    thought = in_words(
        part.language,
        f"{path} is not there. I must not make up what it says; I ask for the right name.",
        f"{path} 不存在。不能编造内容，应当询问正确的文件名。",
    )
    yield part.turn(
        "tell", answer=in_words(part.language, en, f"仓库里没有 {path} 这个文件，请确认路径。"), thought=thought
    )


def unknown(library: Library, part: Part) -> Iterator[Episode]:
    """A name that is nowhere."""
    for first in shuffled(part.rng, _INVENTED):
        name = f"{first}_{part.rng.choice(_THINGS)}_{part.rng.choice(_THINGS)}"
        if name not in library.words:
            yield Episode(
                "unknown", asked(part.rng, "unknown", part.language, name=name), partial(_unknown, part, name)
            )


def _unknown(part: Part, name: str) -> Script:
    shown = yield part.turn("look", call("search", pattern=name))
    _nothing(shown)
    en = part.rng.choice(
        (
            f"Nothing in this repository is called `{name}`, so there is nothing to report or change.",
            f"I found no `{name}` here. Is the name spelled right?",
            f"`{name}` does not occur in this repository.",
        )
    )
    thought = in_words(
        part.language,
        f"The search for {name} matched nothing, so it is not defined here.",
        f"搜索 {name} 没有结果，说明这里没有它。",
    )
    yield part.turn(
        "tell", answer=in_words(part.language, en, f"仓库里没有找到 `{name}`，请确认名称。"), thought=thought
    )


def _nothing(shown: tuple[str, ...]) -> None:
    if not shown[-1].startswith("Nothing matches"):
        raise Astray("the name is known after all")


def _seen(shown: tuple[str, ...], path: str) -> None:
    if not shown or path not in shown[-1]:
        raise Astray("the tool did not show the place")


LOOKING = (where, callers, files, signatures, purposes, bases, folders, missing, unknown)
"""All of them; each yields episodes in an order that is drawn."""
