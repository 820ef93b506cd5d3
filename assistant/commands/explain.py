"""`kat explain`: one step with all that led to it, from the journal; and the same step in the other mode."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant import interrupts
from assistant.commands.opening import engine_from, resumed_session, settings_from
from assistant.commands.options import DialectName, Engine, Json, Model, ProfileOption
from assistant.commands.stats import folder_of_sessions
from assistant.config import Settings
from assistant.errors import Exit, UserError
from assistant.events import Event, Forked, Notice, as_json
from assistant.records import Choice
from model.format import Mode, ThinkRequest

if TYPE_CHECKING:
    from assistant.explaining import Explanation

Session = Annotated[str, typer.Option("--session", metavar="ID", help="the start of its id; else the last one")]
Fork = Annotated[Mode | None, typer.Option("--fork", help="run it again so, now, in a throw-away copy")]
Prefer = Annotated[Choice | None, typer.Option("--prefer", help="the branch of the forked step that is better")]
Whole = Annotated[bool, typer.Option("--whole", help="all of the prompt, outputs and thoughts, nothing cut")]


def explain(
    step: Annotated[int, typer.Argument(help="the step's number")],
    session: Session = "last",
    fork: Fork = None,
    prefer: Prefer = None,
    whole: Whole = False,
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    profile: ProfileOption = None,
    json_: Json = False,
) -> int:
    """Prompt, judge, rule, mode asked and come, tokens, seconds, calls, and both branches of a step; or fork it now."""
    from assistant.sessions import undamaged

    if fork and prefer:
        raise UserError("give --fork or --prefer, not both: look at the branches first")
    path = _journal(session)
    found = _explained(path, step)
    if prefer:
        return interrupts.run(_said(_preferring(path, step, prefer), json_=json_))
    if fork:
        settings = settings_from(engine=engine, model=model, dialect=dialect, profile=profile)
        path, root = resumed_session(path.stem)
        return interrupts.run(_said(_forking(path, root, settings, step, ThinkRequest(fork)), json_=json_, whole=whole))
    with undamaged(path):
        _show(found, json_=json_, whole=whole)
    return Exit.DONE


def _journal(session: str) -> Path:
    from assistant.sessions import find

    return find(folder_of_sessions(), session)


def _explained(path: Path, step: int) -> Explanation:
    from assistant import explaining
    from assistant.sessions import header, read, undamaged

    header(path)
    with undamaged(path):
        return explaining.explain(path.stem, list(read(path)), step)


def _show(found: Explanation, *, json_: bool, whole: bool) -> None:
    from assistant import explaining
    from assistant.commands.figures import console
    from assistant.commands.step_text import described

    if json_:
        print(json.dumps(explaining.as_json(found), ensure_ascii=False))
        return
    screen = console()
    for part in described(found, whole=whole):
        screen.print(part)


async def _preferring(path: Path, step: int, choice: Choice) -> AsyncIterator[Event]:
    from assistant.forking import preferring
    from assistant.sessions import Journal

    journal = Journal.reopen(path)
    try:
        async for event in preferring(journal, step, choice):
            yield event
    finally:
        journal.close()


async def _forking(path: Path, root: Path, settings: Settings, step: int, think: ThinkRequest) -> AsyncIterator[Event]:
    from assistant.opening import Place, open_pilot

    place = Place(root, folder=root, resumed=path)
    pilot = await open_pilot(place, await engine_from(settings), settings, interactive=False)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, pilot.stop)
    try:
        async for event in pilot.fork(step, think):
            yield event
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        await pilot.aclose()


async def _said(events: AsyncIterator[Event], *, json_: bool, whole: bool = False) -> int:
    """Show what is told; the exit code says whether it was done."""
    code = Exit.DONE
    async for event in events:
        if isinstance(event, Notice) and event.level == "error":
            code = Exit.NOT_ACHIEVED
        if json_:
            print(json.dumps(as_json(event)), flush=True)
        else:
            _tell(event, whole=whole)
    return code


def _tell(event: Event, *, whole: bool) -> None:
    from assistant.commands.figures import console
    from assistant.commands.step_text import branches

    match event:
        case Notice():
            print(f"kat: {event.text}", file=sys.stderr)
        case Forked():
            screen = console()
            for part in branches(event, whole=whole):
                screen.print(part)
        case _:
            pass
