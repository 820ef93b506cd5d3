"""The registry of commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from typer.exceptions import TyperException

from assistant.commands import (
    acp,
    ask,
    doctor,
    evaluate,
    explain,
    fix,
    interface,
    models,
    serve,
    sessions,
    stats,
    train,
    undo,
)
from assistant.commands.guard import guarded
from assistant.errors import Exit, UserError

app = typer.Typer(
    name="kat",
    help="A coding assistant on your own machine that decides at every step whether to think.",
    epilog="`kat [PATH]` alone opens the terminal interface in a repository.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("open")(interface.open_interface)
app.command("ask")(ask.ask)
app.command("fix")(fix.fix)
app.command("undo")(undo.undo)
app.command("redo")(undo.redo)
app.command("restore")(undo.restore)
app.command("diff")(undo.diff)
app.command("doctor")(doctor.doctor)
app.command("stats")(stats.stats)
app.command("explain")(explain.explain)
app.command("acp")(acp.acp)
app.command("train", context_settings=train.HANDED_ON)(train.train)
app.add_typer(evaluate.app, name="eval")
app.add_typer(models.app, name="models")
app.add_typer(serve.app, name="serve")
app.add_typer(sessions.app, name="sessions")


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code. ``--debug`` shows the traceback behind a sentence."""
    rest = [argument for argument in arguments if argument != "--debug"]
    return guarded(lambda: _dispatch(rest), debug="--debug" in arguments)


def _dispatch(arguments: list[str]) -> int:
    try:
        return int(app(arguments, standalone_mode=False) or Exit.DONE)
    except TyperException as error:
        raise UserError(_sentence(error)) from error
    except typer.Abort as error:
        raise KeyboardInterrupt from error


def _sentence(error: TyperException) -> str:
    """What is wrong; where a command has commands of its own and none is given, which there are."""
    context: Any = getattr(error, "ctx", None)
    if context is None or type(error).__name__ != "NoArgsIsHelpError":
        return error.format_message()
    name = _path(context)
    return f"{name} needs one of {', '.join(context.command.commands)}; `{name} --help` says what they do"


def _path(context: Any) -> str:
    """The words that led to a group of commands; who called the program by which name does not matter."""
    names = []
    while context.parent is not None:
        names.append(context.info_name)
        context = context.parent
    root = context.info_name if str(context.info_name).startswith("kat ") else "kat"
    return " ".join([root, *reversed(names)])
