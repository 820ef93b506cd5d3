"""How an MCP server's program is started: outside the repository, with few variables, and never longer than we live."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from assistant.errors import UserError
from assistant.safety.sanitize import sanitize
from assistant.servers import McpServer

if TYPE_CHECKING:
    from mcp import StdioServerParameters

_KEPT = 4_000
_SHOWN = 300
"""Bytes of a program's standard error that are kept, and characters of its last line that are shown."""

_LAUNCH = """
import ctypes, os, signal, sys
parent, names, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the parent has gone")
try:
    os.execvpe(command[0], command, {name: os.environ[name] for name in names.split(",") if name in os.environ})
except OSError as error:
    sys.exit(f"{command[0]} cannot be started: {error.strerror}")
"""
"""Becomes a program that dies with us even if we are killed, and has no variable but those named."""


def parameters(server: McpServer, repository: Path, environ: Mapping[str, str]) -> StdioServerParameters:
    """The program of a server as the protocol's library starts it; ``{repository}`` in arguments is the path.

    It works in the user's home and finds nothing by way of the repository, whose files could pass for parts of it.

    Raises:
        UserError: there is no such program.
    """
    from mcp import StdioServerParameters

    home = environ.get("HOME", "/")
    folder = home if Path(home).is_dir() else "/"
    variables = {"PATH": _path(environ, repository), "HOME": home, **dict(server.env)}
    if shutil.which(server.command, path=variables["PATH"]) is None:
        raise UserError(f"there is no program {server.command!r} on the PATH")
    arguments = [each.replace("{repository}", str(repository)) for each in server.args]
    launch = ["-I", "-S", "-c", _LAUNCH, str(os.getpid()), ",".join(variables), server.command, *arguments]
    return StdioServerParameters(command=sys.executable, args=launch, env=variables, cwd=folder)


def _path(environ: Mapping[str, str], repository: Path) -> str:
    """The PATH without folders of the repository, and without such as depend on where one stands."""
    folders = [Path(each) for each in environ.get("PATH", os.defpath).split(":")]
    return ":".join(str(each) for each in folders if each.is_absolute() and not each.is_relative_to(repository))


class LastWords(asyncio.Protocol):
    """The end of what a program writes on its standard error; the rest is let go."""

    def __init__(self) -> None:
        self._kept = b""

    async def listen(self) -> tuple[asyncio.BaseTransport, TextIO]:
        """A pipe: the end that is read here, and the one for the program. Both are the caller's to close."""
        reading, writing = os.pipe()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: self, os.fdopen(reading, "rb", 0))
        return transport, os.fdopen(writing, "w")

    def data_received(self, data: bytes) -> None:
        """Keep the end."""
        self._kept = (self._kept + data)[-_KEPT:]

    def __str__(self) -> str:
        """The last line that says anything, in brackets; empty where there is none."""
        lines = [line.strip() for line in sanitize(self._kept.decode("utf-8", "replace")).splitlines() if line.strip()]
        return f" ({lines[-1][:_SHOWN]})" if lines else ""
