"""The `kat` command: reads its first word, then imports only what that command needs."""

from __future__ import annotations

import sys
from typing import NoReturn

COMMANDS = frozenset({"ask", "fix", "models", "sessions", "doctor", "open"})


def main() -> NoReturn:
    """Run `kat` with the process's arguments and exit with its code."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from assistant import __version__

        print(f"kat {__version__}")
        sys.exit(0)
    from assistant.commands.registry import run

    sys.exit(run(_with_default(arguments)))


def _with_default(arguments: list[str]) -> list[str]:
    """`kat [PATH] [OPTIONS]` is `kat open [PATH] [OPTIONS]`; the name `open` itself need not be known."""
    if arguments and (arguments[0] in COMMANDS or arguments[0] in ("--help", "-h")):
        return arguments
    return ["open", *arguments]
