"""Tells a repository's tests from its code."""

from __future__ import annotations

import re

_TEST_FILE = re.compile(
    r"(^|/)(tests?|__tests__|spec)(/|$)|(^|/)(test_[^/]*|[^/]*_test|tests|conftest)\.py$"
    r"|_test\.(go|exs|rb|cc|cpp|c|ts|js)$|\.(test|spec)\.[cm]?[jt]sx?$|_spec\.rb$"
    r"|(^|/)[^/]*(Test|Tests|Spec|TestCase)\.(java|kt|cs|swift|php|scala|groovy)$"
)


def is_test_file(path: str) -> bool:
    """Whether a path looks like a part of the tests, in the ways of the common languages."""
    return _TEST_FILE.search(path) is not None
