"""`run_command`: a shell command in the sandbox."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from assistant.safety.confinement.folders import writable_folders
from assistant.safety.confinement.toolchains import command_path, is_under
from assistant.safety.permissions import Access, Permission
from assistant.safety.sandbox import Sandbox
from assistant.safety.sanitize import sanitize
from assistant.safety.shell.exact import outside_targets, programs, reaches_network, replaced_files
from assistant.safety.shell.parsing import Parsed, parse
from assistant.tools.base import Tool, ToolContext, ToolError, ToolResult, fitted, for_the_model
from assistant.workspace.files import Workspace
from assistant.workspace.snapshots import FILE_LIMIT


class RunCommand(Tool):
    """Run a shell command."""

    name: ClassVar[str] = "run_command"
    description: ClassVar[str] = (
        "Run a shell command in the repository. There is no input; .git cannot be written, "
        "and without network or write neither the network nor files outside are reached."
    )
    brief: ClassVar[str] = "Shell"
    full_only: ClassVar[frozenset[str]] = frozenset({"network", "write"})

    command: str = Field(description="The command line.", min_length=1)
    network: bool = Field(False, description="Open the network; the user is asked, so only where it must be.")
    write: str = Field("", description="A folder outside the repository to write in, from /; the user is asked.")

    def title(self) -> str:
        """What is run."""
        return f"Run {self.command}"

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

    async def run(self, context: ToolContext) -> ToolResult:
        """Its exit code and its output."""
        with for_the_model():
            result = await context.sandbox.run(
                self.command,
                cwd=context.workspace.root,
                timeout=context.command_timeout,
                network=self.network,
                write=self._folders(context.sandbox),
            )
        end = f"exit code {result.exit_code}"
        if result.timed_out:
            end = f"stopped after {context.command_timeout:g} s without an end"
        output = fitted(result.output, context.output_limit).strip("\n")
        summary = f"{end}, {result.seconds:.1f} s"
        return ToolResult(result.exit_code == 0, summary, f"{end}\n{output or '(no output)'}")

    def _folders(self, sandbox: Sandbox) -> tuple[Path, ...]:
        """The folder that the call asks for, if the user's settings do not open it already."""
        asked = self.write.strip()
        if not asked:
            return ()
        if asked == "~" or asked.startswith("~/"):
            asked = sandbox.environ.get("HOME", "/") + asked[1:]
        with for_the_model():
            (folder,) = writable_folders([Path(asked)], sandbox.environ, sandbox.repository, sandbox.config_dirs)
        return () if is_under(folder, sandbox.write) else (folder,)

    def _outside(self, parsed: Parsed, context: ToolContext) -> tuple[str, ...]:
        """What it may write outside the repository. Raises `ToolError` for what the sandbox would refuse."""
        sandbox, folders = context.sandbox, self._folders(context.sandbox)
        targets = outside_targets(parsed, context.workspace.root, contained=sandbox.contains)
        closed = [target for target in targets if not is_under(Path(target), (*folders, *sandbox.write))]
        if closed and sandbox.contains:
            raise ToolError(f"{closed[0]} is outside the repository; write inside it, or name the folder in `write`.")
        return (*map(str, folders), *closed)


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
