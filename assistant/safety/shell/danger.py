"""Commands that ask even in the sandbox, because undo could not bring back what they destroy.

Undo keeps what git would see: no ignored files, none that are very large, and of modes only the executable bit. So
these ask:

- ``rm`` with ``-r`` or with words known only when it runs, ``rmdir -p``, ``find -delete``, ``git clean``
- ``rsync`` that deletes
- ``shred``, ``truncate``, ``wipefs``, ``mkfs`` and ``dd of=``
- ``chmod``, ``chown`` and ``chgrp`` with ``-R``

`exact.replaced_files` finds what a line names outright. Both are a courtesy: any program can delete files, and what a
command can reach at all is the sandbox's to say.
"""

from __future__ import annotations

from dataclasses import dataclass

from assistant.safety.shell.parsing import Parsed, ShellCommand
from assistant.safety.shell.words import UNKNOWN, unknown


@dataclass(frozen=True, slots=True)
class _Signs:
    """What makes a program destructive: letters of short options, beginnings of words; or nothing more (`always`)."""

    letters: str = ""
    words: tuple[str, ...] = ()
    always: bool = False
    unknown: bool = False
    """Whether a word that is not known in full is a sign too."""

    def seen(self, arguments: tuple[str, ...]) -> bool:
        """Whether one of them is there."""
        return self.always or any(self._sign(argument) for argument in arguments)

    def _sign(self, argument: str) -> bool:
        short = argument.startswith("-") and not argument.startswith("--")
        if self.unknown and unknown(argument):
            return True
        return argument.startswith(self.words) or (short and not set(argument[1:]).isdisjoint(self.letters))


_ALWAYS = _Signs(always=True)
_MODES = _Signs("R", ("--r", UNKNOWN))
_DESTRUCTIVE = {
    "rm": _Signs("rR", ("--r",), unknown=True),
    "rmdir": _Signs("p", ("--p",)),
    "find": _Signs(words=("-delete",)),
    "git": _Signs(words=("clean",)),
    "rsync": _Signs(words=("--del", "--remove-source", UNKNOWN)),
    "dd": _Signs(words=("of=", UNKNOWN)),
    "chmod": _MODES,
    "chown": _MODES,
    "chgrp": _MODES,
    "shred": _ALWAYS,
    "truncate": _ALWAYS,
    "wipefs": _ALWAYS,
    "mkfs": _ALWAYS,
}


def destructive(parsed: Parsed) -> str:
    """The name of the first program of a line that may destroy what undo cannot bring back; empty if there is none."""
    return next((command.program for command in parsed.commands if _destroys(command)), "")


def _destroys(command: ShellCommand) -> bool:
    signs = _DESTRUCTIVE.get(command.program.partition(".")[0])
    return signs is not None and signs.seen(command.argv[1:])
