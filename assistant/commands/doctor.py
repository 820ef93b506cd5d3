"""`kat doctor`: each part proven by using it, one line each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

from assistant import interrupts
from assistant.commands.opening import engine_from, settings_from
from assistant.commands.options import HERE, Adapter, DialectName, Engine, Json, Model, Repository
from assistant.config import Settings
from assistant.doctor.finding import Finding
from assistant.errors import Exit

ENGINE = "engine"
_MARKS = {True: "✓", False: "✗", None: "–"}


def doctor(
    repo: Repository = HERE,
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    adapter: Adapter = None,
    json_: Json = False,
) -> int:
    """Prove that engine, model, sandbox, git and terminal work, one line each; all of an engine with --engine."""
    settings = settings_from(engine=engine, model=model, dialect=dialect, adapter=adapter)
    return interrupts.run(show(_findings(repo, settings, quick=engine is None), json_))


async def show(findings: AsyncIterator[Finding], json_: bool) -> Exit:
    """Print each finding when it comes; the exit code that they make together."""
    code = Exit.DONE
    async for finding in findings:
        _print(finding, json_)
        if finding.ok is False:
            code = max(code, Exit.UNREACHABLE if finding.name == ENGINE else Exit.NOT_ACHIEVED)
    return code


def _print(finding: Finding, json_: bool) -> None:
    from assistant.safety.sanitize import sanitize

    if json_:
        print(json.dumps(asdict(finding), ensure_ascii=False), flush=True)
        return
    print(sanitize(f"{_MARKS[finding.ok]} {finding.name}: {finding.detail}"), flush=True)
    if finding.change:
        print(sanitize(f"  → {finding.change}"), flush=True)


async def _findings(repo: Path, settings: Settings, *, quick: bool) -> AsyncIterator[Finding]:
    from assistant.doctor.examination import examine
    from assistant.doctor.machine import machine
    from model.engine import EngineError

    async for finding in machine(repo, settings):
        yield finding
    try:
        engine = await engine_from(settings)
    except EngineError as error:
        yield Finding(ENGINE, False, str(error))
        return
    try:
        async with aclosing(examine(engine, quick=quick)) as found:
            async for finding in found:
                yield finding
    finally:
        await engine.aclose()
