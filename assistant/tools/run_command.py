"""`run_command`: a shell command in the sandbox, waited for or in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from assistant.errors import UserError
from assistant.jobs import Job, Start, ended
from assistant.safety.confinement.folders import writable_folders
from assistant.safety.confinement.process import CommandResult, Deadline
from assistant.safety.confinement.toolchains import command_path, is_under
from assistant.safety.permissions import Access, Permission
from assistant.safety.sandbox import Sandbox
from assistant.safety.sanitize import sanitize
from assistant.safety.shell.danger import destructive
from assistant.safety.shell.exact import outside_targets, programs, reaches_network, replaced_files
from assistant.safety.shell.parsing import Parsed, parse
from assistant.tools.base import Tool, ToolContext, ToolError, ToolResult, cut_result, fitted, for_the_model
from assistant.workspace.files import Workspace
from assistant.workspace.snapshots import FILE_LIMIT

_FIRST_LOOK = 1.0
"""Seconds that a command is watched before it goes to the background, for what fails at once; our choice."""


class RunCommand(Tool):
    """Run a shell command."""

    name: ClassVar[str] = "run_command"
    description: ClassVar[str] = (
        "Run a shell command in the repository. There is no input; .git cannot be written, "
        "and without network or write neither the network nor files outside are reached."
    )
    brief: ClassVar[str] = "Shell"
    full_only: ClassVar[frozenset[str]] = frozenset({"network", "write", "background"})

    command: str = Field(min_length=1)
    network: bool = Field(False, description="Open the network; the user is asked.")
    write: str = Field("", description="A folder outside to write in, from /; the user is asked.")
    background: bool = Field(False, description="Do not wait, as for a server; gives a job id.")

    def title(self) -> str:
        """What is run."""
        return f"Run {self.command}{' in the background' * self.background}"

    def permission(self, context: ToolContext) -> Permission:
        """Leave to run exactly this command line, with the programs as they are now."""
        parsed, sandbox = parse(self.command), context.sandbox
        network = not sandbox.network and (self.network or (not sandbox.contains and reaches_network(parsed)))
        outside = self._outside(parsed, context)
        access = Access.OUTSIDE if outside else Access.NETWORK if network else Access.COMMAND
        asked = running(self.command, context, access=access, network=network, folders=outside, parsed=parsed)
        return replace(asked, loses=_lost(parsed, context.workspace))

    def changes(self, context: ToolContext) -> None:
        """Whatever it likes."""

    def destructive(self, context: ToolContext) -> str:
        """What of the line may destroy more than undo brings back."""
        parsed = parse(self.command)
        if lost := _lost(parsed, context.workspace):
            return f"deletes or replaces {', '.join(lost)}, which undo does not keep"
        name = destructive(parsed)
        return f"runs {name}, which may destroy what undo does not keep" if name else ""

    async def run(self, context: ToolContext) -> ToolResult:
        """Its exit code and its output; or its job id, where it is or goes to the background."""
        with for_the_model():
            if self.background:
                context.jobs.check_room()
            job = context.jobs.begin(self.command, self._start(context), context.command_timeout, context.host.put_out)
            detached = await watched(job, context, _FIRST_LOOK if self.background else None)
            if not detached:
                return _finished(job.task.result(), context)
        return _sent(job, context, asked=self.background)

    def _start(self, context: ToolContext) -> Start:
        folders = self._folders(context.sandbox)

        async def start(take: Callable[[str], None], deadline: Deadline) -> CommandResult:
            return await context.sandbox.run(
                self.command,
                cwd=context.workspace.root,
                timeout=deadline,
                on_output=take,
                network=self.network,
                write=folders,
            )

        return start

    def _folders(self, sandbox: Sandbox) -> tuple[Path, ...]:
        """The folder that the call asks for, if the user's settings do not open it already."""
        asked = self.write.strip()
        if not asked:
            return ()
        if asked == "~" or asked.startswith("~/"):
            asked = sandbox.environ.get("HOME", "/") + asked[1:]
        with for_the_model():
            (folder,) = writable_folders(
                [Path(asked)], sandbox.environ, sandbox.repository, sandbox.config_dirs, sandbox.at
            )
        return () if is_under(folder, sandbox.write) else (folder,)

    def _outside(self, parsed: Parsed, context: ToolContext) -> tuple[str, ...]:
        """What it may write outside the repository. Raises `ToolError` for what the sandbox would refuse."""
        sandbox, folders = context.sandbox, self._folders(context.sandbox)
        targets = outside_targets(parsed, context.workspace.root, contained=sandbox.contains)
        moved = (sandbox.at,) if sandbox.at and sandbox.moves else ()
        closed = [target for target in targets if not is_under(Path(target), (*folders, *sandbox.write, *moved))]
        if closed and sandbox.contains:
            raise ToolError(f"{closed[0]} is outside the repository; write inside it, or name the folder in `write`.")
        return (*map(str, folders), *closed)


async def watched(job: Job, context: ToolContext, seconds: float | None = None) -> bool:
    """Wait for a command; True if it was sent to the background, as the user wished or because `seconds` are over.

    Where the wait is given up the command is stopped. Raises `UserError` where it could not be started.
    """
    detached, over = context.host.detached, False
    try:
        over = await job.wait(seconds, detached)
        while not over:
            try:
                context.jobs.detach(job)
                return True
            except UserError as error:
                detached.clear()
                job.shown.add(f"\n[{error}]\n")
                over = await job.wait(None, detached)
    except asyncio.CancelledError:
        await job.stop()
        raise
    return False


def _finished(result: CommandResult, context: ToolContext) -> ToolResult:
    end = ended(result, context.command_timeout)
    found = cut_result(result.exit_code == 0, end, result.output, context.output_limit)
    return replace(found, summary=f"{end}, {result.seconds:.1f} s")


def _sent(job: Job, context: ToolContext, *, asked: bool) -> ToolResult:
    """What is told of a command that goes on."""
    said = f"It runs in the background as {job.id}" if asked else f"The user sent it to the background as {job.id}"
    advice = f"read_output with id {job.id} shows its output, stop_command ends it; go on meanwhile"
    so_far = fitted("\n".join(text for _, text in job.output.lines()), context.output_limit).strip("\n")
    return ToolResult(True, f"in the background: {job.id}", f"{said}; {advice}.\n{so_far or '(no output yet)'}")


def _lost(parsed: Parsed, workspace: Workspace) -> tuple[str, ...]:
    """Files that the line deletes or replaces, and that no snapshot has: ignored or very large ones."""
    named = replaced_files(parsed, workspace.root)
    if not named:
        return ()
    with for_the_model():
        kept = set(workspace.git.known(named))
    return tuple(
        sanitize(name) for name in named if name not in kept or (workspace.root / name).lstat().st_size > FILE_LIMIT
    )


def running(
    command: str,
    context: ToolContext,
    *,
    access: Access = Access.COMMAND,
    contained: bool = False,
    network: bool = False,
    folders: tuple[str, ...] = (),
    parsed: Parsed | None = None,
) -> Permission:
    """Leave to run a command line in the root of the repository, with its programs as they are now."""
    root, sandbox = context.workspace.root, context.sandbox
    search = command_path(sandbox.environ, root, sandboxed=sandbox.tier != "none")
    return Permission(
        access,
        command,
        command,
        "command",
        contained=contained,
        directory=str(root),
        programs=programs(parsed or parse(command), root, search),
        network=network,
        folders=folders,
    )
