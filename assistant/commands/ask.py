"""`kat ask`: one message without a terminal interface."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant import interrupts
from assistant.commands.opening import checked_rules, engine_from, repository_root, resumed_session, settings_from
from assistant.commands.options import (
    HERE,
    Adapter,
    Allow,
    DialectName,
    Engine,
    Json,
    MaxSteps,
    Model,
    ProfileOption,
    Repository,
    Resume,
    RunSeconds,
    RunTokens,
    Think,
    ThinkBudget,
)
from assistant.errors import Exit, UserError
from assistant.events import Event, QuestionAsked, RunFinished, RunStatus

if TYPE_CHECKING:
    from assistant.config import Settings
    from assistant.pilot import Pilot

EXIT_OF = {
    RunStatus.DONE: Exit.DONE,
    RunStatus.REFUSED: Exit.REFUSED,
    RunStatus.UNREACHABLE: Exit.UNREACHABLE,
    RunStatus.STOPPED: Exit.INTERRUPTED,
}


def ask(
    prompt: Annotated[str, typer.Argument(help="what to do; - reads it from standard input")],
    repo: Repository = HERE,
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    adapter: Adapter = None,
    think: Think = None,
    profile: ProfileOption = None,
    max_steps: MaxSteps = None,
    run_tokens: RunTokens = None,
    run_seconds: RunSeconds = None,
    think_budget: ThinkBudget = None,
    allow: Allow = None,
    resume: Resume = None,
    json_: Json = False,
) -> int:
    """Answer one message and exit; what it may not do is refused (exit code 4)."""
    settings = settings_from(
        engine=engine,
        model=model,
        dialect=dialect,
        adapter=adapter,
        think=think,
        profile=profile,
        max_steps=max_steps,
        run_tokens=run_tokens,
        run_seconds=run_seconds,
        think_budget=think_budget,
    )
    rules = checked_rules(allow)
    resumed, root = resumed_session(resume, repo) if resume is not None else (None, repository_root(repo))
    words = _message(prompt)
    place = (root, repo.resolve() if resume is None else root, resumed)
    return interrupts.run(_talk(words, settings, rules, place, _as_lines() if json_ else _as_text()))


async def _talk(
    words: str,
    settings: Settings,
    rules: tuple[str, ...],
    place: tuple[Path, Path, Path | None],
    show: Callable[[Event], None],
) -> int:
    """Have one message answered in `place`: the repository, the folder in it, and the session that goes on, if any."""
    from assistant.opening import Place, open_pilot
    from assistant.slash import expand

    root, folder, resumed = place
    text = expand(words) or words
    engine = await engine_from(settings)
    pilot = await open_pilot(
        Place(root, folder=folder, resumed=resumed), engine, settings, allow=rules, interactive=False
    )
    for notice in pilot.notices:
        show(notice)
    code = Exit.NOT_ACHIEVED
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, _stop_once, pilot)
    try:
        async for event in pilot.run(text, settings.think, words):
            show(event)
            match event:
                case QuestionAsked():
                    pilot.answer(event.id, "")  # nobody is there
                case RunFinished():
                    code = EXIT_OF.get(event.status, Exit.NOT_ACHIEVED)
    finally:
        await pilot.aclose()
    return code


def _message(prompt: str) -> str:
    """The message, from standard input if `prompt` is a dash."""
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape") if prompt == "-" else prompt
    if not text.strip():
        raise UserError("the message is empty; say what to do")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError("the message is not UTF-8; convert it first")
    return text


def _stop_once(pilot: Pilot) -> None:
    """Ctrl-C stops the run, which still says how it ended; a second one ends the program."""
    pilot.stop()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


def _as_lines() -> Callable[[Event], None]:
    from assistant.protocols.jsonl import lines_to

    return lines_to(sys.stdout)


def _as_text() -> Callable[[Event], None]:
    from assistant.protocols.text import TextOutput

    return TextOutput(sys.stdout, sys.stderr).show
