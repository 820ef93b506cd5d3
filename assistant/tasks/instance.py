"""One instance of a benchmark in SWE-bench's form, to be solved in a checkout that is there already.

The problem statement is the issue. The tests that belong to the solution (`test_patch`) take no part in the work: not
in what is shown to the model, nor in the choice between attempts. They are laid over the patch that is handed over,
once, and then FAIL_TO_PASS and PASS_TO_PASS must pass. The solution itself (`patch`) is never read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from assistant.fix.changes import Changes
from assistant.fix.report import FixReport
from assistant.fix.request import FixRequest
from assistant.fix.verify import passes
from assistant.tasks.patched import changes_of
from assistant.testing.report import TestReport
from assistant.workspace.git import GitReader

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_UNITTEST = re.compile(r"(\w+) \(([\w.]+)\)")


@dataclass(frozen=True, slots=True)
class Instance:
    """What of an instance is used. `base_commit` is empty where it names none."""

    id: str
    problem: str
    repo: str = ""
    base_commit: str = ""
    fail_to_pass: tuple[str, ...] = ()
    pass_to_pass: tuple[str, ...] = ()
    test_patch: str = ""


def read_instance(path: Path) -> Instance:
    """The instance in a JSON file: an object, or a list or lines with one.

    Raises:
        UserError: it cannot be read, or something in it is missing or wrong.
    """
    try:
        return _instance(_object(path.read_text("utf-8")))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no instance: {error}") from None


def check_base(instance: Instance, root: Path) -> None:
    """See that the checkout is the one that the instance was made for.

    Raises:
        UserError: another commit is checked out.
    """
    head = GitReader(root).head() or ""
    if instance.base_commit and not head.startswith(instance.base_commit):
        raise UserError(
            f"{root} is at {head[:12] or 'no commit'}, and {instance.id} is for {instance.base_commit[:12]}; "
            f"run `git checkout {instance.base_commit[:12]}` there first"
        )


def request_for(instance: Instance, request: FixRequest) -> FixRequest:
    """The request with the issue; FAIL_TO_PASS is a part of it only where those tests are in the checkout already.

    Raises:
        UserError: its tests do not apply to the repository.
    """
    hidden = _hidden(instance, request.repository)
    return replace(request, issue=instance.problem, tests=() if hidden else instance.fail_to_pass)


async def judged(
    instance: Instance, report: FixReport, root: Path, tests: Callable[[Changes], Awaitable[TestReport]]
) -> FixReport:
    """The report with the verdict of the hidden tests, laid over the patch in the repository at `root`.

    `tests` runs all tests on changed files, as `Bench.tests` does. It is run once, when nothing is attempted any more.

    Raises:
        UserError: the patch or the hidden tests do not apply.
    """
    hidden = _hidden(instance, root)
    if not hidden or not report.patch:
        return report
    after = await tests(hidden.over(changes_of(report.patch, root)))
    missing = [name for name in (*instance.fail_to_pass, *instance.pass_to_pass) if not passes(name, after)]
    why = after.problem if after.timed_out or not after.ran else _verdict(instance, missing)
    return replace(report, status="not_fixed" if missing or not after.ran else "fixed", message=why)


def _verdict(instance: Instance, missing: list[str]) -> str:
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        return f"Of the tests of {instance.id}, {missing[0]} does not pass{others}."
    failed, passed = len(instance.fail_to_pass), len(instance.pass_to_pass)
    return f"All tests of {instance.id} pass: {failed} that failed, and {passed} that passed before."


def _hidden(instance: Instance, root: Path) -> Changes:
    try:
        return changes_of(instance.test_patch, root)
    except UserError as error:
        raise UserError(f"the tests of {instance.id} cannot be laid over {root}: {error}") from None


def _object(text: str) -> Any:
    data = json.loads(text)
    return data[0] if isinstance(data, list) and len(data) == 1 else data


def _instance(data: Any) -> Instance:
    """Raises ValueError."""
    if not isinstance(data, dict):
        raise ValueError("it is one JSON object, with the keys instance_id and problem_statement")  # noqa: TRY004
    base = _text(data, "base_commit")
    if base and not _COMMIT.fullmatch(base):
        raise ValueError(f"base_commit {base!r} is no commit")
    return Instance(
        id=_needed(data, "instance_id"),
        problem=_needed(data, "problem_statement"),
        repo=_text(data, "repo"),
        base_commit=base,
        fail_to_pass=_tests(data, "FAIL_TO_PASS"),
        pass_to_pass=_tests(data, "PASS_TO_PASS"),
        test_patch=_text(data, "test_patch"),
    )


def _needed(data: Mapping[str, Any], key: str) -> str:
    if not (text := _text(data, key)).strip():
        raise ValueError(f"{key} is missing")
    return text


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key) or ""
    if not isinstance(value, str):
        raise ValueError(f"{key} is text")  # noqa: TRY004
    return value


def _tests(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of ids, or a string that holds one as JSON."""
    value = data.get(key) or []
    value = json.loads(value) if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{key} is a list of test ids")
    return tuple(_id(name) for name in value)


def _id(name: str) -> str:
    """unittest's `test_x (module.Case)` as the ids that are read from its output: `module.Case.test_x`."""
    found = _UNITTEST.fullmatch(name)
    if found is None:
        return name
    test, owner = found.groups()
    return owner if owner.endswith(f".{test}") else f"{owner}.{test}"
