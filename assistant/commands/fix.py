"""`kat fix`: from failing tests to a proven patch."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.opening import checked_rules, engine_from, repository_root, settings_from
from assistant.commands.options import (
    HERE,
    Allow,
    DialectName,
    Engine,
    Json,
    MaxSteps,
    Model,
    ProfileOption,
    Repository,
    Think,
)
from assistant.errors import Exit, UserError
from assistant.fix.report import FixReport
from assistant.fix.request import FixRequest
from assistant.safety.sanitize import sanitize


def fix(
    repo: Repository = HERE,
    test: Annotated[str | None, typer.Option("--test", metavar="COMMAND", help="how the tests run")] = None,
    issue: Annotated[str | None, typer.Option("--issue", metavar="TEXT", help="what is wrong, in words")] = None,
    issue_file: Annotated[Path | None, typer.Option("--issue-file", help="the same, from a file")] = None,
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    think: Think = None,
    profile: ProfileOption = None,
    max_steps: MaxSteps = None,
    test_timeout: Annotated[float | None, typer.Option("--test-timeout", help="seconds a test run may take")] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="seconds the agent may take")] = 1_800.0,
    allow_test_edits: Annotated[bool, typer.Option("--allow-test-edits", help="tests may be changed")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="put the patch into the files")] = False,
    patch: Annotated[Path | None, typer.Option("--patch", metavar="FILE", help="write the patch to a file")] = None,
    allow: Allow = None,
    json_: Json = False,
) -> int:
    """Run the tests, have what fails mended in a copy, prove it, and print the patch."""
    settings = settings_from(
        engine=engine,
        model=model,
        dialect=dialect,
        think=think,
        profile=profile,
        max_steps=max_steps,
        command_timeout=test_timeout,
    )
    report: FixReport | None = None
    try:
        root = repository_root(repo)
        request = FixRequest(
            root, settings, test, _issue(issue, issue_file), allow_test_edits, timeout, checked_rules(allow)
        )
        report = asyncio.run(_report(request, show=not json_))
        if report.status == "fixed":
            _deliver(report, root, patch, apply=apply, quiet=json_)
    except (Exception, KeyboardInterrupt) as error:
        _keep(report, error, json_=json_)
        raise
    if json_:
        print(json.dumps(report.as_json()))
    else:
        print(sanitize(report.message), file=sys.stderr)
    return Exit.NOT_ACHIEVED if report.status == "not_fixed" else Exit.DONE


def _keep(report: FixReport | None, error: BaseException, *, json_: bool) -> None:
    """What was found before `error` came, on standard output: a proven patch is never lost."""
    if json_:
        message = " ".join(str(error).split()) or "interrupted"
        print(json.dumps(replace(report or FixReport("error", ""), status="error", message=message).as_json()))
    elif report is not None:
        _print(report.patch)


def _issue(text: str | None, file: Path | None) -> str | None:
    if text is not None and file is not None:
        raise UserError("give the issue with --issue or with --issue-file, not with both")
    if file is None:
        return text
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the issue cannot be read from {file}: {error}") from None


async def _report(request: FixRequest, *, show: bool) -> FixReport:
    from assistant.fix.run import fix
    from assistant.protocols.text import TextOutput

    watch = TextOutput(sys.stderr, sys.stderr).show if show else lambda _: None
    return await fix(request, lambda: engine_from(request.settings), watch)


def _deliver(report: FixReport, root: Path, file: Path | None, *, apply: bool, quiet: bool) -> None:
    if file is not None:
        file.write_text(report.patch, "utf-8", "surrogateescape", newline="")
    if apply:
        from assistant.fix.apply import apply_patch

        apply_patch(report.patch, report.files, root, os.environ)
    if not (file or apply or quiet):
        _print(report.patch)


def _print(patch: str) -> None:
    """The patch for people is harmless to their terminal; for programs it is exact."""
    if sys.stdout.isatty():
        print(sanitize(patch), end="")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(patch.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
