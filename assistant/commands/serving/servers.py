"""`kat serve status|stop|logs|key`: the servers that run."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant import interrupts
from assistant.commands.options import Json
from assistant.errors import Exit, UserError

if TYPE_CHECKING:
    from model.serving.supervision.running import Running

Name = Annotated[str | None, typer.Argument(help="a name of `kat serve status`; may be left out if there is one")]
_FOLLOW_SECONDS = 0.3


class NothingServed(UserError):
    """There is no such server."""

    code = Exit.UNREACHABLE


def status(
    watch: Annotated[bool, typer.Option("--watch", help="again and again, until Ctrl-C")] = False, json_: Json = False
) -> int:
    """The servers that run: model, address, health, requests, cache, speed."""
    from assistant.commands.serving.status import show

    return interrupts.run(show(folder(), watch=watch, as_json=json_))


def stop(name: Name = None, all_: Annotated[bool, typer.Option("--all", help="all of them")] = False) -> int:
    """End a server, with all its processes."""
    from model.serving.supervision.keeping import stop as end
    from model.serving.supervision.running import servers

    if all_ and name is not None:
        raise UserError(f"--all ends every server; leave {name} or --all out")
    chosen = servers(folder()) if all_ else [the_server(name)]
    if not chosen:
        print("Nothing is served.")
    code = Exit.DONE
    for running in chosen:
        if interrupts.run(end(folder(), running)):
            print(f"{running.name} has ended")
        else:
            code = Exit.NOT_ACHIEVED
            print(f"{running.name} does not end; its process is {running.pid}")
    return code


def logs(
    name: Name = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="how many of the last lines")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="go on with what is written")] = False,
) -> None:
    """What a server wrote."""
    path = _log(name)
    with path.open(encoding="utf-8", errors="replace") as file:
        _print("".join(file.readlines()[-lines:]))
        while follow:
            # The supervisor may have moved what was there to the old log.
            if os.fstat(file.fileno()).st_size < os.lseek(file.fileno(), 0, os.SEEK_CUR):
                file.seek(0)
            _print(file.read())
            time.sleep(_FOLLOW_SECONDS)


def key(name: Name = None) -> None:
    """Print a server's key, for clients other than kat: KEY=$(kat serve key)."""
    running = the_server(name)
    if running.endpoint.key is None:
        raise UserError(f"{running.name} has no key: its socket {running.endpoint.socket} is open to you alone")
    print(running.endpoint.key)


def folder() -> Path:
    """Where the files of state are."""
    from model.serving.supervision.running import servers_directory

    return servers_directory()


def the_server(name: str | None) -> Running:
    """The server of that name, of that model, or the only one.

    Raises:
        NothingServed: there is none, or there are several and none is named.
    """
    from model.serving.supervision.running import servers

    found = servers(folder())
    if not found:
        raise NothingServed("nothing is served now; kat serve MODEL starts a server")
    wanted = name.casefold() if name else None
    chosen = [one for one in found if wanted in (None, one.name, one.model.casefold(), one.address)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(one.name for one in found)
    raise NothingServed(f"no server {name!r} runs; there are {names}" if name else f"say which one: {names}")


def _log(name: str | None) -> Path:
    """The log of a server, also of one that has ended."""
    if name and (path := folder() / f"{Path(name).name.lower()}.log").is_file():
        return path
    return the_server(name).log


def _print(text: str) -> None:
    from assistant.safety.sanitize import sanitize

    print(sanitize(text), end="", flush=True)
