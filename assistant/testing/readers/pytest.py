"""pytest, with `-rA` or without."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.testing.readers.outcome import Outcome, Result, seconds

_SUMMARY = re.compile(r"^=+ short test summary info =+$", re.MULTILINE)
_BEGIN = re.compile(r"^=+ test session starts .*=+$", re.MULTILINE)
_END = re.compile(
    r"^=* ?\d+ (?:passed|failed|errors?|skipped|deselected|xfailed|xpassed|warnings?).* in [\d.]+s.*$", re.MULTILINE
)
_PASSED = re.compile(r"^(PASSED) (.+)$", re.MULTILINE)
_OTHER = re.compile(
    r"^(FAILED|ERROR|XFAIL|XPASS|SKIPPED(?! \[\d+\] )) ([^\n\[]*?(?:\[.*?\](?= - |$))?)(?: - .*)?$", re.MULTILINE
)
_FAILURE = re.compile(r"^(?:FAILED|ERROR) ", re.MULTILINE)
_PART = re.compile(r"^SUBFAIL(?:ED)?(?:[(\[].*?[)\]])? (\S+?::[^\n\[]*?(?:\[.*?\](?= - |$))?)(?: - .*)?$", re.MULTILINE)
_FOLDED = re.compile(r"^SKIPPED \[\d+\] ([^\n:]+?)(?::\d+)?: ", re.MULTILINE)
_SKIPPED_LINE = re.compile(r"^(\S[^\n]*?)(?: <- \S+)? SKIPPED(?: \([^\n]*)?\s*\[ *\d+%\]$", re.MULTILINE)
_SKIPPED_BY_WORKER = re.compile(r"^\[gw\d+\] \[ *\d+%\] SKIPPED ([^\n]+?) *$", re.MULTILINE)
_DURATION = re.compile(r"^([\d.]+)s (?:call|setup|teardown) +(\S[^\n]*?) *$", re.MULTILINE)
_RESULTS: dict[str, Result] = {"PASSED": "passed", "XFAIL": "skipped", "XPASS": "skipped", "SKIPPED": "skipped"}


def read(output: str) -> Iterator[Outcome]:
    """The last summary counts: what tests print stands before it."""
    *_, summary = [None, *_SUMMARY.finditer(output)]
    if summary is None:
        return
    times = _times(output[: summary.start()])
    yield from (Outcome(name, result, times.get(name)) for name, result in _summary(output, summary.end()))
    named = [name for name in _skipped(output[: summary.start()]) if "::" in name]
    yield from (Outcome(name, "skipped") for name in named)
    files = {name.partition("::")[0] for name in named}
    yield from (Outcome(path, "skipped") for path in _FOLDED.findall(output, summary.end()) if path not in files)


def outside(output: str) -> str:
    """What was printed before pytest began and after it ended; everything where it did not run."""
    summaries = [*_SUMMARY.finditer(output)]
    if not summaries:
        return output
    begin = _BEGIN.search(output)
    end = _END.search(output, summaries[-1].end())
    return output[: begin.start() if begin else 0] + (output[end.end() :] if end else "")


def _summary(output: str, start: int) -> Iterator[tuple[str, Result]]:
    """With `-rA`, tests that passed come first; behind a failure, such a line is a part of its message."""
    end = _END.search(output, start)
    text = output[start : end.start() if end else len(output)]
    failure = _FAILURE.search(text)
    early = text[: failure.start()] if failure else text
    for word, name in (*_PASSED.findall(early), *_OTHER.findall(text)):
        yield name.strip(), _RESULTS.get(word, "failed")
    yield from ((name.strip(), "failed") for name in _PART.findall(text))


def _skipped(text: str) -> Iterator[str]:
    for pattern in (_SKIPPED_LINE, _SKIPPED_BY_WORKER):
        yield from pattern.findall(text)


def _times(output: str) -> dict[str, float]:
    """What `--durations=0` says: setup, call and teardown together."""
    times: dict[str, float] = {}
    for number, name in _DURATION.findall(output):
        times[name] = times.get(name, 0.0) + (seconds(number) or 0.0)
    return times
