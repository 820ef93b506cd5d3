"""What a failing test says, in the few lines that a user would quote, and a task's words that are made from it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from assistant.testing.report import TestReport
from training.seeds import rng

_HEADER = re.compile(r"^_{3,} (?:ERROR at \w+ of )?(.+?) _{3,}$", re.MULTILINE)
_END = re.compile(r"^(?:={3,} .* ={3,}|_{3,} .+ _{3,}|-{3,} .+ -{3,})$", re.MULTILINE)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,16}\b")
_TEMPORARY = re.compile(r"/(?:tmp|var/tmp|dev/shm|private/tmp)/[^\s'\":,)]*")
_DURATION = re.compile(r"\b\d+\.\d+ ?(?:s|ms|seconds)\b")
_MOST, _WIDEST = 8, 160
"""Lines of an excerpt and characters of one; our choice."""
_ENGLISH = (
    "`{test}`{others} fails. Find out why and correct the code; the tests are right.",
    "The tests do not pass: `{test}`{others} fails. Please mend the code and leave the tests as they are.",
    "Something broke. `{test}`{others} used to pass and does not any more. Please find the mistake and fix it.",
    "Please make `{test}`{others} pass again. The mistake is in the code and not in the tests.",
    "I get a failure in `{test}`{others}. What is wrong with the code? Please repair it.",
)
_CHINESE = (
    "`{test}` {others}失败了。请找出原因并改正代码；测试是对的。",
    "测试没有通过：`{test}` {others}失败了。请修好代码，不要改测试。",
    "`{test}` {others}原来能通过，现在不行了。请找到错误并修复。",
    "请让 `{test}` {others}重新通过。错在代码，不在测试。",
)
_OPENINGS = {"en": _ENGLISH, "zh": _CHINESE}
_SHOWN = {
    "en": ("It says:", "This is what pytest shows:", "The failure:", "What I see:"),
    "zh": ("输出如下：", "pytest 显示：", "看到的是："),
}
_OTHERS = {"en": (" (like one more)", " (like {n} more)"), "zh": ("（另有 1 个测试也是）", "（另有 {n} 个测试也是）")}


def excerpt(report: TestReport, test: str) -> str:
    """The line of the test that failed and what was said of it; empty where the output does not tell.

    Folders, addresses and times are taken out: they would be others the next time.
    """
    wanted = ".".join(test.split("::")[1:])
    for found in _HEADER.finditer(report.output):
        if found[1].strip() == wanted:
            end = _END.search(report.output, found.end())
            block = report.output[found.end() : end.start() if end else len(report.output)].split("\n")
            return "\n".join(normal(line, report.place) for line in _telling(block))
    return ""


def statement(task: str, failing: Sequence[str], reports: Iterable[TestReport], language: str = "en") -> str:
    """What a user would say of a task: a test that fails, how many others do, and what is seen, if that is always so.

    The words are chosen by the task's id; nothing in them says where the mistake is.
    """
    order = rng(0, "statement", task)
    test = min(failing, key=lambda name: (len(name), name))
    seen = {excerpt(report, test) for report in reports}
    one, several = _OTHERS[language]
    others = {1: "", 2: one}.get(len(failing), several.format(n=len(failing) - 1))
    said = order.choice(_OPENINGS[language]).format(test=test, others=others)
    shown = order.choice(_SHOWN[language])
    (only,) = seen if len(seen) == 1 else ("",)
    return f"{said}\n\n{shown}\n\n```\n{only}\n```" if only else said


def normal(line: str, place: Path | None) -> str:
    """A line of output without what is another on every machine."""
    text = line.replace(f"{place}/", "").replace(str(place), ".") if place else line
    text = _TEMPORARY.sub("/tmp/…", _ADDRESS.sub("0x…", text))  # noqa: S108 - only words
    text = _DURATION.sub("…s", text).rstrip()
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"


def digest(report: TestReport) -> str:
    """A hash of which tests passed, failed and were skipped."""
    rows = [
        f"{word} {name}"
        for word, names in (("passed", report.passed), ("failed", report.failed), ("skipped", report.skipped))
        for name in sorted(names)
    ]
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogatepass")).hexdigest()


def _telling(block: Sequence[str]) -> list[str]:
    """The first line marked with ``>``, which is the test's own, and the last lines marked with ``E``."""
    mark = next((line for line in block if line.startswith(">")), "")
    rows = [number for number, line in enumerate(block) if line.startswith("E ")]
    last = [number for number in rows if all(between in rows for between in range(number, rows[-1] + 1))]
    return [*([mark] if mark else []), *(block[number] for number in last[:_MOST])]
