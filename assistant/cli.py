"""The `kat` command: reads its first word, then imports only what that command needs."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from assistant.interrupts import caused, listen

COMMANDS = frozenset(
    {
        *("ask", "fix", "undo", "redo", "restore", "diff", "models", "sessions", "doctor", "stats", "explain", "eval"),
        *("acp", "open", "serve", "train"),
    }
)
SERVE_COMMANDS = frozenset({"start", "status", "stop", "logs", "key", "adapters"})
"""What may follow `kat serve` besides a model."""
_GIT_PLACES = ("DIR", "WORK_TREE", "COMMON_DIR", "INDEX_FILE", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES")


def main() -> NoReturn:
    """Run `kat` with the process's arguments and exit with its code."""
    listen()
    try:
        _main(sys.argv[1:])
    except (KeyboardInterrupt, Exception) as error:  # what was meant for a person is said in `guarded`
        if not caused(error):
            raise
        sys.exit(130)


def _main(given: list[str]) -> NoReturn:
    forget_git_places()
    match given:
        case ["--version" | "-V"]:
            from assistant import __version__

            print(f"kat {__version__}")
            sys.exit(0)
        case []:
            sys.exit(_open("."))
        case [path] if not path.startswith("-") and path not in COMMANDS:
            sys.exit(_open(path))
        case arguments:
            from assistant.commands.registry import run

            sys.exit(run(with_default(arguments)))


def forget_git_places() -> None:
    """Drop what a git hook, say, has in its environment: our git commands name the repository themselves."""
    for name in _GIT_PLACES:
        os.environ.pop(f"GIT_{name}", None)


def _open(path: str) -> int:
    """`kat [PATH]` without options: the first screen need not wait for the parser of options."""
    from pathlib import Path

    from assistant.commands.guard import guarded
    from assistant.commands.opening import settings_from
    from assistant.commands.terminal import open_terminal

    return guarded(lambda: open_terminal(Path(path), settings_from()), debug=False)


def with_default(arguments: list[str]) -> list[str]:
    """`kat [PATH]` is `kat open [PATH]`, `kat serve MODEL` is `kat serve start MODEL`; neither word need be known."""
    first, second = [*(argument for argument in arguments if argument != "--debug"), "", ""][:2]
    if first == "serve" and second and second not in SERVE_COMMANDS | {"--help", "-h"}:
        at = arguments.index("serve") + 1
        return [*arguments[:at], "start", *arguments[at:]]
    if first in COMMANDS or first in ("--help", "-h"):
        return arguments
    return ["open", *arguments]
