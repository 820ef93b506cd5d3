"""What `kat fix --ci` tells the service that runs it: marks beside lines, a summary, values for later steps."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TextIO

from assistant.errors import UserError
from assistant.fix.places import places
from assistant.fix.report import FixReport
from assistant.fix.story import story
from assistant.safety.sanitize import sanitize

_SHOWN = 10
"""Marks of each level: GitHub shows ten a step."""
_SUMMARY = 900_000
"""Bytes of a job's summary: GitHub takes 1 MiB a step."""
_LONGEST = 2_000
"""Characters of a mark's text (our choice)."""
_IN_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_IN_PROPERTY = {**_IN_DATA, **str.maketrans({":": "%3A", ",": "%2C"})}


@dataclass(frozen=True, slots=True)
class Mark:
    """Something to be said of a place; without `path` of the whole run, without `line` of the whole file."""

    level: Literal["notice", "warning", "error"]
    title: str
    text: str
    path: str = ""
    line: int | None = None
    end: int | None = None


def on_github(environ: Mapping[str, str]) -> bool:
    """Whether this is a job of GitHub Actions."""
    return environ.get("GITHUB_ACTIONS") == "true"


def marks(report: FixReport) -> Iterator[Mark]:
    """How it ended; each test that failed; where the patch changes something, or else what is suspected."""
    fixed = report.status == "fixed"
    level: Literal["notice", "error"] = "error" if report.status in ("not_fixed", "error") else "notice"
    yield Mark(level, f"kat fix: {report.status.replace('_', ' ')}", report.message)
    for name in report.failed_before[: _SHOWN - 1]:
        path, found, _ = name.partition("::")
        said = "Failed, and passes with the patch" if fixed else "Fails"
        yield Mark(level, "kat fix: a test", f"{said}: {name}", path if found else "")
    if fixed:
        for place in [*places(report.patch)][:_SHOWN]:
            text = f"Proposed instead:\n{place.new}" if place.new else "Proposed: take this away."
            yield Mark("notice", "kat fix: patch", text, place.path, place.first, place.last)
    else:
        for line in report.suspects[:_SHOWN]:
            yield Mark("warning", "kat fix: suspect", "; ".join(line.why) or "suspect", line.path, line.line)


def annotated(report: FixReport, environ: Mapping[str, str]) -> str:
    """The marks, one a line: as GitHub's workflow commands there, elsewhere as `path:line: level: text`."""
    write = _command if on_github(environ) else _plain
    return "".join(f"{write(mark)}\n" for mark in marks(report))


@contextmanager
def muted(stream: TextIO, environ: Mapping[str, str]) -> Iterator[None]:
    """Whatever is printed meanwhile is no command to GitHub, though a test or a model may print what looks like one."""
    if not on_github(environ):
        yield
        return
    token = secrets.token_hex(32)
    print(f"::stop-commands::{token}", file=stream, flush=True)
    try:
        yield
    finally:
        print(f"\n::{token}::", file=stream, flush=True)


def hand_on(report: FixReport, environ: Mapping[str, str], *, patch_file: str = "", branch: str = "") -> None:
    """The story into the job's summary, and `status`, `message`, `patch` and `branch` as outputs of the step.

    Does nothing for what the environment names no file for (GITHUB_STEP_SUMMARY, GITHUB_OUTPUT).

    Raises:
        UserError: such a file cannot be written.
    """
    if summary := environ.get("GITHUB_STEP_SUMMARY"):
        _append(summary, _short_story(report))
    if output := environ.get("GITHUB_OUTPUT"):
        values = {"status": report.status, "message": report.message, "patch": patch_file, "branch": branch}
        _append(output, "".join(_value(name, sanitize(value)) for name, value in values.items()))


def _command(mark: Mark) -> str:
    where = {"file": mark.path, "line": mark.line, "endLine": mark.end, "title": mark.title}
    told = [f"{name}={_safe(str(value)).translate(_IN_PROPERTY)}" for name, value in where.items() if value]
    return f"::{mark.level} {','.join(told)}::{_safe(mark.text).translate(_IN_DATA)}"


def _plain(mark: Mark) -> str:
    line = "" if mark.line is None else f":{mark.line}"
    where = f"{' '.join(_safe(mark.path).split())}{line}: " if mark.path else ""
    return f"{where}{mark.level}: {' '.join(_safe(mark.text).split())}"


def _safe(text: str) -> str:
    text = sanitize(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _short_story(report: FixReport) -> str:
    told = story(report)
    if len(told.encode()) <= _SUMMARY:
        return told
    return story(replace(report, patch="", own_test="", steps=(), attempts=report.attempts[:_SHOWN]))


def _value(name: str, value: str) -> str:
    """A value of several lines, between two that cannot be part of it."""
    mark = f"kat_{secrets.token_hex(16)}"
    return f"{name}<<{mark}\n{value}\n{mark}\n"


def _append(file: str, text: str) -> None:
    try:
        with Path(file).open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except OSError as error:
        raise UserError(f"{file}, which the environment names, cannot be written: {error.strerror}") from None
