"""The `kat` command: reads its first word, then imports only what that command needs."""

from __future__ import annotations

import sys
from typing import NoReturn

COMMANDS = frozenset({"ask", "fix", "models", "sessions", "doctor", "open"})


def main() -> NoReturn:
    """Run `kat` with the process's arguments and exit with its code."""
    match sys.argv[1:]:
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

            sys.exit(run(_with_default(arguments)))


def _open(path: str) -> int:
    """`kat [PATH]` without options: the first screen need not wait for the parser of options."""
    from pathlib import Path

    from assistant.commands.guard import guarded
    from assistant.commands.opening import settings_from
    from assistant.commands.terminal import open_terminal

    return guarded(lambda: open_terminal(Path(path), settings_from()), debug=False)


def _with_default(arguments: list[str]) -> list[str]:
    """`kat [PATH] [OPTIONS]` is `kat open [PATH] [OPTIONS]`; the name `open` itself need not be known."""
    if arguments[0] in COMMANDS or arguments[0] in ("--help", "-h"):
        return arguments
    return ["open", *arguments]
