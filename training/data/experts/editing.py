"""Experts that make small edits which the user describes, and which are known to be right by the way they are made.

A local variable gets another name, a default another value; a parameter is added; or what is wanted is so already.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from model.format import ToolCall
from training.data.experts.expert import Episode, Library, Part, call, find, finishing, reading, shuffled
from training.data.experts.playing import Script
from training.data.experts.steady import Astray
from training.data.experts.words import asked, in_words
from training.data.repositories.modules import Callable_, Definition, Module, definitions, module_of, own

_NEW_NAMES = ("value", "current", "found", "entry", "total", "part", "piece", "result", "selected", "pending", "buffer")
_NEW_PARAMETERS = (("strict", "False"), ("verbose", "False"), ("limit", "None"), ("timeout", "None"), ("label", "''"))
_SLIPS = 0.12
"""The share of edits that are not copied exactly at first; our choice."""
_LONGEST = 60
"""Lines of a function that is edited; our choice."""


@dataclass(frozen=True, slots=True)
class Edited:
    """Lines of a file, from number `first` on, as they are and as they are to be."""

    module: Module
    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole file afterwards."""
        lines = list(self.module.lines)
        lines[self.first - 1 : self.first - 1 + len(self.old)] = self.new
        return "\n".join(lines)

    @property
    def where(self) -> str:
        """The lines that change, in words."""
        last = self.first + len(self.old) - 1
        return f"Line {last}" if last <= self.first else f"What stands in lines {self.first} to {last}"

    def call(self, part: Part) -> ToolCall:
        """The edit as a call: enough lines around the change to be found once."""
        first, last = self.first - 1, self.first - 1 + len(self.old)
        before = after = 0
        lines = self.module.lines
        while True:
            old = "\n".join(lines[first - before : last + after])
            if self.module.text.count(old) == 1:
                break
            if before + after > 12:
                raise Astray("the place cannot be told from others")
            before, after = (before + 1, after) if before <= after and first > before else (before, after + 1)
        head, tail = lines[first - before : first], lines[last : last + after]
        return call("edit_file", path=self.module.path, old=old, new="\n".join([*head, *self.new, *tail]))


def narrowed(module: Module, text: str) -> Edited:
    """The change from a file to another text of it, as few lines as hold it.

    Raises:
        Astray: nothing is different.
    """
    old, new = list(module.lines), text.split("\n")
    if old == new:
        raise Astray("nothing is to be changed")
    most = min(len(old), len(new))
    head = next((n for n in range(most) if old[n] != new[n]), most)
    tail = next((n for n in range(most - head) if old[-1 - n] != new[-1 - n]), most - head)
    head -= bool(head) and head + tail == len(old)  # what is put in needs a line to stand behind
    return Edited(module, head + 1, tuple(old[head : len(old) - tail]), tuple(new[head : len(new) - tail]))


def editing(part: Part, one: Definition, edited: Edited, what: str, message: str) -> Script:
    """Find the place, read it, edit it, look again now and then, and say what was done.

    `what` is the edit in half a sentence, `message` what was done.
    """
    yield part.turn("look", find(part, one))
    end = edited.first + len(edited.old)
    yield from reading(part, edited.module, one.first, max(one.last, end), end - 1)
    thought = in_words(
        part.language,
        f"{what} {edited.where} of {edited.module.path} changes, and nothing else.",
        f"{what} 只需改动 {edited.module.path} 第 {edited.first} 行起的内容。",
    )
    yield from edit(part, edited, thought)
    if part.rng.random() < 0.25:
        looked = call("search", pattern=re.escape(_telling_line(edited)).replace("\\ ", " "))
        yield part.turn("check", looked)
    checked = in_words(
        part.language, f"The edit went in as it was described. {message}", f"修改已按要求写入。{message}"
    )
    if part.rng.random() < 0.5:
        yield from finishing(part, message, checked)
    else:
        yield part.turn("tell", answer=message, thought=checked)


def edit(part: Part, edited: Edited, thought: str, role: str = "edit") -> Script:
    """The edit; sometimes it is not copied exactly at first, and then mended."""
    right = edited.call(part)
    if part.rng.random() < _SLIPS and (wrong := _miscopied(right, edited.module.text)):
        yield part.turn(role, wrong, thought=thought, fails=True)
        why = in_words(
            part.language,
            "The text that I gave for `old` is not in the file as I wrote it, so nothing was changed. "
            "The lines that I read have it; I copy them exactly.",
            "上次给出的 old 与文件内容不一致，所以没有改动。这次照读到的原文写。",
        )
        yield part.turn("mend", right, thought=why)
        return
    yield part.turn(role, right, thought=thought)


def _miscopied(right: ToolCall, text: str) -> ToolCall | None:
    """The call with a slip in what it copies, which is nowhere in the file then."""
    old = str(right.arguments["old"])
    words = [word for word in re.findall(r"[A-Za-z_]{4,}", old) if not keyword.iskeyword(word)]
    if not words:
        return None
    slip = old.replace(words[-1], words[-1][:-1] + ("z" if words[-1][-1] != "z" else "y") + words[-1][-1], 1)
    return ToolCall(right.name, {**right.arguments, "old": slip}) if slip not in text else None


def _telling_line(edited: Edited) -> str:
    changed = [line for line in edited.new if line not in edited.old and line.strip()]
    return (changed or edited.new)[0].strip()


def renames(library: Library, part: Part) -> Iterator[Episode]:
    """A local variable gets another name."""
    for one in shuffled(part.rng, library.functions):
        if is_short(one) and (old := _local(part, one)):
            new = next((n for n in shuffled(part.rng, _NEW_NAMES) if not re.search(rf"\b{n}\b", one.code)), "")
            if new and (text := _renamed(one, old, new)) is not None:
                words = asked(
                    part.rng, "rename", part.language, old=old, new=new, name=one.node.name, path=one.module.path
                )
                yield Episode(
                    "rename", words, partial(_rename, part, one, old, new, text), one.module.path, one.qualified
                )


def _rename(part: Part, one: Definition, old: str, new: str, text: str) -> Script:
    edited = narrowed(one.module, text)
    what = in_words(
        part.language,
        f"In {one.node.name} the variable {old} becomes {new}, wherever it stands.",
        f"{one.node.name} 中的变量 {old} 要全部改为 {new}。",
    )
    en = f"Renamed `{old}` to `{new}` in `{one.node.name}` ({one.module.path}). I did not run the tests."
    message = in_words(
        part.language, en, f"已将 {one.module.path} 中 `{one.node.name}` 的变量 `{old}` 改名为 `{new}`，没有运行测试。"
    )
    return editing(part, one, edited, what, message)


def _local(part: Part, one: Definition) -> str:
    """A variable that is assigned in this function and is nothing but local to it; empty where there is none."""
    node = one.node
    if not isinstance(node, Callable_) or any(isinstance(n, ast.Global | ast.Nonlocal) for n in ast.walk(node)):
        return ""
    inner = [n for n in own(node) if isinstance(n, Callable_ | ast.ClassDef | ast.Lambda)]
    within = {n.id for child in inner for n in ast.walk(child) if isinstance(n, ast.Name)}
    arguments = {a.arg for a in ast.walk(node) if isinstance(a, ast.arg)}
    stored = {n.id for n in own(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    names = sorted(name for name in stored - within - arguments if len(name) > 1 and not _in_texts(node, name))
    return part.rng.choice(names) if names else ""


def _in_texts(node: ast.AST, name: str) -> bool:
    """Whether the name stands in a text, a keyword or the like, where a reader would wonder."""
    texts = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    handlers = (n.name for n in ast.walk(node) if isinstance(n, ast.ExceptHandler))
    formatted = any(isinstance(n, ast.JoinedStr | ast.Match) for n in ast.walk(node))
    return formatted or name in handlers or any(re.search(rf"\b{name}\b", text) for text in texts)


def _renamed(one: Definition, old: str, new: str) -> str | None:
    """The file with the variable renamed; None where its text does not follow its tree."""
    lines = [line.encode() for line in one.module.lines]
    places = sorted(
        ((n.lineno, n.col_offset) for n in ast.walk(one.node) if isinstance(n, ast.Name) and n.id == old), reverse=True
    )
    if not 2 <= len(places) <= 8:
        return None
    for row, column in places:
        line = lines[row - 1]
        if line[column : column + len(old)] != old.encode():
            return None
        lines[row - 1] = line[:column] + new.encode() + line[column + len(old) :]
    text = b"\n".join(lines).decode()
    left = module_of(one.module.path, text)
    return text if left and re.search(rf"\b{old}\b", left.shown(one.first, one.last)) is None else None


def defaults(library: Library, part: Part) -> Iterator[Episode]:
    """A default gets another value."""
    for one in shuffled(part.rng, library.functions):
        if (found := _default(part, one)) is None:
            continue
        name, old, new, text = found
        values = {"param": name, "old": old, "new": new, "name": one.node.name, "path": one.module.path}
        words = asked(part.rng, "default", part.language, **values)
        yield Episode("default", words, partial(_set_default, part, one, values, text), one.module.path, one.qualified)


def _set_default(part: Part, one: Definition, values: dict[str, str], text: str) -> Script:
    edited = narrowed(one.module, text)
    what = in_words(
        part.language,
        "The default of {param} stands in the signature of {name}; it becomes {new}.".format(**values),
        "{param} 的默认值在 {name} 的签名里，改成 {new}。".format(**values),
    )
    en = "`{param}` of `{name}` has the default {new} now (it was {old}), in {path}. I did not run the tests.".format(
        **values
    )
    message = in_words(
        part.language,
        en,
        "{path} 中 `{name}` 的参数 `{param}` 默认值已由 {old} 改为 {new}，没有运行测试。".format(**values),
    )
    return editing(part, one, edited, what, message)


def _default(part: Part, one: Definition) -> tuple[str, str, str, str] | None:
    """A parameter with a plain default, the old and a new value, and the file with it."""
    node = one.node
    if not isinstance(node, Callable_):
        return None
    arguments = [*node.args.posonlyargs, *node.args.args]
    pairs = [*zip(arguments[len(arguments) - len(node.args.defaults) :], node.args.defaults, strict=True)]
    plain = [(a.arg, d) for a, d in pairs if isinstance(d, ast.Constant) and d.value is not None and d.value is not ...]
    if not plain or not is_short(one):
        return None
    name, value = part.rng.choice(plain)
    old, new = ast.unparse(value), _other(part, value.value)
    text = _exchanged(one.module, value, new)
    return (name, old, new, text) if new and text else None


def _other(part: Part, value: object) -> str:
    match value:
        case bool():
            return repr(not value)
        case int():
            return repr(value + part.rng.choice((1, 2, 5, 10)))
        case float():
            return repr(value * 2 or 0.5)
        case str():
            return repr({"": "-", " ": "_"}.get(value, f"{value}_"))
        case _:
            return ""


def _exchanged(module: Module, node: ast.expr, new: str) -> str:
    """The file with another text in the place of a node on one line; empty where that cannot be."""
    if node.lineno != node.end_lineno:
        return ""
    lines = [line.encode() for line in module.lines]
    line = lines[node.lineno - 1]
    lines[node.lineno - 1] = line[: node.col_offset] + new.encode() + line[node.end_col_offset :]
    text = b"\n".join(lines).decode()
    return text if module_of(module.path, text) else ""


def parameters(library: Library, part: Part) -> Iterator[Episode]:
    """One more parameter, with a default."""
    for one in shuffled(part.rng, library.functions):
        name, value = part.rng.choice(_NEW_PARAMETERS)
        if not is_short(one) or re.search(rf"\b{name}\b", one.code) or not (text := _with_parameter(one, name, value)):
            continue
        values = {"param": name, "value": value, "name": one.node.name, "path": one.module.path}
        words = asked(part.rng, "parameter", part.language, **values)
        yield Episode("parameter", words, partial(_add, part, one, values, text), one.module.path, one.qualified)


def _add(part: Part, one: Definition, values: dict[str, str], text: str) -> Script:
    edited = narrowed(one.module, text)
    what = in_words(
        part.language,
        "{param}={value} goes behind the last parameter of {name}; with a default, calls need not change.".format(
            **values
        ),
        "{param}={value} 放在 {name} 参数列表末尾，有默认值，不影响调用方。".format(**values),
    )
    en = "`{name}` in {path} takes `{param}={value}` as its last parameter now; nothing uses it yet.".format(**values)
    message = in_words(
        part.language, en, "{path} 的 `{name}` 末尾已增加参数 `{param}={value}`，暂未使用。".format(**values)
    )
    return editing(part, one, edited, what, message)


def _with_parameter(one: Definition, name: str, value: str) -> str:
    """The file with the parameter behind the last one; empty where the signature is not a plain one on one line."""
    node = one.node
    if not isinstance(node, Callable_) or node.args.kwarg or node.args.vararg or node.args.kwonlyargs:
        return ""
    if node.decorator_list:  # a property takes none
        return ""
    arguments = [*node.args.posonlyargs, *node.args.args]
    last: list[ast.arg | ast.expr] = [*arguments, *node.args.defaults]
    if not last or any(each.end_lineno != node.lineno for each in last):
        return ""
    end = max(each.end_col_offset or 0 for each in last)
    lines = [line.encode() for line in one.module.lines]
    line = lines[node.lineno - 1]
    lines[node.lineno - 1] = line[:end] + f", {name}={value}".encode() + line[end:]
    made = _as_in(one, b"\n".join(lines).decode())
    taken = [each.arg for each in made.args.args] if made else []
    return "\n".join(part.decode() for part in lines) if taken == [each.arg for each in node.args.args] + [name] else ""


def _as_in(one: Definition, text: str) -> Callable_ | None:
    """The function as another text of its module has it; None where it has not just one of that name."""
    module = module_of(one.module.path, text)
    found = [each.node for each in definitions(module) if each.qualified == one.qualified] if module else []
    return found[0] if len(found) == 1 and isinstance(found[0], Callable_) else None


def done(library: Library, part: Part) -> Iterator[Episode]:
    """What is wanted is so already."""
    for one in shuffled(part.rng, library.functions):
        if (found := _default(part, one)) is None:
            continue
        values = {"param": found[0], "old": found[1], "name": one.node.name, "path": one.module.path}
        words = asked(part.rng, "done", part.language, **values)
        yield Episode("done", words, partial(_nothing_to_do, part, one, values), one.module.path, one.qualified)


def _nothing_to_do(part: Part, one: Definition, values: dict[str, str]) -> Script:
    yield part.turn("look", find(part, one))
    yield from reading(part, one.module, one.first, one.node.body[0].lineno, one.node.body[0].lineno - 1)
    en = "`{param}` of `{name}` has the default {old} already, so I changed nothing.".format(**values)
    message = in_words(part.language, en, "`{name}` 的参数 `{param}` 默认值已经是 {old}，无需修改。".format(**values))
    thought = in_words(
        part.language,
        "The signature that I read says {param}={old}, which is what is wanted.".format(**values),
        "签名里已经是 {param}={old}，与要求一致。".format(**values),
    )
    yield part.turn("tell", answer=message, thought=thought)


def is_short(one: Definition) -> bool:
    """Whether a function is short enough to be read at once."""
    return one.last - one.first < _LONGEST


CHANGING = (renames, defaults, parameters, done)
"""All of them; each yields episodes in an order that is drawn."""
