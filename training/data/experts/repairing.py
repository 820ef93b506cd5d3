"""Experts that mend what a task broke: run the tests, find the place, read it, think, edit, run the tests again.

Every thought is put together from what the tests really said and from the change that is known to mend it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from model.format import ToolCall
from training.data.experts.editing import Edited, edit, narrowed
from training.data.experts.expert import Episode, Library, Part, call, find, finishing, reading
from training.data.experts.playing import Script
from training.data.experts.steady import Astray
from training.data.experts.words import asked, in_words
from training.data.repairing.thoughts import difference
from training.data.repositories.modules import Definition, Module, definitions, module_of
from training.data.schema import Task

_ERROR = re.compile(r"^E\s+(\S.*)$", re.MULTILINE)
_FAILED = re.compile(r"^failed: (.+)$", re.MULTILINE)
_LONGEST = 30
"""Lines that a repair may change; our choice."""
_WORDY = 160
"""Characters of an error that a thought repeats; our choice."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What mends a task: one stretch of one file, and the function that it is in."""

    task: Task
    edited: Edited
    function: Definition | None

    @classmethod
    def of(cls, task: Task, module: Module, text: str) -> Repair:
        """The repair that makes `text` of a module as it is when the task begins.

        Raises:
            Astray: it changes too much to be shown as one edit.
        """
        edited = narrowed(module, text)
        if max(len(edited.old), len(edited.new)) > _LONGEST:
            raise Astray("the repair changes too many lines")
        last = edited.first + len(edited.old) - 1
        inside = [one for one in definitions(module) if one.first <= edited.first and last <= one.last]
        return cls(task, edited, max(inside, key=lambda one: one.first, default=None))

    @property
    def path(self) -> str:
        """The file that is mended."""
        return self.edited.module.path

    @property
    def name(self) -> str:
        """What is mended, as people call it."""
        return self.function.node.name if self.function else PurePosixPath(self.path).stem

    def is_named(self, text: str) -> bool:
        """Whether a text has its name."""
        return re.search(rf"\b{re.escape(self.name)}\b", text) is not None

    def is_located(self, output: str) -> bool:
        """Whether an output names a line of what is to be read."""
        first, last = self.place
        return any(first <= int(line) <= last for line in re.findall(rf"{re.escape(self.path)}:(\d+)", output))

    @property
    def place(self) -> tuple[int, int]:
        """The lines to read."""
        if self.function:
            return self.function.first, min(self.function.last, self.edited.first + 40)
        return self.edited.first, self.edited.first + len(self.edited.old) - 1


def repairs(library: Library, part: Part, repair: Repair) -> Iterator[Episode]:
    """One way to mend a task."""
    words = asked(part.rng, "repair", part.language, issue=repair.task.statement.strip())
    yield Episode("repair", words, partial(_mend, library, part, repair), repair.path, repair.task.provenance.function)


def _mend(library: Library, part: Part, repair: Repair) -> Script:
    named = repair.function is not None and repair.is_named(repair.task.statement)
    said = ""
    if not named or part.rng.random() < 0.6:
        shown = yield part.turn("test", _tests(part, repair))
        said = shown[-1]
        if "exit code 0" in said.partition("\n")[0]:
            raise Astray("nothing fails")
    seen = _failing(part, repair, said) if said else ""
    if repair.function is not None and not (named or repair.is_named(said)):
        yield from _followed(library, part, repair, seen)
        seen = in_words(
            part.language,
            f"What fails runs `{repair.name}`, so I look at that before I change anything.",
            f"失败的测试会执行 `{repair.name}`，先看那里的代码。",
        )
    if not repair.is_located(said):
        looking = find(part, repair.function) if repair.function else call("search", pattern=repair.name)
        yield part.turn("look", looking, thought=seen)
        seen = ""
    first, last = repair.place
    wanted = repair.edited.first + len(repair.edited.old) - 1
    yield from reading(part, repair.edited.module, first, last, wanted, seen or _going_there(part, repair))
    yield from edit(part, repair.edited, _cause(part, repair, said), "analyse")
    shown = yield part.turn("test", _tests(part, repair))
    summary = shown[-1].partition("\n")[0]
    if "exit code 0" not in summary:
        raise Astray("the tests still fail")
    message = _account(part, repair, summary)
    thought = in_words(
        part.language,
        f"The tests say: {summary}. The change is whole, and nothing else was touched.",
        f"测试结果：{summary}。修改完整，没有动其他地方。",
    )
    if part.rng.random() < 0.7:
        yield from finishing(part, message, thought)
    else:
        yield part.turn("tell", answer=message, thought=thought)


def _tests(part: Part, repair: Repair) -> ToolCall:
    files = sorted({test.partition("::")[0] for test in repair.task.fail_to_pass})
    if part.full and len(files) == 1 and files[0].endswith(".py"):
        return call("run_tests", target=files[0])
    return call("run_tests")


def _followed(library: Library, part: Part, repair: Repair, seen: str) -> Script:
    """Read the test that fails, and if need be what it calls, until the name of what is to be mended was shown.

    Raises:
        Astray: it is not shown there.
    """
    path, _, rest = min(repair.task.fail_to_pass, key=lambda test: (len(test), test)).partition("::")
    test = _defined(library, path, rest.rpartition("::")[2].partition("[")[0])
    if test is None:
        raise Astray("the test that fails cannot be shown")
    yield part.turn("look", find(part, test), thought=seen)
    yield from reading(part, test.module, test.first, test.last, test.last)
    if repair.is_named(test.code):
        return
    between = (one for one in library.functions if re.search(rf"\b{one.node.name}\b", test.code))
    step = next((one for one in between if repair.is_named(one.code)), None)
    if step is None:
        raise Astray("nothing that the test shows leads to the place")
    name = step.node.name
    thought = in_words(
        part.language, f"The test calls `{name}`; that is what I read next.", f"测试调用了 `{name}`，接着看它。"
    )
    yield part.turn("look", find(part, step), thought=thought)
    yield from reading(part, step.module, step.first, step.last, step.last)


def _defined(library: Library, path: str, name: str) -> Definition | None:
    """The only definition of a name in a file."""
    try:
        module = module_of(path, (library.root / path).read_bytes().decode())
    except (OSError, UnicodeDecodeError):
        return None
    found = [one for one in definitions(module) if one.node.name == name] if module else []
    return found[0] if len(found) == 1 else None


def _failing(part: Part, repair: Repair, said: str) -> str:
    """What a failing run says, and what it runs."""
    failed, error = _FAILED.findall(said), _error(said)
    what = failed[0].rpartition("::")[2] if failed else "A test"  # a path in a thought is a plan to read that file
    en = f"{said.partition(chr(10))[0].split(', exit')[0]}. {what} fails" + (f" with `{error}`. " if error else ". ")
    zh = f"{what} 失败了" + (f"：`{error}`。" if error else "。")
    if not repair.is_named(f"{said}\n{repair.task.statement}"):
        return in_words(
            part.language, f"{en}What it runs stands in the test, so I read that first.", f"{zh}先看测试本身。"
        )
    return in_words(
        part.language,
        f"{en}It goes through `{repair.name}`, so I look at that before I change anything.",
        f"{zh}它会执行 `{repair.name}`，先看那里的代码。",
    )


def _error(said: str) -> str:
    """What is said of the first test that failed; empty where it may be said of another."""
    failed = _FAILED.findall(said)
    named = re.search(rf"^FAILED {re.escape(failed[0])} - (\S.*)$", said, re.MULTILINE) if failed else None
    found = named or (_ERROR.search(said) if len(failed) == 1 else None)
    return " ".join(found[1].split())[:_WORDY].replace("`", "'") if found else ""


def _going_there(part: Part, repair: Repair) -> str:
    return in_words(
        part.language,
        f"`{repair.name}` in {repair.path} is what matters here. I read it, line by line, before I judge it.",
        f"关键在 {repair.path} 的 `{repair.name}`，先逐行读代码。",
    )


def _cause(part: Part, repair: Repair, said: str) -> str:
    """What is wrong in the lines, and what belongs there."""
    edited = repair.edited
    old = [line for line in edited.old if line not in edited.new and line.strip()]
    new = [line for line in edited.new if line not in edited.old and line.strip()]
    error = _error(said)
    seen = in_words(part.language, f"The test says `{error}`. ", f"测试报告 `{error}`。") if error else ""
    match old, new:
        case [], [first, *_]:
            body = in_words(
                part.language,
                f"In `{repair.name}` something is missing: `{first.strip()}` belongs there and does not stand there.",
                f"`{repair.name}` 里少了一句：`{first.strip()}`。",
            )
        case [first, *_], []:
            body = in_words(
                part.language,
                f"In `{repair.name}` the line `{first.strip()}` does not belong there; without it, all is as expected.",
                f"`{repair.name}` 中多了一行 `{first.strip()}`，应当去掉。",
            )
        case [first, *_], [better, *_]:
            body = _exchanged(part, repair, first.strip(), better.strip())
        case _:
            body = in_words(
                part.language,
                f"The lines of `{repair.name}` are not laid out as they must be.",
                f"`{repair.name}` 这几行的缩进不对。",
            )
    return seen + body


def _exchanged(part: Part, repair: Repair, old: str, new: str) -> str:
    line = repair.edited.first + next(n for n, each in enumerate(repair.edited.old) if each.strip() == old)
    wrong, right = difference(old, new)
    if wrong and right:
        en = f"Line {line} of {repair.path} is `{old}`. `{right}` belongs where `{wrong}` stands; it must read `{new}`."
    elif right:
        en = f"Line {line} of {repair.path} reads `{old}`. It lacks `{right}`; it must read `{new}`."
    else:
        en = f"Line {line} of {repair.path} reads `{old}`. The `{wrong}` is too much; it must read `{new}`."
    return in_words(part.language, en, f"{repair.path} 第 {line} 行是 `{old}`，这里不对，应为 `{new}`。")


def _account(part: Part, repair: Repair, summary: str) -> str:
    passed = summary.split(", exit")[0]
    en = part.rng.choice(
        (
            f"Fixed `{repair.name}` in {repair.path}. The tests that I ran pass now: {passed}.",
            f"The cause was in `{repair.name}` ({repair.path}); it is mended, and the tests say {passed}.",
            f"`{repair.name}` in {repair.path} is right again; seen in the tests: {passed}.",
        )
    )
    return in_words(part.language, en, f"已修复 {repair.path} 中的 `{repair.name}`，测试结果：{passed}。")
