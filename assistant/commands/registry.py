"""The commands: one registry, one place where errors become a sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from assistant.commands import ask, doctor, fix, interface, models, sessions
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
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(sessions.app, name="sessions")


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code. ``--debug`` shows the traceback behind a sentence."""
    from model.engine import EngineError, EngineRefused

    debug = "--debug" in arguments
    try:
        return int(app([a for a in arguments if a != "--debug"], standalone_mode=False) or Exit.DONE)
    except (KeyboardInterrupt, typer.Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return _silenced()
    except Exception as error:
        if debug:
            raise
        match error:
            case UserError():
                return _say(str(error), error.code)
            case TyperException():
                return _say(error.format_message(), Exit.BAD_INPUT)
            case EngineRefused():
                return _say(str(error), Exit.NOT_ACHIEVED)
            case EngineError():
                return _say(str(error), Exit.UNREACHABLE)
            case OSError():
                return _say(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), Exit.NOT_ACHIEVED)
        return _say(f"an unexpected error ({type(error).__name__}: {error}); --debug shows where", Exit.NOT_ACHIEVED)


def _say(sentence: str, code: Exit) -> Exit:
    from assistant.safety.sanitize import sanitize

    print(f"kat: {sanitize(' '.join(sentence.split()))}", file=sys.stderr)
    return code


def _silenced() -> int:
    """Whoever read our output has gone; Python would complain again at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.NOT_ACHIEVED
