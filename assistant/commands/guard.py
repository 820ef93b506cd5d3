"""Where errors become a sentence on standard error and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from assistant.errors import Exit, UserError
from assistant.interrupts import caused
from model.engine import EngineError, EngineRefused


def guarded(command: Callable[[], int], *, debug: bool) -> int:
    """The command's exit code. With `debug`, what is wrong is raised and not said."""
    try:
        return command()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return _silenced()
    except Exception as error:
        if caused(error):
            return Exit.INTERRUPTED
        if debug:
            raise
        return _say(*_explained(error))


def _explained(error: Exception) -> tuple[str, Exit]:
    match error:
        case UserError():
            return str(error), error.code
        case EngineRefused():
            return str(error), Exit.NOT_ACHIEVED
        case EngineError():
            return str(error), Exit.UNREACHABLE
        case OSError():
            return f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), Exit.NOT_ACHIEVED
    return f"an unexpected error ({type(error).__name__}: {error}); --debug shows where", Exit.NOT_ACHIEVED


def _say(sentence: str, code: Exit) -> Exit:
    from assistant.safety.sanitize import sanitize

    print(f"kat: {sanitize(' '.join(sentence.split()))}", file=sys.stderr)
    return code


def _silenced() -> int:
    """Whoever read our output has gone; Python would complain again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.NOT_ACHIEVED
