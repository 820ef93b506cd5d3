"""JUnit XML, as Maven, Gradle, ctest, pytest and many others write it. An id is `class.test`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from assistant.testing.readers.outcome import Outcome, Result

_TAGS = ("testsuites", "testsuite")


def read(output: str) -> Iterator[Outcome]:
    """All suites of a file, or of what was printed. What stands before them, such as entities, is not parsed."""
    for tag in _TAGS:
        begin, end = re.search(rf"<{tag}\b", output), output.rfind(f"</{tag}>")
        if begin and begin.start() < end:
            yield from _documents(f"{output[begin.start() : end]}</{tag}>", tag)
            return


def _documents(text: str, tag: str) -> Iterator[Outcome]:
    try:
        yield from _cases(ET.fromstring(text))  # noqa: S314
    except ET.ParseError:
        for document in re.findall(rf"<{tag}\b.*?</{tag}>", text, re.DOTALL):
            yield from _lenient(document)


def _lenient(document: str) -> Iterator[Outcome]:
    try:
        yield from _cases(ET.fromstring(document))  # noqa: S314
    except ET.ParseError:
        return


def _cases(root: ET.Element) -> Iterator[Outcome]:
    for case in root.iter("testcase"):
        name, owner = case.get("name", ""), case.get("classname", "")
        yield Outcome(f"{owner}.{name}" if owner and owner != name else name, _result(case), _seconds(case))


def _result(case: ET.Element) -> Result:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None or case.get("status") == "disabled" else "passed"


def _seconds(case: ET.Element) -> float | None:
    try:
        return float(case.get("time", "").replace(",", ""))
    except ValueError:
        return None
