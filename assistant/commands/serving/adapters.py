"""`kat serve adapters`: LoRA adapters of a server that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant import interrupts
from assistant.commands.options import Json
from assistant.errors import Exit, UserError

if TYPE_CHECKING:
    from model.serving.adapters import Adapter

app = typer.Typer(help="The LoRA adapters of a server.", no_args_is_help=True, rich_markup_mode=None)
Server = Annotated[
    str | None, typer.Option("--server", help="its name in `kat serve status`, or an address; else the only one")
]


@app.command("list")
def list_them(server: Server = None, json_: Json = False) -> None:
    """The adapters that it has."""
    from model.serving.adapters import list_adapters

    found = interrupts.run(list_adapters(*_reached(server)))
    if json_:
        print(json.dumps([_row(adapter) for adapter in found]))
        return
    if not found:
        print("No adapters; `kat serve adapters load NAME=PATH` loads one.")
    for adapter in found:
        print(f"{adapter.served}  {adapter.path}")


@app.command("load")
def load(
    adapter: Annotated[str, typer.Argument(metavar="NAME=PATH", help="a folder that the server can read")],
    server: Server = None,
    json_: Json = False,
) -> int:
    """Load an adapter, or a new version of it, and prove that the server uses it."""
    from model.serving.adapters import prove, replace

    name, separator, path = adapter.partition("=")
    if not (name and separator and path):
        raise UserError(f"write NAME=PATH, not {adapter!r}")
    address, key = _reached(server)
    folder = Path(path).expanduser().absolute()

    async def loaded() -> tuple[Adapter, bool, str]:
        new = await replace(address, key, name, folder)
        proof = await prove(address, key, new)
        return new, proof.ok, proof.sentence

    new, good, said = interrupts.run(loaded())
    if json_:
        print(json.dumps({**_row(new), "ok": good, "proof": said}))
    else:
        print(f"{new.served} is loaded; name it with --model {new.name}\n  {said}")
    return Exit.DONE if good else Exit.NOT_ACHIEVED


@app.command("unload")
def unload(name: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION")], server: Server = None) -> None:
    """Unload all versions of an adapter, or one."""
    from model.serving.adapters import unload as away

    for adapter in interrupts.run(away(*_reached(server), name)):
        print(f"{adapter.served} is unloaded")


def _reached(server: str | None) -> tuple[str, str | None]:
    """Address and key of the server."""
    from assistant.commands.opening import settings_from
    from assistant.commands.serving.servers import the_server
    from model.engine import is_engine

    if server and is_engine(server):
        return server, settings_from().api_key
    running = the_server(server)
    return running.address, running.endpoint.key


def _row(adapter: Adapter) -> dict[str, str]:
    return {"name": adapter.name, "served": adapter.served, "path": adapter.path, "base": adapter.base}
