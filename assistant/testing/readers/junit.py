"""JUnit XML, as Maven, Gradle, ctest, pytest and many others write it. An id is `class.test`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from assistant.testing.readers.outcome import Outcome, Result

_DOCUMENT = re.compile(r"<testsuites?\b.*?</testsuites?>", re.DOTALL)
_ALL = re.compile(r"<testsuites\b.*</testsuites>|<testsuite\b.*</testsuite>", re.DOTALL)


def read(output: str) -> Iterator[Outcome]:
    """All suites of a file, or of what was printed. What stands before them, such as entities, is not parsed."""
    found = _ALL.search(output)
    if found is None:
        return
    try:
        yield from _cases(ET.fromstring(found[0]))  # noqa: S314
    except ET.ParseError:
        for document in _DOCUMENT.findall(output):
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
