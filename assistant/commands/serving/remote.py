"""`kat serve MODEL --on HOST`: the same command on another machine, its socket brought here by the same connection."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from assistant.commands.serving.request import Prepared, Request, server_name
from assistant.commands.serving.run import Job, run
from assistant.commands.serving.text import Output
from assistant.errors import Exit, UserError
from model.catalog import CatalogEntry, known
from model.dialects import dialect_of_model
from model.serving.plan import Endpoint, Launch, Machine, Plan, Runner
from model.serving.starting.endpoints import BadEndpoint, Place, endpoint_for
from model.serving.starting.launch import shown
from model.serving.supervision.running import servers_directory

_HOST = re.compile(r"[A-Za-z0-9_][\w.@:%-]*")
_HERE = frozenset({"socket", "host", "port"})
_OPTIONS = ("BatchMode=yes", "ExitOnForwardFailure=yes", "StreamLocalBindUnlink=yes", "ServerAliveInterval=15")
"""No questions, no connection without the socket, no socket of an earlier one in the way, and a dead one is noticed."""


def remote(
    request: Request, host: str, output: Output, environ: Mapping[str, str], *, dry_run: bool, detach: bool
) -> int:
    """Print or run it.

    Raises:
        UserError: the host is none, or the socket cannot be here.
        NotStarted: it did not start there.
    """
    if not _HOST.fullmatch(host):
        raise UserError(f"{host!r} is no host for ssh; write HOST or USER@HOST")
    entry = known(request.model) or _named(request.model)
    name = server_name(f"{entry.name} on {host}")
    try:
        endpoint = endpoint_for(Place(), name, environ)
    except BadEndpoint as error:
        raise UserError(str(error)) from None
    launch = Launch(ssh_command(request, host, endpoint), {}, endpoint, (f"ssh to {host}: nothing secret is in it",))
    if dry_run:
        print(shown(launch))
        return Exit.DONE
    plan = _plan(entry, request)
    served = next((each for each in entry.names if dialect_of_model(each) == entry.dialect), entry.name)
    ready = Prepared(name, served, plan, launch)
    output.note(f"kat serve {entry.name} on {host}, by ssh")
    return run(Job(ready, servers_directory(environ), environ), output, detach=detach)


def ssh_command(request: Request, host: str, endpoint: Endpoint) -> tuple[str, ...]:
    """The command. -tt gives it a terminal there, so that the server ends when the connection does."""
    there = Path("/tmp") / f"kat-{secrets.token_hex(8)}" / "s.sock"  # noqa: S108 - a random folder, made with mode 0700
    words = ["kat", "serve", *request.words(_HERE)]
    at = words.index("--") if "--" in words else len(words)
    command = shlex.join([*words[:at], "--socket", str(there), *words[at:]])
    options = [word for option in _OPTIONS for word in ("-o", option)]
    return ("ssh", "-tt", *options, "-L", f"{endpoint.socket}:{there}", host, command)


def _named(model: str) -> CatalogEntry:
    """A model that only the other machine knows."""
    name = Path(model).name
    return CatalogEntry(name, name, dialect_of_model(name), 0, None)


def _plan(entry: CatalogEntry, request: Request) -> Plan:
    """What is known here of a plan that is made there."""
    context = request.context or entry.context
    return Plan(
        replace(entry, dialect=request.dialect or entry.dialect), Machine(source="on another machine"), Runner.VLLM,
        request.quantization, "auto", 1, 1, 1, context, 0, 0, 0, 0, (), request.adapter,
    )  # fmt: skip
