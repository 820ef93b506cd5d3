"""`kat doctor`: each part proven by using it, one line each."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

from assistant.commands.opening import engine_from, repository_root, settings_from
from assistant.commands.options import HERE, DialectName, Engine, Json, Model, Repository
from assistant.config import Settings, state_dir
from assistant.errors import Exit, UserError
from model.engine import Engine as AnyEngine
from model.engine import EngineError, Sampling
from model.format import Mode, Reply, ThinkRequest
from model.prompt import Message, ToolSpec

_TOOL = ToolSpec(
    "read_file",
    "Read a file.",
    {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `ok` is None where nothing is wrong but something is missing."""

    name: str
    ok: bool | None
    detail: str


def doctor(
    repo: Repository = HERE,
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    json_: Json = False,
) -> int:
    """Prove that engine, model, sandbox, git and terminal work, one line each."""
    settings = settings_from(engine=engine, model=model, dialect=dialect)
    findings = asyncio.run(_show(_findings(repo, settings), json_))
    return Exit.DONE if all(finding.ok is not False for finding in findings) else Exit.NOT_ACHIEVED


async def _show(findings: AsyncIterator[Finding], json_: bool) -> list[Finding]:
    from assistant.safety.sanitize import sanitize

    shown = []
    async for finding in findings:
        shown.append(finding)
        mark = {True: "✓", False: "✗", None: "–"}[finding.ok]
        line = json.dumps(asdict(finding)) if json_ else sanitize(f"{mark} {finding.name}: {finding.detail}")
        print(line, flush=True)
    return shown


async def _findings(repo: Path, settings: Settings) -> AsyncIterator[Finding]:
    yield Finding("python", True, sys.version.split()[0])
    yield _terminal()
    yield _git(repo)
    async for finding in _sandbox(repo, settings):
        yield finding
    async for finding in _model(settings):
        yield finding
    yield _writable()


def _terminal() -> Finding:
    if not sys.stdout.isatty():
        return Finding("terminal", None, "none here; `kat ask` works without one")
    import shutil

    size = shutil.get_terminal_size()
    return Finding("terminal", True, f"{size.columns}×{size.lines}")


def _git(repo: Path) -> Finding:
    from assistant.workspace.errors import WorkspaceError
    from assistant.workspace.git import repository

    try:
        found = repository(repo)
    except (WorkspaceError, UserError) as error:
        return Finding("git", False, str(error))
    return Finding("git", True, f"{found.root} on {found.branch or 'no branch'}{' (no commits yet)' * found.empty}")


async def _sandbox(repo: Path, settings: Settings) -> AsyncIterator[Finding]:
    from assistant.safety.choice import sandbox_for

    try:
        root = repository_root(repo)
    except Exception:  # noqa: BLE001 - the git line has said why
        return
    try:
        sandbox = await asyncio.to_thread(sandbox_for, root, settings)
    except UserError as error:
        yield Finding("sandbox", False, str(error))
        return
    if sandbox.tier == "none":
        yield Finding("sandbox", False, "none works here, so every command will ask; install bubblewrap")
        return
    asks = "" if sandbox.contains else "; commands will ask"
    yield Finding("sandbox", True, f"{sandbox.tier}{asks}; not covered: {', '.join(sandbox.lacks)}")
    for probe in await sandbox.probe():
        yield Finding(f"sandbox: {probe.name}", probe.ok, probe.detail)


async def _model(settings: Settings) -> AsyncIterator[Finding]:
    try:
        engine = await engine_from(settings)
        info = await engine.info()
    except EngineError as error:
        yield Finding("engine", False, str(error))
        return
    try:
        context = f"{info.context} tokens of context" if info.context else "context unknown"
        yield Finding("engine", True, f"{info.name} · {info.model} · {info.dialect} · {context} ({info.why})")
        for think in (ThinkRequest.OFF, ThinkRequest.ON):
            yield await _forced(engine, info.dialect, think)
        yield await _tool(engine, info.dialect)
    finally:
        await engine.aclose()


async def _forced(engine: AnyEngine, name: str, think: ThinkRequest) -> Finding:
    if name == "qwen3_coder":
        return Finding(f"think {think}", None, "models of this dialect cannot switch")
    try:
        reply = await _reply(engine, name, "What is 2 + 3?", (), think)
    except EngineError as error:
        return Finding(f"think {think}", False, str(error))
    held = reply.mode is Mode(think) and bool(reply.answer)
    thought = f"{len(reply.think)} characters of thought, " if reply.think else ""
    return Finding(
        f"think {think}", held, f"came back {reply.mode or 'undecided'}, {thought}answer {reply.answer[:40]!r}"
    )


async def _tool(engine: AnyEngine, name: str) -> Finding:
    try:
        reply = await _reply(engine, name, "Call read_file with the path README.md.", (_TOOL,), ThinkRequest.OFF)
    except EngineError as error:
        return Finding("tool call", False, str(error))
    if not reply.calls:
        return Finding("tool call", None, "the model made none when asked to; a small model often does not")
    call = reply.calls[0]
    return Finding("tool call", call.error is None, call.error or f"{call.name} {json.dumps(call.arguments)}")


async def _reply(engine: AnyEngine, name: str, text: str, tools: tuple[ToolSpec, ...], think: ThinkRequest) -> Reply:
    from model.dialects import dialect

    prompt = dialect(name).render([Message("user", text)], tools, think, "A test of the switch.")
    parser = dialect(name).parser()
    parser.feed(prompt.opening.text)
    async with aclosing(engine.stream(prompt, Sampling(temperature=0.0, max_tokens=400))) as stream:
        async for delta in stream:
            parser.feed(delta.text)
    parser.close()
    return parser.reply


def _writable() -> Finding:
    from tempfile import NamedTemporaryFile

    folder = state_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("sessions", False, f"cannot be written to {folder}: {error.strerror}")
    return Finding("sessions", True, f"kept in {folder}")
