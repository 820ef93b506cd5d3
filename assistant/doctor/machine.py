"""This machine: terminal, git, sandbox, and the place where sessions are kept."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from assistant.commands.opening import repository_root
from assistant.config import Settings, state_dir
from assistant.doctor.finding import Finding
from assistant.errors import UserError


async def machine(repo: Path, settings: Settings) -> AsyncIterator[Finding]:
    """What holds with any engine."""
    yield Finding("python", True, sys.version.split()[0])
    yield _terminal()
    yield _git(repo)
    async for finding in _sandbox(repo, settings):
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
        yield Finding("sandbox", False, "none works here, so every command will ask", "install bubblewrap")
        return
    asks = "" if sandbox.contains else "; commands will ask"
    yield Finding("sandbox", True, f"{sandbox.tier}{asks}; not covered: {', '.join(sandbox.lacks)}")
    for probe in await sandbox.probe():
        yield Finding(f"sandbox: {probe.name}", probe.ok, probe.detail)


def _writable() -> Finding:
    from tempfile import NamedTemporaryFile

    folder = state_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("sessions", False, f"cannot be written to {folder}: {error.strerror}", "set KAT_STATE")
    return Finding("sessions", True, f"kept in {folder}")
